"""Which file is which image: odd names, odd places, two files that mean one image."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from pumba_pipe.bids_app.execution import plan
from pumba_pipe.bids_app.execution.progress import image_id
from pumba_pipe.bids_app.options.config import RunConfig, UsageError
from pumba_pipe.bids_app.run import main
from pumba_pipe.bids_app.selection import dataset
from pumba_pipe.bids_app.selection.dataset import Selection, select_images
from pumba_pipe.workflows.naming import node_name, parse_name, place_name

DESCRIPTION = '{"Name": "x", "BIDSVersion": "1.10.0"}'


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """An empty data set."""
    return make(tmp_path / 'bids')


def make(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / 'dataset_description.json').write_text(DESCRIPTION)
    return root


def put(root: Path, *names: str) -> list[Path]:
    """Make files that are no images: their content is not looked at."""
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'image')
    return paths


def chosen(root: Path, **options: object) -> Selection:
    return select_images(RunConfig(root, root.parent / 'out', 'participant', **options))


def dry_run(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    out = root.parent / 'out'
    code = main([
        str(root), str(out), 'participant', '--dry-run', '--skip-bids-validation', '--nprocs', '1',
        '-w', str(root.parent / 'work'), *words,
    ])  # fmt: skip
    printed = capsys.readouterr()
    assert 'Traceback' not in printed.out + printed.err
    assert not out.exists()
    return code, printed.out + printed.err


# ---- two files that mean one image, files at a place that contradicts their name ----


@pytest.mark.parametrize(
    'names',
    [
        ('sub-01/ses-1/anat/sub-01_T1w.nii.gz', 'sub-01/ses-2/anat/sub-01_T1w.nii.gz'),
        ('sub-01/anat/old/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_T1w.nii.gz'),
        ('sub-01/anat/sub-02_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz'),
        ('sub-01/anat/sub-01_T1w.nii', 'sub-01/anat/sub-01_T1w.nii.gz'),
        ('sub-01/anat/sub-01_acq-a_run-1_T1w.nii', 'sub-01/anat/sub-01_run-1_acq-a_T1w.nii'),
        ('sub-01/anat/sub-01_run-1_T1w.nii', 'sub-01/anat/sub-01_run-01_T1w.nii'),
        ('sub-01/anat/sub-01_ses-1_T1w.nii', 'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii'),
    ],
)
def test_of_two_files_for_one_image_none_is_taken(
    bids: Path, names: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = put(bids, *names)
    put(bids, 'sub-03/anat/sub-03_T1w.nii.gz')
    selection = chosen(bids)
    assert set(selection.broken) == set(paths)
    assert [path.name for path in selection.images] == ['sub-03_T1w.nii.gz']
    code, printed = dry_run(bids, capsys)
    assert code == 1
    for name in names:
        (line,) = [line for line in printed.splitlines() if line.startswith(f'pumba: {name}: ')]
        assert 'means the same image as' in line


@pytest.mark.parametrize(
    ('name', 'why'),
    [
        ('sub-01/anat/old/sub-01_T1w.nii.gz', 'lies deeper than sub-01/anat'),
        ('sub-01/anat/sub-02_T1w.nii.gz', 'its name belongs to sub-02/anat'),
        ('sub-01/ses-1/anat/sub-01_T1w.nii.gz', 'its name belongs to sub-01/anat'),
        ('sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz', 'its name belongs to sub-01/ses-2/anat'),
    ],
)
def test_a_file_at_the_wrong_place_is_not_taken(bids: Path, name: str, why: str) -> None:
    put(bids, name)
    for options in ({}, {'participants': ('01',)}):
        selection = chosen(bids, **options)
        assert selection.images == []
        assert why in selection.broken[bids / name]


def test_a_file_elsewhere_does_not_stand_in_for_one_asked_for(bids: Path) -> None:
    put(bids, 'sub-01/anat/sub-02_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz')
    selection = chosen(bids, participants=('02',))
    assert selection.images == [bids / 'sub-02/anat/sub-02_T1w.nii.gz']


def test_a_database_gives_no_other_files(bids: Path, tmp_path: Path) -> None:
    put(
        bids, 'sub-01/anat/old/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz',
        'sub-03/anat/sub-04_T1w.nii.gz', 'sub-04/anat/sub-04_rec-a_T1w.nii.gz',
        'sub-05/func/sub-05_T1w.nii.gz',
    )  # fmt: skip
    assert chosen(bids, database_dir=tmp_path / 'db') == chosen(bids)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='makes a FIFO the POSIX way')
def test_what_is_no_file_is_one_line(bids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = put(bids, 'sub-02/anat/sub-02_T1w.nii.gz')
    os.mkfifo(path.with_name('sub-02_T2w.nii.gz'))
    path.with_name('sub-02_FLAIR.nii.gz').mkdir()
    path.with_name('sub-02_PDw.nii.gz').symlink_to('/nowhere')
    selection = chosen(bids)
    assert selection.images == [path]
    reasons = {path.name: reason for path, reason in selection.broken.items()}
    assert 'special file' in reasons['sub-02_T2w.nii.gz']
    assert 'folder' in reasons['sub-02_FLAIR.nii.gz']
    assert 'fetch it first' in reasons['sub-02_PDw.nii.gz']
    assert dry_run(bids, capsys)[0] == 1


def test_a_folder_that_cannot_be_read_leaves_the_others_alone(
    bids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bids, 'sub-01/anat/sub-01_T1w.nii', 'sub-02/anat/sub-02_T1w.nii')
    scandir = os.scandir

    def refused(folder: Path) -> object:
        if Path(folder) == bids / 'sub-01/anat':
            raise PermissionError(13, 'Permission denied', str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refused)
    selection = chosen(bids)
    assert selection.images == [bids / 'sub-02/anat/sub-02_T1w.nii']
    assert selection.broken == {bids / 'sub-01/anat': 'cannot be read (Permission denied)'}


# ---- names ----


@pytest.mark.parametrize(
    'name',
    [
        b'sub-01_acq-m\xfcller_T1w.nii.gz',
        b'sub-01_acq-\n_T1w.nii.gz',
        b'sub-01_acq-a b_T1w.nii.gz',
        'sub-01_acq-ü_T1w.nii.gz'.encode(),
        b'sub-01_acq-a-b_T1w.nii.gz',
        b'sub-01_acq-a_acq-b_T1w.nii.gz',
        b'sub-01_T1w.NII.GZ',
        b'ses-1_sub-01_T1w.nii.gz',
    ],
)
@pytest.mark.skipif(os.name != 'posix', reason='names of any bytes')
def test_what_is_no_bids_name_is_left_out_and_named(
    bids: Path, name: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    put(bids, 'sub-01/anat/sub-01_T2w.nii.gz')
    with open(os.path.join(os.fsencode(bids), b'sub-01/anat', name), 'wb'):
        pass
    out = bids.parent / 'out'
    words = ['participant', '--dry-run', '--skip-bids-validation', '--nprocs', '1']
    assert main([str(bids), str(out), *words]) == 0
    printed = capfd.readouterr().out
    shown = name.decode('utf-8', 'backslashreplace').replace('\n', '\\n')
    assert f'anat/{shown}: left out, its name is not a BIDS name' in printed
    assert 'pumba: sub-01/anat/sub-01_T2w.nii.gz: would be stripped' in printed


def test_a_folder_that_is_no_participant_is_left_out_and_named(bids: Path) -> None:
    put(bids, 'sub-a_b/anat/sub-a_b_T1w.nii', 'sub-/anat/sub-_T1w.nii', 'sub-1/anat/sub-1_T1w.nii')
    with open(os.path.join(os.fsencode(bids), b'sub-\xff'), 'wb'):
        pass
    selection = chosen(bids)
    assert [path.name for path in selection.images] == ['sub-1_T1w.nii']
    assert [f'{bids / name}: left out, its name is not a BIDS name' for name in
            ('sub-', 'sub-a_b')] == selection.remarks  # fmt: skip


def test_a_database_is_not_stopped_by_a_name(bids: Path, tmp_path: Path) -> None:
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz')
    with open(os.path.join(os.fsencode(bids), b'sub-01/anat/sub-01_acq-\xfc_T1w.nii'), 'wb'):
        pass
    images = chosen(bids, database_dir=tmp_path / 'db').images
    assert [path.name for path in images] == ['sub-01_T1w.nii.gz']


STEMS = [
    f'sub-{sub}_{middle}T1w'
    for sub in ('01', 'a', 'A', 'x+y', 'xpy', 'xy', 'subject1', '+', 'b' * 200, 'b' * 199 + 'c')
    for middle in ('', 'acq-ab_', 'acqa-b_', 'acq-aB_', 'acq-Ab_', 'run-1_', 'acq-a_run-1_')
]


def test_names_of_nodes_are_safe_and_unique_on_any_disk() -> None:
    names = [node_name(parse_name(Path(f'{stem}.nii.gz'))) for stem in STEMS]
    assert len({name.lower() for name in names}) == len(STEMS)
    for name in names:
        assert name.replace('_', '').isalnum() and name.isascii() and len(name) < 100
        for part in (f'{name}_wf', f'ds_{name}_wf', f'space0_{name}_wf', f'record_{name}'):
            assert image_id(f'pumba_1_1_wf.sub_subject1_wf.{part}.strip') == name
    places = [Path(f'sub-{one}', *rest) for one, rest in itertools.product(
        ('01', 'A', 'a', 'x+y', 'a' * 200), ((), ('ses-b',), ('ses-B',)))]  # fmt: skip
    assert len({place_name(place).lower() for place in places}) == len(places)
    assert all(image_id(f'wf.{place_name(place)}_wf.other') is None for place in places)


def test_results_that_would_have_one_name_are_not_made(
    bids: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ('sub-1_foo-ab_T1w', 'sub-1_fooa-b_T1w')
    put(bids, *(f'sub-1/anat/{name}.nii' for name in names), 'sub-1/anat/sub-1_T1w.nii')
    code, printed = dry_run(bids, capsys)
    assert code == 1
    assert printed.count('its results would have the same names as those of') == 2
    assert 'sub-1_T1w.nii: would be stripped' in printed


def test_labels_that_differ_in_case_on_a_disk_that_ignores_it(
    bids: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bids, 'sub-a/anat/sub-a_T1w.nii', 'sub-A/anat/sub-A_T1w.nii', 'sub-b/anat/sub-b_T1w.nii')
    assert dry_run(bids, capsys)[0] == 0
    monkeypatch.setattr(plan, 'ignores_case', lambda folder: True)
    code, printed = dry_run(bids, capsys)
    assert code == 1
    assert printed.count('would have the same names') == 2


def test_a_disk_is_asked_without_writing(tmp_path: Path) -> None:
    folder = tmp_path / 'Folder'
    folder.mkdir()
    assert plan.ignores_case(folder / 'not' / 'yet') is (tmp_path / 'fOLDER').exists()
    (tmp_path / 'fOLDER').symlink_to(folder)
    assert plan.ignores_case(folder)


def test_a_name_too_long_for_results_is_one_line(
    bids: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for length in (200, 240):
        put(bids, f'sub-{"a" * length}/anat/sub-{"a" * length}_T1w.nii')
    code, printed = dry_run(bids, capsys)
    assert code == 1
    assert printed.count('names of results may have 255 bytes') == 1
    assert printed.count('would be stripped') == 1


def test_a_run_strips_images_of_any_label(
    bids: Path, bids_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    labels = ('ok', 'x+y', 'A' * 100)
    for label in labels:
        (path,) = put(bids, f'sub-{label}/anat/sub-{label}_acq-aB_T1w.nii.gz')
        shutil.copy(head, path)
    out = bids.parent / 'out'
    assert main([
        str(bids), str(out), 'participant', '--skip-bids-validation', '--nprocs', '1', '--no-n4',
        '-w', str(bids.parent / 'work'), '--device', 'cpu',
    ]) == 0  # fmt: skip
    assert '3 images stripped, 0 done before, 0 failed' in capsys.readouterr().out
    for label in labels:
        assert (out / f'sub-{label}/anat/sub-{label}_acq-aB_desc-brain_mask.nii.gz').is_file()
        assert (out / f'sub-{label}.html').is_file()


# ---- only what lies below the data set counts ----


@pytest.mark.parametrize(
    'parent', ['func', 'perf', 'pet', 'anat', 'meg', 'sub-study', 'ses-1', 'derivatives', '.x']
)
def test_folders_above_the_data_set_say_nothing(tmp_path: Path, parent: str) -> None:
    root = make(tmp_path / parent / 'bids')
    (path,) = put(root, 'sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz')
    filters = tmp_path / 'f.json'
    wanted = {'subject': '01', 'session': ['2'], 'datatype': 'anat', 'run': None}
    filters.write_text(json.dumps({'t1w': wanted}))
    assert chosen(root).images == [path]
    assert chosen(root, filter_file=filters).images == [path]
    assert chosen(root, database_dir=tmp_path / 'db').images == [path]


# ---- filters ----


@pytest.mark.parametrize(
    ('entities', 'kept'),
    [
        ({'reconstruction': ['*']}, ['rec-a', 'rec-b']),
        ({'reconstruction': ['Query.ANY']}, ['rec-a', 'rec-b']),
        ({'reconstruction': [None]}, ['plain']),
        ({'reconstruction': ['Query.NONE', 'b']}, ['plain', 'rec-b']),
        ({'reconstruction': [None, '*']}, ['plain', 'rec-a', 'rec-b']),
        ({'reconstruction': []}, []),
        ({'reconstruction': '^[ab]', 'regex_search': True}, ['rec-a', 'rec-b']),
        ({'subject': 'sub-01', 'extension': 'nii.gz'}, ['plain', 'rec-a', 'rec-b']),
    ],
)
def test_marks_inside_lists_of_filters(
    bids: Path, tmp_path: Path, entities: dict[str, object], kept: list[str]
) -> None:
    put(bids, *(f'sub-01/anat/sub-01_{rec}T1w.nii.gz' for rec in ('', 'rec-a_', 'rec-b_')))
    put(bids, 'sub-01/anat/sub-01_T2w.nii.gz')
    (tmp_path / 'f.json').write_text(json.dumps({'t1w': entities}))
    names = [path.name for path in chosen(bids, filter_file=tmp_path / 'f.json').images]
    found = {name.split('_')[1] if 'rec' in name else 'plain' for name in names if 'T1w' in name}
    assert sorted(found) == kept
    assert 'sub-01_T2w.nii.gz' in names


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('{"t1w": {"reconstruction": {"a": 1}}}', 'is no label'),
        ('{"t1w": {"run": true}}', 'is no label'),
        ('{"t1w": {"run": [["1"]]}}', 'a list inside a list'),
        ('{"t1w": {"reconstruction": "(", "regex_search": true}}', 'no regular expression'),
        ('{"t1w": {"EchoTime": 3}}', 'only with --bids-database-dir'),
        ('[' * 100_000, 'nested too deeply'),
        ('{"t1w": {"run": 1}, "T1w": {"run": 2}}', "'T1w' and another object are of one kind"),
        ('{"t1w": {"run": 1}, "t1w": {"run": 2}}', "has 't1w' twice"),
        ('{"t1w": {"run": 1, "run": 2}}', "has 'run' twice"),
    ],
)
def test_filters_of_odd_kinds_are_one_line(
    bids: Path, tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(bids, 'sub-01/anat/sub-01_rec-a_T1w.nii.gz')
    (tmp_path / 'f.json').write_text(text)
    code, printed = dry_run(bids, capsys, '--bids-filter-file', str(tmp_path / 'f.json'))
    assert code == 2
    assert told in printed and printed.count('\n') == 1


def test_folders_too_deep_for_pybids_are_named(
    bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyBIDS ends in a RecursionError; it goes through links, also through those that lead up."""
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz')
    (bids / 'sub-01/anat/again').symlink_to('..')

    def too_deep(*words: object, **more: object) -> None:
        raise RecursionError('maximum recursion depth exceeded')

    monkeypatch.setattr('bids.BIDSLayout', too_deep)
    with pytest.raises(UsageError) as caught:
        chosen(bids, database_dir=tmp_path / 'db')
    message = str(caught.value)
    assert message.startswith(f'{bids}/sub-01/anat/again/anat/again/')
    assert 'folders lie too deep for PyBIDS, or a link leads back' in message


def test_a_database_answers_for_sidecars(bids: Path, tmp_path: Path) -> None:
    for label, strength in (('1', 3), ('2', 7)):
        put(bids, f'sub-{label}/anat/sub-{label}_T1w.nii.gz')
        sidecar = bids / f'sub-{label}/anat/sub-{label}_T1w.json'
        sidecar.write_text(json.dumps({'MagneticFieldStrength': strength}))
    (tmp_path / 'f.json').write_text('{"t1w": {"MagneticFieldStrength": 7}}')
    found = chosen(bids, filter_file=tmp_path / 'f.json', database_dir=tmp_path / 'db').images
    assert [path.name for path in found] == ['sub-2_T1w.nii.gz']


# ---- what is looked for nowhere, and links ----


@pytest.mark.parametrize(
    'name',
    [
        'sub-01/sub-01_T1w.nii.gz',
        'sub-01/Anat/sub-01_T1w.nii.gz',
        'sub-01/ses-1/sub-01_ses-1_T1w.nii.gz',
        'sub-01/ses-1/ses-2/anat/sub-01_ses-2_T1w.nii.gz',
        'sub-01/sub-02/anat/sub-02_T1w.nii.gz',
        'sub-01/anat/sub-01_t1w.nii.gz',
    ],
)
def test_images_that_are_looked_for_nowhere_are_named(bids: Path, name: str) -> None:
    put(bids, name, 'sub-01/func/sub-01_T1w.nii.gz', 'sub-03/anat/sub-03_T1w.nii.gz')
    selection = chosen(bids)
    assert len([line for line in selection.remarks if f'{name}: left out' in line]) == 1
    assert selection.images == [bids / 'sub-03/anat/sub-03_T1w.nii.gz']
    assert selection.broken == {}
    (bids / '.bidsignore').write_text('sub-01/\n')
    assert not [line for line in chosen(bids).remarks if f'{name}: left out' in line]


@pytest.mark.parametrize('target', ['..', '../../../elsewhere'])
def test_links_to_folders_below_anat_are_named(bids: Path, target: str) -> None:
    """Images in them were passed over in silence."""
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz', '../elsewhere/sub-01_acq-a_T1w.nii.gz')
    (bids / 'sub-01/anat/more').symlink_to(target)
    selection = chosen(bids)
    assert selection.images == [bids / 'sub-01/anat/sub-01_T1w.nii.gz']
    assert [line for line in selection.remarks if 'sub-01/anat/more: left out' in line]


@pytest.mark.parametrize('link', ['sub-02', 'sub-01/ses-2', 'sub-01/ses-1/anat', 'sub-03/anat'])
@pytest.mark.parametrize('target', ['nowhere', 'itself'])
def test_links_that_lead_nowhere_fail_and_stop_no_other(
    bids: Path, link: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not here was no folder, and one circle of links stopped the run."""
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz')
    (bids / link).parent.mkdir(parents=True, exist_ok=True)
    (bids / link).symlink_to(Path(link).name if target == 'itself' else target)
    selection = chosen(bids)
    assert selection.images == [bids / 'sub-01/anat/sub-01_T1w.nii.gz']
    assert list(selection.broken) == [bids / link]
    code, printed = dry_run(bids, capsys)
    assert code == 1
    assert f'{link}: a link to a folder that is not here' in printed or 'Too many' in printed
    (bids / '.bidsignore').write_text(f'{link}\n')
    assert chosen(bids).broken == {}


def test_each_folder_is_read_once(bids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of participants on a network disk, each reading counts."""
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz')
    (bids / '.bidsignore').write_text('extra/\n')
    folders = [bids, *(path for path in bids.rglob('*') if path.is_dir()), bids / 'x']
    scan, read = os.scandir, dataset.read_ignored
    seen: list[Path] = []
    monkeypatch.setattr(os, 'scandir', lambda path: seen.append(Path(path)) or scan(path))
    monkeypatch.setattr(dataset, 'read_ignored', lambda at: seen.append(at / 'x') or read(at))
    assert len(chosen(bids).images) == 2
    looked_at = [path for path in seen if path.exists() or path.name == 'x']
    assert sorted(set(looked_at)) == sorted(folders)
    assert max(looked_at.count(path) for path in folders) == 1


# ---- .bidsignore ----


@pytest.mark.parametrize(
    ('lines', 'left_out'),
    [
        ('*_acq-loc_T1w.nii.gz\n*_desc-old_T1w.nii.gz\n', ['acq-loc', 'desc-old']),
        ('# *_T2w*\n\n/sub-01/anat/*acq-*\n', ['acq-loc']),
        ('**/*old*\n', ['desc-old']),
        ('*_T1w.nii.gz\n!*desc-old*\n', ['T1w', 'acq-loc']),
        ('sub-01/\n', ['T1w', 'acq-loc', 'desc-old']),
        ('anat/*loc*\n', []),
        ('*[o]l[!a-c]*\r\n', ['desc-old']),
        ('*acq-lo?_*\n[\n', ['acq-loc']),
        ('\ufeff*acq-loc*\n', ['acq-loc']),
    ],
)
def test_bidsignore_is_honoured_and_said(bids: Path, lines: str, left_out: list[str]) -> None:
    names = {key: f'sub-01_{key}_T1w' for key in ('acq-loc', 'desc-old')} | {'T1w': 'sub-01_T1w'}
    put(bids, *(f'sub-01/anat/{name}.nii.gz' for name in names.values()))
    put(bids, 'sub-02/anat/sub-02_FLAIR.nii.gz')
    (bids / '.bidsignore').write_text(lines, encoding='utf-8')
    selection = chosen(bids)
    (remark,) = [line for line in selection.remarks if '.bidsignore' in line] or ['']
    for key, name in names.items():
        path = bids / f'sub-01/anat/{name}.nii.gz'
        assert (path in selection.images) is (key not in left_out)
        assert (f'sub-01/anat/{name}.nii.gz' in remark) is (key in left_out)


def test_bidsignore_settles_which_of_two_files_counts(bids: Path) -> None:
    put(bids, 'sub-01/anat/old/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_T1w.nii.gz')
    (bids / '.bidsignore').write_text('old/\n')
    selection = chosen(bids)
    assert selection.images == [bids / 'sub-01/anat/sub-01_T1w.nii.gz']
    assert selection.broken == {}


def test_a_bidsignore_that_cannot_be_read_ignores_nothing(bids: Path) -> None:
    put(bids, 'sub-01/anat/sub-01_T1w.nii.gz')
    (bids / '.bidsignore').mkdir()
    assert len(chosen(bids).images) == 1


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems refuse such names')
@pytest.mark.parametrize('processes', ['1', '2'])
def test_an_image_that_fails_in_a_folder_of_any_name_stops_no_other(
    bids_dir, tmp_path, capsys, processes
):
    """The crash file could not hold the name: its reason was lost, and the run ended there."""
    root = tmp_path / os.fsdecode(b'm\xfcll')
    places = [root / f'sub-0{number}/anat' for number in (1, 2)]
    for place in places:
        place.mkdir(parents=True)
    shutil.copy(bids_dir / 'dataset_description.json', root)
    scan = bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    shutil.copy(scan, places[0] / 'sub-01_T1w.nii.gz')  # cannot be decompressed under this name
    (places[1] / 'sub-02_T1w.nii').write_bytes(gzip.decompress(scan.read_bytes()))
    out = tmp_path / 'out'
    code = main([
        str(root), str(out), 'participant', '-w', str(tmp_path / 'work'), '--no-n4', '--sloppy',
        '--skip-bids-validation', '--no-reports', '--device', 'cpu', '--nprocs', processes,
    ])  # fmt: skip
    assert code == 1
    error = [line for line in capsys.readouterr().err.splitlines() if 'pumba: error' in line]
    assert len(error) == 1
    assert 'the name is not UTF-8' in error[0]
    assert (out / 'sub-02/anat/sub-02_desc-brain_mask.nii.gz').exists()
