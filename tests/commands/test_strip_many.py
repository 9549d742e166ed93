"""Many loose files by one call of pumba-strip: what is done, what is left, what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe._version import __version__
from pumba_pipe.commands.strip import main
from pumba_pipe.common.errors import NothingFoundError
from pumba_pipe.common.tables import read_table
from pumba_pipe.extraction import many
from pumba_pipe.extraction.evidence import AgreementMetrics
from pumba_pipe.extraction.quality import quality_record
from pumba_pipe.extraction.result import BrainExtraction

CODE = 'import sys; from pumba_pipe.commands.strip import main; sys.exit(main())'
AGREEMENT = AgreementMetrics(0.95, 0.98, 0.99, 0.9)


def save(path: Path, value: int = 1) -> Path:
    """A bright ball as an image; another one for each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = np.indices((16, 16, 16)) - 7.5
    ball = (np.linalg.norm(grid, axis=0) < 5) * 100 * value
    nib.save(nib.Nifti1Image(ball.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


@pytest.fixture
def stripped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that were stripped: by a threshold, which takes no time."""
    names = []

    def extract(volume, model, device, threads, border_mm, csf):
        names.append(volume.path.name)
        mask = volume.data > 50
        if not mask.any():
            raise NothingFoundError(f'{volume.name}: no brain was found in this image')
        quality = quality_record(volume, (slice(None),) * 3, mask, 1, AGREEMENT, None)
        probability = mask.astype(np.float32)
        return BrainExtraction(volume, mask.astype(np.uint8), probability, quality, {'read': 0.1})

    monkeypatch.setattr(many, 'extract', extract)
    return names


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(('one', 'two', 'sub/three'), 1):
        save(tmp_path / 'scans' / f'{name}.nii.gz', number)
    return tmp_path / 'scans'


def run(*words: str | Path) -> int:
    return main([*map(str, words), '--out-dir', 'out', '--device', 'cpu'])


def rows(folder: Path = Path('out')) -> dict[str, dict[str, str]]:
    return {Path(row['image']).name: row for row in read_table(folder / 'summary.tsv')}


def test_all_images_of_a_folder(scans, stripped, capsys):
    assert run('scans', '--write', 'brain,prob,sdt') == 0
    assert stripped == ['one.nii.gz', 'two.nii.gz', 'three.nii.gz']
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r'1/3, about 0:00:\d\d left: scans/one\.nii\.gz: brain of ', lines[0])
    assert lines[-1].startswith('images: 3; 3 stripped')
    mask = nib.load('out/sub/three_mask.nii.gz')
    image = nib.load(scans / 'sub' / 'three.nii.gz')
    assert np.array_equal(mask.affine, image.affine)
    inside = np.asarray(mask.dataobj) > 0
    brain = np.asarray(nib.load('out/sub/three_brain.nii.gz').dataobj)
    assert np.array_equal(brain, np.asarray(image.dataobj) * inside)
    assert (np.asarray(nib.load('out/sub/three_sdt.nii.gz').dataobj) < 0)[inside].all()
    assert np.asarray(nib.load('out/sub/three_prob.nii.gz').dataobj)[inside].min() == 1
    assert rows()['three.nii.gz']['mask'] == 'out/sub/three_mask.nii.gz'
    assert float(rows()['one.nii.gz']['volume_ml']) > 0
    assert not list(Path('out').rglob('.*'))
    log = Path('out/pumba-strip.log').read_text('utf-8').splitlines()
    assert len(log) == 5
    assert 'scans/two.nii.gz: brain of' in log[2]


def test_the_summary_holds_the_whole_quality_record(scans, stripped):
    run('scans/one.nii.gz')
    content = json.loads(Path('out/one_mask.json').read_text())
    assert set(content['Quality']) <= set(rows()['one.nii.gz'])


def test_what_is_done_is_left(scans, stripped, capsys):
    run('scans')
    del stripped[:]
    times = {path: path.stat().st_mtime_ns for path in Path('out').rglob('*.nii.gz')}
    assert run('scans') == 0
    assert stripped == []
    assert times == {path: path.stat().st_mtime_ns for path in Path('out').rglob('*.nii.gz')}
    assert capsys.readouterr().out.splitlines()[-1].startswith('images: 3; 3 done before')
    assert rows()['two.nii.gz']['status'] == 'done before'
    assert float(rows()['two.nii.gz']['volume_ml']) > 0


def test_what_is_out_of_date_is_made_again(scans, stripped):
    run('scans', '--write', 'mask,sdt')
    del stripped[:]
    save(scans / 'one.nii.gz', 7)
    Path('out/two_sdt.nii.gz').unlink()
    before = Path('out/one_sdt.nii.gz').stat().st_mtime_ns
    assert run('scans', '--write', 'mask') == 0
    assert stripped == ['one.nii.gz']  # the distance of two.nii.gz is not asked for
    assert Path('out/one_sdt.nii.gz').stat().st_mtime_ns > before
    del stripped[:]
    assert run('scans', '--write', 'mask,sdt') == 0
    assert stripped == ['two.nii.gz']
    del stripped[:]
    assert run('scans', '--csf', 'include') == 0
    assert len(stripped) == 3


def test_results_of_another_version_of_the_method_are_made_again(scans, stripped, monkeypatch):
    run('scans/one.nii.gz')
    made = json.loads(Path('out/one_mask.json').read_text())['GeneratedBy']
    assert made == [{'Name': 'pumba_pipe', 'Version': __version__}]
    monkeypatch.setattr(many, 'EXTRACTION_VERSION', 2)
    for _ in range(2):
        assert run('scans/one.nii.gz') == 0
    assert stripped == ['one.nii.gz', 'one.nii.gz']


def test_a_copy_with_another_time_is_the_same_image(scans, stripped):
    run('scans')
    del stripped[:]
    os.utime(scans / 'one.nii.gz', (1, 1))
    assert run('scans') == 0
    assert stripped == []


def test_b_values_that_came_later_count(scans, stripped):
    run('scans/one.nii.gz')
    del stripped[:]
    (scans / 'one.bval').write_text('0')
    assert run('scans/one.nii.gz') == 0
    assert stripped == ['one.nii.gz']


def test_a_damaged_result_is_made_again(scans, stripped):
    run('scans')
    del stripped[:]
    Path('out/one_mask.nii.gz').write_bytes(b'')
    whole = Path('out/two_mask.nii.gz').read_bytes()
    Path('out/two_mask.nii.gz').write_bytes(whole[: len(whole) // 2])
    assert run('scans') == 0
    assert stripped == ['one.nii.gz', 'two.nii.gz']


def test_an_edited_mask_is_kept(scans, stripped, capsys):
    run('scans')
    del stripped[:]
    path = Path('out/one_mask.nii.gz')
    mask = nib.load(path)
    edited = np.asarray(mask.dataobj).copy()
    edited[:8] = 0
    nib.save(nib.Nifti1Image(edited, mask.affine), path)
    before = path.read_bytes()
    assert run('scans', '--csf', 'include') == 0
    assert stripped == ['two.nii.gz', 'three.nii.gz']
    assert path.read_bytes() == before
    assert rows()['one.nii.gz']['status'] == 'edited'
    assert float(rows()['one.nii.gz']['volume_ml']) == pytest.approx(edited.sum() * 0.027)
    save(scans / 'one.nii.gz', 9)
    assert run('scans') == 1
    assert path.read_bytes() == before
    assert 'the image has changed since' in capsys.readouterr().err


def test_what_is_made_of_an_edited_mask_follows_it(scans, stripped, capsys):
    words = ('scans/one.nii.gz', '--write', 'brain,sdt,prob')
    assert run(*words) == 0
    del stripped[:]
    path, image = Path('out/one_mask.nii.gz'), np.asarray(nib.load('scans/one.nii.gz').dataobj)

    def edit(edited):
        nib.save(nib.Nifti1Image(edited.astype(np.uint8), nib.load(path).affine), path)

    for cut in (8, 9):  # edited, and edited again
        kept = image > 0
        kept[:cut] = False
        edit(kept)
        assert run('scans/one.nii.gz', '-b', '3') == 0
        brain = np.asarray(nib.load('out/one_brain.nii.gz').dataobj)
        np.testing.assert_array_equal(brain, np.where(kept, image, 0))
        assert ((np.asarray(nib.load('out/one_sdt.nii.gz').dataobj) < 0) == kept).all()
        content = json.loads(Path('out/one_mask.json').read_text())
        assert content['Manual'] is True and 'GeneratedBy' not in content
    before = {file: file.stat().st_mtime_ns for file in Path('out').glob('one*')}
    assert run(*words) == 0
    assert before == {file: file.stat().st_mtime_ns for file in Path('out').glob('one*')}
    Path('out/one_brain.nii.gz').unlink()
    assert run(*words) == 0
    assert Path('out/one_brain.nii.gz').is_file(), 'what is asked for is there'
    capsys.readouterr()
    for wrong, said in ((image < 0, 'this edited mask is empty'), (kept[:8], 'resample the mask')):
        edit(wrong)
        assert run(*words) == 1
        assert said in capsys.readouterr().err
    edit(kept)
    Path('out/one_prob.nii.gz').unlink()
    assert run(*words) == 1
    assert 'one_prob.nii.gz: is not there as the network made it' in capsys.readouterr().err
    assert stripped == [], 'the network has nothing to do with it'
    path.unlink()
    assert run(*words) == 0
    assert stripped == ['one.nii.gz'] and rows()['one.nii.gz']['status'] == 'stripped'


def test_one_that_fails_does_not_stop_the_others(scans, stripped, capsys):
    (scans / 'bad.nii.gz').write_text('no image')
    nothing = nib.Nifti1Image(np.arange(4096).reshape(16, 16, 16) % 9, np.eye(4), dtype=np.int32)
    nib.save(nothing, scans / 'empty.nii.gz')
    assert run('scans', 'nowhere.nii.gz') == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith('pumba-strip: error: ') for line in errors)
    assert len(list(Path('out').rglob('*_mask.nii.gz'))) == 3
    found = rows()
    assert [found[f'{name}.nii.gz']['status'] for name in ('bad', 'empty', 'nowhere', 'one')] == [
        'failed', 'failed', 'failed', 'stripped',
    ]  # fmt: skip
    assert found['empty.nii.gz']['reason'] == 'no brain was found in this image'


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no named pipes')
def test_a_pipe_is_not_waited_for(scans, stripped, capsys):
    os.mkfifo(scans / 'pipe.nii')
    assert run('scans') == 1
    assert rows()['pipe.nii']['reason'] == 'is a pipe (FIFO), not an image'
    assert len(list(Path('out').rglob('*_mask.nii.gz'))) == 3
    mask = Path('out/one_mask.nii.gz')
    mask.unlink()
    os.mkfifo(mask)
    assert run('scans/one.nii.gz') == 1
    assert rows()['one.nii.gz']['reason'].endswith('cannot read this file (is no regular file)')


def test_a_link_to_a_mask_that_is_not_here_is_kept(scans, stripped):
    """It may be an edited one, of a data set whose content was not fetched."""
    assert run('scans/one.nii.gz') == 0
    mask = Path('out/one_mask.nii.gz')
    mask.unlink()
    mask.symlink_to('annex/objects/one')
    assert run('scans/one.nii.gz') == 1
    assert 'is a link to a file that is not here' in rows()['one.nii.gz']['reason']
    assert os.readlink(mask) == 'annex/objects/one'


def test_dicom_is_a_failure_that_says_what_to_do(scans, stripped, capsys):
    (scans / 'dicom').mkdir()
    (scans / 'dicom' / '1.dcm').write_bytes(bytes(128) + b'DICM' + bytes(900))
    assert run('scans/dicom', 'scans/one.nii.gz') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'dcm2niix -z y -f %p_%s -o NIFTI_FOLDER scans/dicom' in line
    assert stripped == ['one.nii.gz']
    for words in (['scans/dicom'], ['scans/dicom/1.dcm']):
        assert main(['-i', *words, '-m', 'mask.nii.gz']) == 1
        assert 'NIFTI_FOLDER scans/dicom' in capsys.readouterr().err


def test_two_images_of_one_name(scans, stripped, capsys):
    save(scans / 'sub' / 'one.nii.gz', 5)
    assert run('scans/one.nii.gz', 'scans/sub/one.nii.gz') == 1
    error = capsys.readouterr().err
    assert 'scans/one.nii.gz and scans/sub/one.nii.gz' in error
    assert '--relative-to' in error
    assert not Path('out').exists()
    words = ('scans/one.nii.gz', 'scans/sub/one.nii.gz', '--relative-to', 'scans')
    assert run(*words) == 0
    assert Path('out/one_mask.nii.gz').exists()
    assert Path('out/sub/one_mask.nii.gz').exists()


def test_another_image_of_that_name_later(scans, stripped, capsys):
    run('scans/one.nii.gz')
    save(scans / 'sub' / 'one.nii.gz', 5)
    before = Path('out/one_mask.nii.gz').read_bytes()
    assert run('scans/sub/one.nii.gz') == 1
    assert 'another image' in capsys.readouterr().err
    assert Path('out/one_mask.nii.gz').read_bytes() == before


@pytest.mark.parametrize('name', ['one_mask.nii.gz', 'one_brain.nii.gz', 'one_mask.json'])
def test_files_of_others_are_kept(name, scans, stripped, capsys):
    Path('out').mkdir()
    Path('out', name).write_text('{"mine": 1}')
    assert run('scans') == 1
    assert 'was not made by pumba_pipe' in capsys.readouterr().err
    assert Path('out', name).read_text() == '{"mine": 1}'
    assert stripped == ['two.nii.gz', 'three.nii.gz']


def test_results_beside_the_images_are_no_images(scans, stripped, capsys):
    words = ['scans', '--out-dir', 'scans', '--device', 'cpu']
    assert main(words) == 0
    assert len(stripped) == 3
    assert main(words) == 0
    assert len(stripped) == 3
    save(scans / 'two_mask.nii.gz', 3)
    (scans / 'two_mask.json').unlink()
    assert main(words) == 1
    assert 'has the name of a result of scans/two.nii.gz' in capsys.readouterr().err


def test_a_list_and_the_standard_input(scans, stripped, monkeypatch, tmp_path):
    (tmp_path / 'list.txt').write_text('scans/one.nii.gz\nscans/two.nii.gz\n')
    assert main(['--from-file', 'list.txt', '--out-dir', 'out']) == 0
    with (tmp_path / 'list.txt').open() as file:
        monkeypatch.setattr(sys, 'stdin', file)
        assert main(['--out-dir', 'out', '--from-file', '-', 'scans/sub/three.nii.gz']) == 0
    assert stripped == ['one.nii.gz', 'two.nii.gz', 'three.nii.gz']


def test_quiet_prints_failures_only(scans, stripped, capsys):
    assert run('scans', 'nowhere.nii', '--quiet') == 1
    printed = capsys.readouterr()
    assert printed.out == ''
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['a.nii'],
        ['-i', 'a.nii', 'b.nii', '-m', 'm.nii'],
        ['-i', 'a.nii', '-m', 'm.nii', '--out-dir', 'out'],
        ['a.nii', '--out-dir', 'out', '-m', 'm.nii'],
        ['a.nii', '--out-dir', 'out', '--write', 'mask,head'],
        ['-i', 'a.nii'],
    ],
)
def test_options_that_do_not_go_together(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith('pumba-strip: error: ')


def test_the_next_image_is_read_while_one_is_stripped(scans, stripped, monkeypatch):
    """When the second image is stripped, the third one is read or being read."""
    begun: list[str] = []
    real_load, real_extract = many.load_volume, many.extract

    def load(path):
        begun.append(path.name)
        return real_load(path)

    def extract(volume, *options):
        if volume.path.name == 'two.nii.gz':
            assert 'one.nii.gz' in begun
            for _ in range(500):
                if 'three.nii.gz' in begun:
                    break
                time.sleep(0.01)
            assert 'three.nii.gz' in begun
        return real_extract(volume, *options)

    monkeypatch.setattr(many, 'load_volume', load)
    monkeypatch.setattr(many, 'extract', extract)
    assert run('scans') == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
def test_a_killed_call_goes_on(head_file, tmp_path):
    """With the real network: as many masks as the call came to, then the rest, all alike."""
    for name in 'ab':
        shutil.copy(head_file, tmp_path / f'{name}.nii.gz')
    words = ['a.nii.gz', 'b.nii.gz', '--out-dir', 'out', '--device', 'cpu', '-t', '1']
    command = [sys.executable, '-c', CODE, *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline().startswith('1/2')
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = sorted((tmp_path / 'out').glob('*_mask.nii.gz'))
    assert len(done) == 1
    left = tmp_path / 'out' / '.partial-abcdefgh.nii.gz'
    left.write_bytes(b'left by a killed call')
    for path in (tmp_path / 'out').glob('.partial-*'):
        os.utime(path, (0, 0))
    second = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert '1 stripped, 1 done before' in second.stdout
    masks = [nib.load(path) for path in sorted((tmp_path / 'out').glob('*_mask.nii.gz'))]
    assert len(masks) == 2
    assert main(['-i', str(head_file), '-m', str(tmp_path / 'm.nii.gz'), '-t', '1']) == 0
    alone = np.asarray(nib.load(tmp_path / 'm.nii.gz').dataobj)
    assert all(np.array_equal(np.asarray(mask.dataobj), alone) for mask in masks)
    assert not list((tmp_path / 'out').glob('.*'))
