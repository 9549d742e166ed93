"""Two runs in one folder, folders that are not ours, configuration files, dry runs."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pumba_pipe.bids_app.execution.concurrent_runs import PREFIX, announced
from pumba_pipe.bids_app.execution.progress import ImageProgress
from pumba_pipe.bids_app.execution.workdir import own_folder, remove_leftovers, was_removed
from pumba_pipe.bids_app.run import main

from pumba_pipe.commands.synth import main as synth
from pumba_pipe.common.file_lock import LOCK_PREFIX, exclusive, hold, release
from pumba_pipe.common.partial_files import OLD_SECONDS
from pumba_pipe.interfaces import SaveDerivative, SaveFigures

POSIX = pytest.mark.skipif(os.name != 'posix', reason='locks the POSIX way')


# ---- two runs in one folder ----


def write_often(folder: Path, tag: str, times: int) -> None:
    """Write a mask and its sidecar many times; ends with 1 when that failed once."""
    source, place = folder / tag, folder / 'out' / 'sub-01_mask.nii.gz'
    source.write_text(tag)
    for _ in range(times):
        SaveDerivative(in_file=str(source), out_path=str(place), metadata={'Csf': tag}).run()


@POSIX
def test_file_and_sidecar_are_of_one_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context('fork')
    runs = [
        context.Process(target=write_often, args=(tmp_path, tag, 60)) for tag in ('one', 'other')
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0]
    sidecar = json.loads((tmp_path / 'out/sub-01_mask.json').read_text())
    assert (tmp_path / 'out/sub-01_mask.nii.gz').read_text() == sidecar['Csf']
    assert len(list((tmp_path / 'out').iterdir())) == 2


@POSIX
def test_a_lock_says_whose_it_is_and_outlives_nobody(tmp_path: Path) -> None:
    target = tmp_path / 'sub-01_mask.nii.gz'
    with exclusive(target):
        (lock,) = tmp_path.iterdir()
        assert lock.name.startswith(LOCK_PREFIX)
        assert lock.read_text() == f'process {os.getpid()} on {os.uname().nodename}'
    assert list(tmp_path.iterdir()) == []
    lock.write_text('process 1 on a machine that was switched off')
    with exclusive(target):
        assert lock.read_text().startswith(f'process {os.getpid()} ')
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_where_there_are_no_locks_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.flock', refuse)
    write_often(tmp_path, 'one', 1)
    assert (tmp_path / 'out/sub-01_mask.nii.gz').read_text() == 'one'


def test_figures_of_a_run_that_was_stopped_are_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {}
    for name in ('mosaic', 'before_after', 'thumbnail', 'viewer'):
        figures[name] = tmp_path / name
        figures[name].write_text(name)
    places = {name: str(tmp_path / 'out' / name) for name in figures}
    record = tmp_path / 'out' / 'record.json'
    save = SaveFigures(
        **{name: str(path) for name, path in figures.items()},
        out_paths=places,
        record_path=str(record),
    )

    def stop(*words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('pumba_pipe.interfaces.derivatives.write_json', stop)
        with pytest.raises(KeyboardInterrupt):
            save._run_interface(None)
    assert not any(Path(place).exists() for place in places.values())
    save._run_interface(None)
    assert set(json.loads(record.read_text())['FileRecord']) == set(figures)


def a_plan(out: Path, run: str, labels: tuple[str, ...], **options: object) -> Any:
    config = SimpleNamespace(output_dir=out, run_id=run, options=options)
    todo = [SimpleNamespace(source=Path(f'sub-{label}_T1w.nii')) for label in labels]
    return SimpleNamespace(config=config, todo=todo, settings=SimpleNamespace(sha256='a'))


@POSIX
def test_a_file_system_without_locks_is_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.flock', refuse)
    with exclusive(tmp_path / 'sub-01_mask.nii.gz'):
        pass
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_result_that_another_run_is_replacing_is_waited_for(
    bids_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The other run has removed the old mask when this one looks whether it is done."""
    from nipype.pipeline.engine import Workflow

    from pumba_pipe.interfaces import derivatives

    mask = tmp_path / 'out/sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    removed, go_on = threading.Event(), threading.Event()
    others: list[threading.Thread] = []
    describe, run = derivatives.write_json, Workflow.run

    def slow(path: Path, content: Any) -> None:
        if threading.current_thread() in others:
            removed.set()
            assert go_on.wait(60)
        describe(path, content)

    def replace() -> None:
        copy = tmp_path / 'copy.nii.gz'
        shutil.copy(mask, copy)
        content = json.loads(mask.with_name('sub-01_desc-brain_mask.json').read_text())
        SaveDerivative(
            in_file=str(copy), out_path=str(mask), metadata=content,
            source_file=str(bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'),
            source_record=content['SourceRecord'],
        )._run_interface(None)  # fmt: skip

    def note(progress: ImageProgress, node: Any, status: str) -> None:
        if node.name == 'ds_mask' and status == 'end':
            others.append(threading.Thread(target=replace))
            others[0].start()
            assert removed.wait(60)
        settle(progress, node, status)

    def then_go_on(*words: Any, **more: Any) -> Any:
        try:
            return run(*words, **more)
        finally:
            threading.Timer(0.3, go_on.set).start()

    settle = ImageProgress.__call__
    monkeypatch.setattr(derivatives, 'write_json', slow)
    monkeypatch.setattr(ImageProgress, '__call__', note)
    monkeypatch.setattr(Workflow, 'run', then_go_on)
    words = ['participant', '-w', str(tmp_path / 'work'), '--skip-bids-validation', '--no-n4']
    words += ['--nprocs', '1', '--no-reports', '--device', 'cpu', '--participant-label', '01']
    words += ['--modalities', 'T1w']
    assert main([str(bids_dir), str(tmp_path / 'out'), *words]) == 0
    others[0].join()
    printed = capsys.readouterr()
    assert printed.err == ''
    assert '1/1 done, 0 failed' in printed.out
    assert mask.exists()
    assert not list((tmp_path / 'out').rglob('.partial-*'))


@POSIX
def test_runs_on_the_same_participants_warn(tmp_path: Path) -> None:
    said: list[str] = []
    words = {'border-mm': 0.0, 'nprocs': 1}
    with announced(a_plan(tmp_path, '1', ('01', '02'), **words), said.append):
        with announced(a_plan(tmp_path, '2', ('03',), **words), said.append):
            assert said == []
        with announced(a_plan(tmp_path, '3', ('02', '04'), **words), said.append):
            assert 'another run works on sub-02 in this folder' in said[0]
            assert f'process {os.getpid()} on ' in said[0]
            assert 'other options' not in said[0]
        words = {'border-mm': 1.0, 'nprocs': 2}
        with announced(a_plan(tmp_path, '4', ('01',), **words), said.append):
            assert 'with other options: border-mm)' in said[1].replace('; of', ')')
    assert list((tmp_path / 'logs').iterdir()) == []


@POSIX
def test_a_run_that_was_killed_warns_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    note = tmp_path / 'logs' / f'{PREFIX}0.json'
    note.parent.mkdir()
    note.write_text(json.dumps({'participants': ['01'], 'owner': 'gone'}))
    (tmp_path / 'logs' / f'{PREFIX}x.json').write_text('{half')
    with announced(a_plan(tmp_path, '1', ('01',)), said.append):
        assert not note.exists()
    assert said == []
    handle = hold(note, '[]')
    assert handle is not None
    with announced(a_plan(tmp_path, '1', ('01',)), said.append):
        assert said == []
    release(handle, note)


@POSIX
@pytest.mark.parametrize(
    ('content', 'warns'),
    [
        ('{"participants": 3}', False),
        ('{"participants": [{}, "02"]}', False),
        ('{"participants": [["x"], "01"], "options": ["border-mm"]}', True),
        ('{"participants": ["01"], "number": ' + '9' * 5000 + '}', False),
        ('[' * 100_000, False),
    ],
    ids=['a number', 'an object', 'a list', 'many digits', 'deep'],
)
def test_an_odd_note_stops_no_run(tmp_path: Path, content: str, warns: bool) -> None:
    said: list[str] = []
    (tmp_path / 'logs').mkdir()
    note = tmp_path / 'logs' / f'{PREFIX}0.json'
    handle = hold(note, content)
    assert handle is not None
    with announced(a_plan(tmp_path, '1', ('01',)), said.append):
        assert bool(said) == warns
    release(handle, note)


# ---- folders that are not ours ----


@POSIX
def test_only_our_own_work_folders_are_emptied(tmp_path: Path) -> None:
    work, precious = tmp_path / 'work', tmp_path / 'precious'
    foreign = {
        work / 'pumba-2024-results/sub-01/mask.nii.gz',
        work / 'pumba-0.3.1/src/x',
        work / 'pumba-1/mine',  # named as ours
        work / 'pumba-2/.lock',  # locked by another program
        work / 'pumba-01/.lock',
        precious / 'thesis.tex',
    }
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('mine')
    (work / 'pumba-3').symlink_to(precious)
    (work / 'pumba-4').write_text('a file')
    (work / 'pumba-5').mkdir()
    (work / 'pumba-5/.lock').symlink_to(precious / 'thesis.tex')
    with own_folder(work) as ours:
        assert ours == work / 'pumba-6'
        (ours / 'step').mkdir()
        (ours / 'step/result').touch()
        (ours / 'link').symlink_to(precious)
    (work / 'pumba-7').symlink_to(ours)
    with own_folder(work, clean=True) as again:
        assert again == ours
        assert [path.name for path in ours.iterdir()] == ['.lock']
    assert all(path.read_text() == 'mine' for path in foreign)
    assert (work / 'pumba-1').is_dir() and (work / 'pumba-3').is_symlink()
    assert sorted(path.name for path in precious.iterdir()) == ['thesis.tex']


@POSIX
def test_an_old_folder_is_used_again_after_a_kill(tmp_path: Path) -> None:
    with own_folder(tmp_path) as first:
        (first / 'step').mkdir()
    (first / '.lock').write_bytes(b'')  # killed while it was written
    with own_folder(tmp_path) as second:
        assert second != first
    (tmp_path / 'pumba-3').mkdir()  # killed before it was marked
    with own_folder(tmp_path), own_folder(tmp_path) as third:
        assert third == tmp_path / 'pumba-3'


def test_leftovers_are_not_looked_for_behind_links(tmp_path: Path) -> None:
    (tmp_path / 'elsewhere').mkdir()
    file = tmp_path / 'elsewhere/.partial-abcdefgh'
    file.touch()
    moment = time.time() - 2 * OLD_SECONDS
    os.utime(file, (moment, moment))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/sub-01').symlink_to(tmp_path / 'elsewhere')
    assert remove_leftovers(tmp_path / 'out', ['01']) == 0
    assert file.exists()


SMALL = ['-n', '1', '--size', '24', '--voxel-mm', '8']
MASK = 'derivatives/labels/sub-001/anat/sub-001_desc-brain_mask.nii.gz'


@pytest.fixture(scope='module')
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('heads') / 'd'
    assert synth([str(folder), *SMALL]) == 0
    return folder


@pytest.mark.parametrize(
    'name',
    [
        'sub-mine/anat/sub-mine_T1w.nii.gz',
        'sub-001/anat/sub-001_run-2_T1w.nii.gz',
        'derivatives/labels/sub-mine/mask.nii.gz',
        'sub-001/notes.txt',
        MASK,
        'sub-001/anat/sub-001_T1w.nii.gz',
        'README',
        'link',
    ],
)
def test_pumba_synth_removes_only_what_it_made(
    heads: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(heads, tmp_path / 'd'))
    if name == 'link':
        (tmp_path / 'mine').mkdir()
        (tmp_path / 'mine/x').touch()
        (folder / 'sub-002').symlink_to(tmp_path / 'mine')
    else:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('mine')
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    assert synth([str(folder), *SMALL]) == 1
    error = capsys.readouterr().err
    assert 'was not made by pumba-synth, or was changed since' in error
    assert error.count('\n') == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


def test_pumba_synth_replaces_its_own(heads: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(heads, tmp_path / 'd'))
    (folder / 'code').mkdir()  # not in the way
    (folder / 'sub-001/anat/.partial-abcdefgh.nii.gz').touch()  # of a run that was killed
    assert synth([str(folder), *SMALL, '--seed', '7']) == 0
    assert (folder / MASK).read_bytes() != (heads / MASK).read_bytes()
    assert (folder / 'code').is_dir()
    assert not list(folder.rglob('.partial-*'))


# ---- configuration files ----


@pytest.mark.parametrize(
    'line',
    [
        'modalities = ["T1w", "--help"]',
        'modalities = ["T1w", "--dry-run"]',
        'participant-label = ["01", "--clean-workdir"]',
        'output-spaces = ["--", "x"]',
        'species = ["-v"]',
        'help = true',
        'dry_run = true',
        'dry-run = true',
        'clean-workdir = true',
        '"" = true',
        '"modalities=T1w --dry-run" = true',
        '"-help" = true',
        '"Dry-Run" = true',
        'no-n4 = ["group"]',
        'bids-dir = "/tmp"',
        'modalities = [["T1w"]]',
    ],
)
def test_a_configuration_smuggles_nothing_in(
    bids_dir: Path, tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'c.toml').write_text(f'[options]\n{line}\n')
    words = [str(bids_dir), str(tmp_path / 'out'), 'participant', '--skip-bids-validation']
    assert main([*words, '--config-file', str(tmp_path / 'c.toml')]) == 2
    printed = capsys.readouterr()
    assert printed.out == ''
    assert printed.err.startswith('pumba: error: ') and printed.err.count('\n') == 1
    assert 'c.toml' in printed.err
    assert not (tmp_path / 'out').exists()


# ---- dry runs ----


def test_a_dry_run_writes_nothing_anywhere(
    bids_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even TemplateFlow's cache, which its client fills as soon as it is imported."""
    import subprocess
    import sys

    for name in ('home', 'tmp', 'cwd'):
        (tmp_path / name).mkdir()
    monkeypatch.delenv('TEMPLATEFLOW_HOME', raising=False)
    environment = {**os.environ, 'HOME': str(tmp_path / 'home'), 'TMPDIR': str(tmp_path / 'tmp')}
    environment |= {'XDG_CACHE_HOME': str(tmp_path / 'home/cache')}
    code = 'import sys; from pumba_pipe.bids_app.run import main; sys.exit(main())'
    words = ['participant', '--dry-run', '--nprocs', '1', '--resource-monitor', '--write-graph']
    words += ['--clean-workdir', '--bids-database-dir', 'db']
    words += ['--output-spaces', 'MNI152NLin2009cAsym:res-2']
    done = subprocess.run(
        [sys.executable, '-c', code, str(bids_dir), 'out', *words],
        cwd=tmp_path / 'cwd', env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    assert 'dry run: nothing was written' in done.stdout
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*'))
    assert left == ['cwd', 'home', 'tmp']


def test_damaged_records_of_nodes_are_made_anew(bids_dir: Path, tmp_path: Path) -> None:
    """As after a power cut; the image failed at each further run, until the folder was emptied."""
    words = [
        str(bids_dir), str(tmp_path / 'out'), 'participant', '-w', str(tmp_path / 'work'),
        '--participant-label', '01', '--modalities', 'T1w', '--skip-bids-validation',
        '--device', 'cpu', '--nprocs', '1', '--no-n4', '--no-reports',
    ]  # fmt: skip
    assert main(words) == 0
    records = sorted((tmp_path / 'work').rglob('*.pklz'))
    assert len(records) > 5
    for number, record in enumerate(records):
        whole = record.read_bytes()
        record.write_bytes((b'', b'rubbish', whole[: len(whole) // 2], whole)[number % 4])
    shutil.rmtree(tmp_path / 'out')
    assert main(words) == 0
    assert len(list((tmp_path / 'out').rglob('*_mask.nii.gz'))) == 1


def test_a_work_folder_that_was_removed_in_use_is_noticed(tmp_path: Path) -> None:
    with own_folder(tmp_path) as ours:
        assert not was_removed(ours)
        shutil.rmtree(ours)
        (ours / 'step').mkdir(parents=True)  # as Nipype does
        assert was_removed(ours)
    assert not was_removed(tmp_path)  # of somebody else
