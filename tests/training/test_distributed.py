"""Training in two processes: the same gradients, one writer, a clean stop, and a way on."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pumba_pipe.commands.train import build_parser, main
from pumba_pipe.common.errors import InputError
from pumba_pipe.network.weights import load_weights
from pumba_pipe.training.distributed import check_same_step
from pumba_pipe.training.loop import sample_seeds
from pumba_pipe.training.stage_settings import StageSettings

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / 'docker' / 'slurm' / 'train.sbatch'
COMMAND = [sys.executable, '-m', 'pumba_pipe.commands.train']
SIZES = ['--stage', 'coarse', '--coarse-size', '32', '--widths', '4', '8']
MACHINE = ['--device', 'cpu', '--threads', '1', '--cache-size', '4', '--precision', '32-true']
SETTINGS = [*SIZES, *MACHINE, '-q', '--no-calibration']

# `pumba-train` that says which rank wrote a checkpoint
WITNESS = """
import os, sys
from pumba_pipe.training import loop as training
from pumba_pipe.commands.train import main

plain = training.save_checkpoint

def save(path, *rest):
    plain(path, *rest)
    path.with_name('written-by-' + os.environ['RANK']).touch()

training.save_checkpoint = save
if __name__ == '__main__':
    sys.exit(main())
"""

# stands in for the real one, and says what it was given
SRUN = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done > "$SRUN_LOG"
"""


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Options that let all runs here share their heads."""
    return ['--cache-dir', str(tmp_path_factory.mktemp('head-cache'))]


def first_moments(folder):
    """What the optimizer remembers after one step: the gradients, up to a factor."""
    saved = torch.load(folder / 'coarse' / 'checkpoint.pt', weights_only=True)
    assert saved['progress']['step'] == 1
    states = saved['optimizer']['state'].values()
    return [value for state in states for value in state.values() if value.numel() > 1]


def difference(first, second):
    """Length of the difference of two gradients, over the length of the second."""
    assert len(first) == len(second) > 10
    first, second = (torch.cat([value.flatten() for value in all_]) for all_ in (first, second))
    return float((first - second).norm() / second.norm())


def test_samples_are_counted_through_the_ranks():
    whole = sample_seeds(StageSettings(batch=4), step=7, rank=0)
    assert len(set(whole)) == 4
    parts = [sample_seeds(StageSettings(batch=2), step=7, rank=rank) for rank in (0, 1)]
    assert parts[0] + parts[1] == whole
    assert not set(whole) & set(sample_seeds(StageSettings(batch=4), step=8, rank=0))


def test_two_ranks_have_the_gradient_of_one_process_with_their_samples(cache, tmp_path):
    script = tmp_path / 'witness.py'
    script.write_text(WITNESS)
    one_step = [*SETTINGS, *cache, '--steps', '1']
    alone, half, both = (tmp_path / name for name in ('alone', 'half', 'both'))
    assert main([str(alone), *one_step, '--batch', '2']) == 0
    assert main([str(half), *one_step, '--batch', '1']) == 0
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    launcher += ['--nproc-per-node', '2', str(script)]
    done = subprocess.run(
        [*launcher, str(both), *one_step, '--batch', '1', '--devices', '2'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert difference(first_moments(both), first_moments(alone)) < 1e-4
    assert difference(first_moments(half), first_moments(alone)) > 0.1
    assert [path.name for path in both.rglob('written-by-*')] == ['written-by-0']
    assert len(list(both.rglob('events.out.*'))) == 1
    stage = load_weights(both / 'weights.safetensors').card['stages']['coarse']
    assert (stage['samples'], stage['hardware']) == (2, '2 x CPU')


def start_rank(rank, port, command, folder):
    """Start one of two processes, as torchrun or srun on two nodes would."""
    place = {'LOCAL_RANK': str(rank), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    with (folder / f'rank{rank}.txt').open('w') as log:
        return subprocess.Popen(command, env=os.environ | place, stdout=log, stderr=log)


@pytest.mark.parametrize('victim', [0, 1])
def test_a_killed_rank_ends_the_other_in_one_line_and_the_run_resumes(victim, cache, tmp_path):
    out = tmp_path / 'run'
    command = [*COMMAND, str(out), *SETTINGS, *cache, '--devices', '2', '--batch', '1']
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    endless = [*command, '--steps', '100000', '--checkpoint-minutes', '0.001']
    ranks = [start_rank(rank, port, endless, tmp_path) for rank in (0, 1)]
    survivor = ranks[1 - victim]
    checkpoint = out / 'coarse' / 'checkpoint.pt'
    try:
        deadline = time.monotonic() + 600
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        ranks[victim].kill()
        status = survivor.wait(timeout=120)
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    said = (tmp_path / f'rank{1 - victim}.txt').read_text()
    assert status == 1, said
    errors = [line for line in said.splitlines() if line.startswith('pumba-train: ')]
    assert len(errors) == 1, said
    assert 'another process of this training has stopped' in errors[0]
    assert 'Traceback' not in said
    if victim == 1:  # Fabric itself starts the second process now
        step = torch.load(checkpoint, weights_only=True)['progress']['step']
        done = subprocess.run(
            [*command, '--steps', str(step + 2), '--resume'], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        stage = load_weights(out / 'weights.safetensors').card['stages']['coarse']
        assert (stage['steps'], stage['samples']) == (step + 2, 2 * (step + 2))


def test_a_number_of_processes_that_was_not_asked_for_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '4')
    assert main([str(tmp_path), *SETTINGS, '--devices', '2']) == 1
    said = capsys.readouterr().err
    assert '4 processes were started' in said and len(said.splitlines()) == 1
    assert not (tmp_path / 'coarse').exists()


def test_hardware_that_is_not_there_is_refused_in_one_line(tmp_path, capsys):
    assert (
        main([str(tmp_path), *SETTINGS, '--devices', '2', '--nodes', '2', '--device', 'mps']) == 1
    )
    said = capsys.readouterr().err
    assert said.startswith('pumba-train: error: cannot start training') and '--device' in said
    assert len(said.splitlines()) == 1


def test_a_rank_that_sees_another_checkpoint_says_so(tmp_path):
    class TwoRanks:
        world_size = 2

        def broadcast(self, value):
            return 40

    check_same_step(TwoRanks(), 40, tmp_path / 'checkpoint.pt')
    with pytest.raises(InputError, match='all nodes'):
        check_same_step(TwoRanks(), 0, tmp_path / 'checkpoint.pt')


def test_the_slurm_script_starts_as_many_processes_as_it_says(tmp_path):
    (tmp_path / 'srun').write_text(SRUN)
    (tmp_path / 'srun').chmod(0o755)
    slurm = {'SLURM_NTASKS_PER_NODE': '8', 'SLURM_NNODES': '3', 'SLURM_CPUS_PER_TASK': '4'}
    here = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SRUN_LOG': str(tmp_path / 'said')}
    for container, before in (('', []), ('p.sif', ['apptainer', 'exec', '--nv', 'p.sif'])):
        place = os.environ | slurm | here | {'PUMBA_CONTAINER': container}
        more = ['runs/my vole', '--time-limit', '8h', '--batch', '4']
        subprocess.run(['bash', str(SCRIPT), *more], env=place, check=True)
        words = (tmp_path / 'said').read_text().splitlines()
        options, command = words[:1], words[1:]
        assert options == ['--kill-on-bad-exit=1']
        assert command[: len(before) + 1] == [*before, 'pumba-train']
        args = build_parser().parse_args(command[len(before) + 1 :])
        assert (args.device, args.devices, args.nodes, args.resume) == ('cuda', 8, 3, True)
        assert (str(args.out), args.time_limit, args.batch) == ('runs/my vole', 480, 4)
    done = subprocess.run(['bash', str(SCRIPT)], env=place, capture_output=True, text=True)
    assert done.returncode == 2 and 'folder of the run' in done.stderr
