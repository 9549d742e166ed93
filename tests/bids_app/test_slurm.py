"""Jobs of a real SLURM: a cluster of one node is started, with its files in a temporary folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CLUSTER = Path(__file__).parents[1] / 'slurm' / 'cluster.sh'
ARRAY = ROOT / 'docker' / 'slurm' / 'array.sbatch'
NEEDED = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'scancel', 'squeue')
PATH = os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH'], '/usr/sbin'])
PATIENCE = 600  # seconds; the machine may be busy with other things
LABELS = ['001', '002', '003', '004']
# What takes most of the time, and has to do with the images alone.
QUICK = ['--no-n4', '--device', 'cpu']

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group('slurm'),  # one cluster, whose ports are taken once
    pytest.mark.skipif(
        any(shutil.which(program, path=PATH) is None for program in NEEDED),
        reason='SLURM is not installed (apt-get install slurm-wlm munge)',
    ),
]


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope='module')
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running SLURM, which the commands of this module talk to."""
    folder = tmp_path_factory.mktemp('slurm')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', PATH)
        patch.setenv('SLURM_CONF', str(folder / 'slurm.conf'))
        patch.setenv('OMP_NUM_THREADS', '1')
        # as in a container: Nipype would stumble
        patch.delenv('LOGNAME', raising=False)
        started = run(CLUSTER, 'start', folder)
        assert started.returncode == 0, started.stderr
        yield
        run(CLUSTER, 'stop', folder)


@pytest.fixture(scope='module')
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS data set of four participants with one small image each."""
    from pumba_pipe.commands.synth import main

    folder = tmp_path_factory.mktemp('heads') / 'bids'
    words = ['-n', '4', '--size', '40', '--voxel-mm', '4', '--seed', '3', '--suffixes', 'T1w']
    assert main([str(folder), *words]) == 0
    return folder


def wait_until(ready: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f'waited {PATIENCE} s: {what}'
        time.sleep(0.1)


def said(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text()


def no_jobs() -> bool:
    return run('squeue', '--noheader').stdout.strip() == ''


def masks(out: Path) -> list[str]:
    return sorted(path.name[4:7] for path in out.glob('sub-*/anat/*_desc-brain_mask.nii.gz'))


def submit(folder: Path, tasks: str, *words: object) -> int:
    """Hand over tasks of the array, and return the number of the job."""
    answer = run(
        'sbatch', '--parsable', f'--array={tasks}', '--cpus-per-task=1', '--mem=1500M', ARRAY,
        *words, cwd=folder,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout)


def test_an_array_one_task_of_which_is_killed(
    cluster: None, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks share a folder; what a killed one leaves is finished by the next, and gathered."""
    out = tmp_path / 'new' / 'out'
    (tmp_path / 'jobs.txt').write_text('001 002\n003\n004\n')
    monkeypatch.setenv('TMPDIR', str(tmp_path))  # what is killed leaves its work folder
    words = ['jobs.txt', heads, out, *QUICK]
    job = submit(tmp_path, '1-3', *words)
    log = tmp_path / f'pumba-{job}_1.log'
    wait_until(lambda: said(log, '1/2 done') or no_jobs(), 'first image of the first task')
    assert kill(job, 1) > 1
    wait_until(no_jobs, 'end of the array')
    assert masks(out) == ['001', '003', '004'], logs(tmp_path)
    assert 'ended with exit code' not in log.read_text()
    missing = run('python', '-m', 'pumba_pipe.bids_app.subjects', heads, '--missing-in', out)
    assert missing.stdout == '002\n'

    again = submit(tmp_path, '1', *words)
    wait_until(no_jobs, 'end of the task that was started again')
    assert '1 to strip on cpu, 1 done before' in (tmp_path / f'pumba-{again}_1.log').read_text()
    assert masks(out) == LABELS
    assert (
        json.loads((out / 'dataset_description.json').read_text())['DatasetType'] == 'derivative'
    )
    assert (out / 'README').read_text().endswith('/log`.\n')
    assert sorted(page.name for page in out.glob('sub-*.html')) == [
        f'sub-{label}.html' for label in LABELS
    ]
    leftovers = [path for path in out.rglob('.partial-*') if path.name[4:7] != '002']
    assert len(leftovers) <= 1  # of the task that was killed

    assert run('pumba', heads, out, 'group').returncode == 0
    rows = (out / 'group_T1w.tsv').read_text().splitlines()[1:]
    assert [row.split('\t')[0][4:7] for row in rows] == LABELS
    text = run('pumba', heads, out, 'participant', '--boilerplate-only', '--skip-bids-validation')
    assert text.returncode == 0, text.stderr
    assert 'of 4 participants' in (out / 'logs/CITATION.md').read_text()


def kill(job: int, task: int) -> int:
    """Kill the processes of a task as the kernel does when memory is short, and count them."""
    mine = {'SLURM_ARRAY_JOB_ID': str(job), 'SLURM_ARRAY_TASK_ID': str(task)}
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mine.items() <= process.environ().items():
                process.kill()
                killed += 1
    return killed


def logs(folder: Path) -> str:
    return '\n'.join(path.read_text() for path in sorted(folder.glob('pumba-*.log')))


def with_plugin(heads: Path, folder: Path, plugin: str, labels: list[str]) -> tuple[int, str, str]:
    """Run `pumba` with a plugin; return its exit code, what it said, and its errors."""
    file = folder / 'plugin.yml'
    arguments = '--cpus-per-task=1 --mem=1500M --time=10'
    file.write_text(f'plugin: {plugin}\nplugin_args:\n  sbatch_args: {arguments}\n')
    answer = run(
        'pumba', heads, folder / 'out', 'participant', '--participant-label', *labels,
        '--use-plugin', file, '-w', folder / 'work', '--skip-bids-validation', '--no-reports',
        *QUICK,
    )  # fmt: skip
    return answer.returncode, answer.stdout, answer.stderr


def test_each_step_is_a_job(cluster: None, heads: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(heads, tmp_path / 'bids'))
    image = broken / 'sub-002/anat/sub-002_T1w.nii.gz'
    image.write_bytes(image.read_bytes()[:500])
    code, said, errors = with_plugin(broken, tmp_path, 'SLURM', ['001', '002'])
    assert code == 1
    assert errors.count('\n') == 1, errors
    assert errors.startswith(f'pumba: error: {image}: damaged or incomplete'), said
    assert masks(tmp_path / 'out') == ['001']
    finished = run('squeue', '--noheader', '--states=all', '--format=%j %T').stdout
    assert 'COMPLETED' in [line.split()[1] for line in finished.splitlines() if 'strip' in line]


def test_all_jobs_are_handed_over_at_once(cluster: None, heads: Path, tmp_path: Path) -> None:
    code, said, errors = with_plugin(heads, tmp_path, 'SLURMGraph', ['003'])
    assert (code, errors) == (0, '')
    assert '1 image submitted (SLURMGraph)' in said
    assert not no_jobs()
    wait_until(no_jobs, 'end of all jobs')
    assert masks(tmp_path / 'out') == ['003']
    code, said, errors = with_plugin(heads, tmp_path, 'SLURMGraph', ['003'])
    assert (code, errors) == (0, '')
    assert '0 to strip on cpu, 1 done before' in said


def test_jobs_that_slurm_does_not_take(
    cluster: None, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pumba_pipe.bids_app.run import main

    file = tmp_path / 'plugin.yml'
    file.write_text('plugin: SLURM\nplugin_args:\n  sbatch_args: --partition=nowhere\n')
    words = [heads, tmp_path / 'out', 'participant', '--use-plugin', file, '-w', tmp_path / 'work']
    assert main([*map(str, words), '--skip-bids-validation', '--nprocs', '1']) == 2
    assert capsys.readouterr().err == (
        'pumba: error: --use-plugin: SLURM does not take such jobs '
        '(Invalid partition name specified)\n'
    )
    assert not (tmp_path / 'out').exists()
