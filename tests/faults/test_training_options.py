"""Options of `pumba-train` that would have no effect, or the wrong one."""

import pytest

from pumba_pipe.commands.train import main


@pytest.mark.parametrize(
    'words',
    [['--synthetic-share', '0.2'], ['--hold-out', '0'], ['--cases', 'a'], ['--bids', 'raw']],
    ids=lambda words: words[0],
)
def test_options_of_fine_tuning_without_it_are_refused(tmp_path, capsys, words):
    """Some were accepted, and a training from random values began."""
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'out'), '--steps', '1', *words])
    assert stop.value.code == 2
    assert 'go with --finetune' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--consistency', 'nan'], 'consistency nan: must be a weight from 0 to 1000'),
        (['--consistency', '-1'], 'consistency -1: must be a weight'),
        (['--consistency', 'inf'], 'consistency inf: must be a weight'),
        (['--plausible-shape', 'nan'], 'plausible shape nan: must be a weight'),
        (['--plausible-shape', '1e30'], 'plausible shape 1e+30: must be a weight'),
        (['--consistency', '1', '--renderings', '1'], 'renderings 1: consistency needs two'),
        (['--renderings', '3'], '--renderings goes with --consistency'),
    ],
    ids=str,
)
def test_constraints_that_no_step_can_follow_are_refused(tmp_path, capsys, words, said):
    """With a loss that is not finite no step is taken, and untrained weights were written."""
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'out'), '--steps', '1', *words])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_more_threads_than_cpus_are_not_asked_for(tmp_path, capfd):
    """The library of threads ended the process: no memory for a thousand million."""
    words = ['--steps', '1', '--stage', 'coarse', '--coarse-size', '16', '--widths', '4', '8']
    words += ['--cache-size', '2', '--no-calibration', '-q', '--device', 'cpu', '-t', str(10**9)]
    assert main([str(tmp_path / 'out'), *words]) == 0


def test_more_processes_than_a_machine_has_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'out'), '--steps', '1', '--cache-workers', '100000'])
    assert stop.value.code == 2
    assert "'100000' is more than" in capsys.readouterr().err


def test_heads_that_do_not_fit_into_memory_are_one_line(tmp_path, capfd):
    """The process that makes them printed a traceback."""
    words = ['--steps', '1', '--stage', 'coarse', '--coarse-size', '100000', '--widths', '4', '8']
    words += ['--cache-size', '2', '--no-calibration', '-q', '--device', 'cpu']
    assert main([str(tmp_path / 'out'), *words]) == 1
    printed = capfd.readouterr().err
    assert printed.count('\n') == 1
    assert 'the processes that make heads have stopped (out of memory)' in printed
