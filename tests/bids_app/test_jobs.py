"""A data set split into jobs, and what a job is given; no batch system is needed."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from pumba_pipe.bids_app import run, subjects
from pumba_pipe.bids_app.execution import batch_system
from pumba_pipe.bids_app.execution.plugin_file import PluginChoice
from pumba_pipe.bids_app.options.config import RunConfig
from pumba_pipe.bids_app.selection import tree as selected_tree
from pumba_pipe.bids_app.selection.dataset import select_images
from pumba_pipe.bids_app.selection.index import list_participants

ROOT = Path(__file__).parents[2]
ARRAY = ROOT / 'docker' / 'slurm' / 'array.sbatch'
MAKE_TREE = ROOT / 'tests' / 'scaling' / 'make_tree.py'


@pytest.fixture(scope='module')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve participants whose images are empty."""
    root = tmp_path_factory.mktemp('tree') / 'bids'
    runpy.run_path(str(MAKE_TREE))['make_tree'](root, 12)
    return root


def listed(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    assert subjects.main([str(word) for word in words]) == 0
    return capsys.readouterr().out.splitlines()


# ---- splitting ----


def test_jobs_hold_every_participant_once(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everybody = [f'{number:02}' for number in range(1, 13)]
    assert listed(capsys, tree) == everybody
    for words, sizes in (
        (['--per-job', 5], [5, 5, 2]),
        (['--jobs', 4], [3, 3, 3, 3]),
        (['--jobs', 5], [3, 3, 3, 3]),
        (['--jobs', 100], [1] * 12),
    ):
        lines = listed(capsys, tree, *words)
        assert ' '.join(lines).split() == everybody
        assert [len(line.split()) for line in lines] == sizes


def test_jobs_follow_the_options_that_choose_images(
    bids_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(capsys, bids_dir) == ['01', '02']
    assert listed(capsys, bids_dir, '--modalities', 'MP2RAGE') == ['03']
    assert listed(capsys, bids_dir, '--session-label', 'ses-a') == ['02']
    assert listed(capsys, bids_dir, '--participant-label', 'sub-02', '01', '--jobs', 1) == [
        '01 02'
    ]


def test_jobs_for_what_is_missing(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [tree, '--participant-label', '01', '02', '03', '--missing-in', tmp_path]
    for name in ('01', '02'):
        (tmp_path / f'sub-{name}/anat').mkdir(parents=True)
        for ending in ('brain_mask', 'preproc_T1w', 'brain_T1w'):
            (tmp_path / f'sub-{name}/anat/sub-{name}_desc-{ending}.nii.gz').touch()
    assert listed(capsys, *words) == ['01', '02', '03']  # their T2w images
    assert listed(capsys, *words, '--modalities', 'T1w') == ['03']
    for ending in ('space-T2w_desc-brain_mask', 'space-T2w_desc-preproc_T2w'):
        (tmp_path / f'sub-02/anat/sub-02_{ending}.nii.gz').touch()
    assert listed(capsys, *words) == ['01', '02', '03']  # killed before the last file
    (tmp_path / 'sub-02/anat/sub-02_desc-brain_T2w.nii.gz').touch()
    assert listed(capsys, *words) == ['01', '03']


def test_wrong_use_of_the_list_is_one_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, told in (
        ([tmp_path / 'absent'], 'does not exist'),
        ([tree, '--participant-label', '99'], 'not in'),
        ([tree, '--per-job', '0'], 'not a whole number above zero'),
        ([tree, '--per-job', '2', '--jobs', '2'], 'not allowed with'),
    ):
        assert subjects.main([str(word) for word in words]) == 2
        out, error = capsys.readouterr()
        assert out == ''
        assert error.count('\n') == 1
        assert told in error


def test_results_of_a_tree_can_be_gathered(tree: Path, tmp_path: Path) -> None:
    runpy.run_path(str(MAKE_TREE))['make_results'](tmp_path, 12)
    assert run.main([str(tree), str(tmp_path), 'group', '--no-reports']) == 0
    assert len((tmp_path / 'group_T1w.tsv').read_text().splitlines()) == 13


# ---- one job of thousands ----


def test_a_job_reads_the_folders_of_its_participants_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(tree, tmp_path, 'participant', participants=('03', '11'))
    read: list[Path] = []
    entries = selected_tree._entries
    monkeypatch.setattr(
        selected_tree, '_entries', lambda folder: read.append(folder) or entries(folder)
    )
    chosen = {path.name for path in select_images(config).images}
    assert {path.relative_to(tree).parts[0] for path in read} == {'sub-03', 'sub-11'}
    assert chosen == {
        f'sub-{sub}_{kind}.nii.gz' for sub in ('03', '11') for kind in ('T1w', 'T2w')
    }


def test_a_label_that_begins_another_is_not_the_other(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree / 'sub-01', tmp_path / 'bids/sub-1/')
    for name in ('bids/sub-1/anat/sub-1_T1w.nii.gz', 'bids/sub-11/anat/sub-11_T1w.nii.gz'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'bids/sub-note.txt').touch()
    shutil.copy(tree / 'dataset_description.json', tmp_path / 'bids')
    assert list_participants(tmp_path / 'bids') == ['1', '11']
    config = RunConfig(tmp_path / 'bids', tmp_path, 'participant', participants=('1',))
    assert {path.parts[-3] for path in select_images(config).images} == {'sub-1'}


def test_a_database_gives_the_same_images(tree: Path, tmp_path: Path) -> None:
    for labels in ((), ('02',)):
        plain = RunConfig(tree, tmp_path, 'participant', participants=labels)
        kept = RunConfig(
            tree, tmp_path, 'participant', participants=labels,
            database_dir=tmp_path / 'database',
        )  # fmt: skip
        assert select_images(kept) == select_images(plain)
        assert len(select_images(kept).images) == 2 * (len(labels) or 12)


# ---- the array job ----


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the PATH, whose `pumba` and `apptainer` print what they are given."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('pumba', 'apptainer'):
        script = f'#!/bin/sh\necho {name} "$@"\necho gpus $APPTAINERENV_CUDA_VISIBLE_DEVICES\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
    for name in list(os.environ):
        if name.startswith(('SLURM_', 'PUMBA_', 'CUDA_')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    return folder


def task(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['bash', str(ARRAY), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
    )


def test_a_task_gets_its_line_and_its_share_of_the_machine(
    programs: Path, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / 'jobs.txt').write_text('01 02\n03\n')
    words = ['jobs.txt', tree, 'my out', '--no-n4']
    answer = task(
        tmp_path, *words, SLURM_ARRAY_TASK_ID='1', SLURM_CPUS_PER_TASK='3',
        SLURM_MEM_PER_NODE='4000',
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    called = answer.stdout.splitlines()[1]
    assert called.startswith(
        f'pumba {tree} {tmp_path / "my out"} participant -w {tmp_path}/pumba-'
    )
    assert called.endswith(
        '--nprocs 3 --omp-nthreads 3 --skip-bids-validation --mem 3600M --no-n4 '
        '--participant-label 01 02'
    )
    assert not list(tmp_path.glob('pumba-*'))
    one = task(tmp_path, *words, SLURM_ARRAY_TASK_ID='2', SLURM_MEM_PER_CPU='2000')
    assert one.stdout.splitlines()[1].endswith('--mem 1800M --no-n4 --participant-label 03')


def test_a_task_runs_in_a_container(programs: Path, tree: Path, tmp_path: Path) -> None:
    (tmp_path / 'jobs.txt').write_text('01\n')
    answer = task(
        tmp_path, 'jobs.txt', tree, 'out', SLURM_ARRAY_TASK_ID='1', PUMBA_CONTAINER='pumba.sif',
        PUMBA_BINDS='/weights', CUDA_VISIBLE_DEVICES='0,1',
    )  # fmt: skip
    out = tmp_path / 'out'
    called, gpus = answer.stdout.splitlines()[1:3]
    begin = (
        f'apptainer run --cleanenv --bind {tree}:{tree}:ro --bind {out} --bind {tmp_path}/pumba-'
    )
    assert called.startswith(begin)
    assert f' --bind /weights pumba.sif {tree} {out} participant -w {tmp_path}/pumba-' in called
    assert gpus == 'gpus 0,1'


def test_a_task_passes_on_how_it_ended(programs: Path, tree: Path, tmp_path: Path) -> None:
    (tmp_path / 'jobs.txt').write_text('01\n')
    (programs / 'pumba').write_text('#!/bin/sh\nexit 70\n')
    answer = task(tmp_path, 'jobs.txt', tree, 'out', SLURM_ARRAY_TASK_ID='1')
    assert answer.returncode == 70
    assert answer.stdout.splitlines()[-1].endswith('ended with exit code 70')


@pytest.mark.parametrize(
    ('words', 'environment', 'told'),
    [
        (['jobs.txt'], {'SLURM_ARRAY_TASK_ID': '1'}, 'needs JOBS_FILE BIDS_DIR OUT_DIR'),
        (['jobs.txt', '.', 'out'], {}, 'not a task of an array'),
        (['jobs.txt', '.', 'out'], {'SLURM_ARRAY_TASK_ID': '9'}, 'jobs.txt: has no line 9'),
    ],
)
def test_wrong_use_of_the_array_is_one_line(
    programs: Path, tmp_path: Path, words: list[str], environment: dict[str, str], told: str
) -> None:
    (tmp_path / 'jobs.txt').write_text('01\n')
    answer = task(tmp_path, *words, **environment)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f'array.sbatch: error: {told}')
    assert answer.stderr.count('\n') == 1
    assert not (tmp_path / 'out').exists()


# ---- batch systems ----


def test_which_plugins_do_not_wait() -> None:
    names = [*batch_system.SUBMIT, 'MultiProc', 'Linear']
    early = [name for name in names if batch_system.submits_and_returns(PluginChoice(name))]
    assert early == ['SLURMGraph', 'PBSGraph', 'SGEGraph', 'CondorDAGMan']
    assert not batch_system.submits_and_returns(None)


def test_a_batch_system_that_is_not_here_is_one_line(
    bids_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / 'plugin.yml'
    file.write_text('plugin: OAR\n')
    monkeypatch.setenv('PATH', str(tmp_path))
    words = [bids_dir, tmp_path / 'out', 'participant', '--use-plugin', file, '-w', tmp_path / 'w']
    words += ['--skip-bids-validation', '--nprocs', '1']
    assert run.main([*map(str, words), '--dry-run']) == 0
    assert run.main([*map(str, words)]) == 2
    assert capsys.readouterr().err == (
        'pumba: error: --use-plugin: OAR submits jobs with oarsub, which is not installed '
        'here; start pumba where jobs can be submitted\n'
    )
    assert not (tmp_path / 'out').exists()


def test_a_work_dir_that_nipype_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'qsub').write_text('#!/bin/sh\n')
    (tmp_path / 'qsub').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(batch_system.UsageError, match='a blank in its name'):
        batch_system.prepare_batch_system(PluginChoice('PBS'), tmp_path / 'my work')
