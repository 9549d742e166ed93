"""Which files are images, of all that a user names, and where their results go."""

import io
import json
from pathlib import Path, PurePath

import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.named_images import find_images, read_list

DICOM = bytes(128) + b'DICM' + bytes(1000)


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A folder with images, other files, hidden ones, and DICOM files."""
    names = (
        'scans/a/T1.nii.gz', 'scans/b/T1.nii.gz', 'scans/b/T2.mgz', 'scans/pair.hdr',
        'scans/pair.img', 'scans/.hidden.nii', 'scans/.cache/x.nii', 'scans/notes.txt',
        'scans/T1.json',
    )  # fmt: skip
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'scans'


def places(finding):
    return [image.place.as_posix() for image in finding.images]


def test_a_folder_is_looked_through_and_kept(scans):
    found = find_images(['scans'])
    assert places(found) == ['pair', 'a/T1', 'b/T1', 'b/T2']
    assert (found.failures, found.remarks) == ([], [])
    assert found.images[0].path == Path('scans/pair.img')


def test_the_folder_of_the_results_is_no_input(scans):
    (scans / 'masks').mkdir()
    (scans / 'masks' / 'old_mask.nii.gz').touch()
    assert 'masks/old_mask' in places(find_images(['scans']))
    assert places(find_images(['scans'], results=scans / 'masks')) == [
        'pair', 'a/T1', 'b/T1', 'b/T2',
    ]  # fmt: skip


def test_results_of_earlier_runs_in_a_folder_are_no_input(scans):
    """Whatever folder of results that run was given."""
    (scans / 'masks').mkdir()
    for name in (
        'T1_mask.nii.gz',
        'T1_brain.nii.gz',
        'T1_label.nii.gz',
        'sub-1_desc-brain_T1w.nii',
    ):
        (scans / 'masks' / name).touch()
    ours = {'FileRecord': {}, 'OtherFileRecords': {'T1_brain.nii.gz': {}}}
    (scans / 'masks/T1_mask.json').write_text(json.dumps(ours))
    (scans / 'masks/sub-1_desc-brain_T1w.json').write_text('{"FileRecord": {}}')
    (scans / 'masks/T1_label.json').write_text('{"Manufacturer": "x"}')
    found = find_images(['scans'])
    assert places(found) == ['pair', 'a/T1', 'b/T1', 'b/T2', 'masks/T1_label']
    assert found.remarks == ['scans: 3 results of earlier runs left out']
    assert places(find_images(['scans/masks/T1_brain.nii.gz'])) == ['T1_brain'], 'it was named'


def test_named_files_and_patterns(scans):
    assert places(find_images(['scans/a/T1.nii.gz', 'scans/notes.txt'])) == ['T1', 'notes']
    assert places(find_images(['scans/*/T1.nii.gz'], Path())) == ['scans/a/T1', 'scans/b/T1']
    assert places(find_images(['scans/**/T2*'], scans)) == ['b/T2']
    assert places(find_images(['scans/pair.*'])) == ['pair']  # both halves are one image
    assert places(find_images(['scans/a', 'scans/a/T1.nii.gz'])) == ['T1']  # named twice
    spelt = ['scans/a/T1.nii.gz', str(scans / 'a/T1.nii.gz'), 'scans/b/../a/T1.nii.gz']
    assert places(find_images(spelt)) == ['T1']  # one file, spelt in several ways
    (scans / 'odd[1].nii').touch()
    assert places(find_images(['scans/odd[1].nii'])) == ['odd[1]']


def test_what_cannot_be_found(scans):
    with pytest.raises(InputError, match=r'nothing\*: no file has a name of this pattern'):
        find_images(['nothing*'])
    with pytest.raises(InputError, match=r'does not lie in .*b, the folder of --relative-to'):
        find_images(['scans/a/T1.nii.gz'], scans / 'b')
    (scans / 'c').mkdir()
    assert find_images(['scans/c']).failures[0][1].startswith('no image in this folder')


def test_dicom_is_named_with_the_remedy(scans):
    (scans / 'dicom 1').mkdir()
    (scans / 'dicom 1' / 'IM0001').write_bytes(DICOM)
    whole = find_images(['scans'])
    assert len(whole.images) == 4
    (remark,) = whole.remarks
    assert "dcm2niix -z y -f %p_%s -o NIFTI_FOLDER 'scans/dicom 1'" in remark
    ((path, reason),) = find_images(['scans/dicom 1']).failures
    assert path == Path('scans/dicom 1')
    assert reason.startswith('is a folder of DICOM files; convert it to NIfTI first: dcm2niix')


def test_a_list_of_paths(tmp_path):
    (tmp_path / 'list.txt').write_text('# scans\n\na b.nii.gz \n/x/c.nii\n', 'utf-8')
    assert read_list(str(tmp_path / 'list.txt')) == ['a b.nii.gz', '/x/c.nii']
    (tmp_path / 'list.txt').write_text('# nothing\n')
    with pytest.raises(InputError, match='names no image'):
        read_list(str(tmp_path / 'list.txt'))
    with pytest.raises(InputError, match='cannot read this list of images'):
        read_list(str(tmp_path / 'none.txt'))


@pytest.mark.parametrize('where', ['list.txt', '-'])
@pytest.mark.parametrize(
    ('written', 'expected'),
    [
        (b'\xef\xbb\xbf/a.nii\r\n\r\n/b.nii\r\n', ['/a.nii', '/b.nii']),  # as of Windows
        ('/a\u2028b.nii\n/c\x85d.nii\n'.encode(), ['/a\u2028b.nii', '/c\x85d.nii']),
        (b'/m\xfcller.nii\n', ['/m\udcfcller.nii']),  # a name that is not UTF-8
        (b'/a.nii\0/b.nii\0', None),
    ],
)
def test_odd_lists(where, written, expected, tmp_path, monkeypatch):
    """Some were a traceback on standard input, a name that was not there, or two of one."""
    monkeypatch.chdir(tmp_path)
    Path('list.txt').write_bytes(written)
    monkeypatch.setattr('sys.stdin', io.TextIOWrapper(io.BytesIO(written), 'utf-8'))
    if expected is None:
        with pytest.raises(InputError, match='NUL'):
            read_list(where)
    elif where == 'list.txt' and '\udcfc' in expected[0]:
        with pytest.raises(InputError, match='is not UTF-8'):
            read_list(where)
    else:
        assert read_list(where) == expected


def test_endings_are_taken_off_whole(tmp_path):
    names = ('a.nii.gz', 'B.NII.GZ', 'c.mgz', 'd.img.gz', 'e.v1.nii.bz2', 'noending')
    found = find_images([str(tmp_path / name) for name in names])
    assert [image.place for image in found.images] == [
        PurePath(name) for name in ('a', 'B', 'c', 'd', 'e.v1', 'noending')
    ]
