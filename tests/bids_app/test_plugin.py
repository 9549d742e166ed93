"""The plugin by itself: it needs Nipype and nothing else."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from pumba_pipe.bids_app.execution import plugin as module
from pumba_pipe.bids_app.execution.plugin import KILLED, FaultTolerantMultiProcPlugin, Workers

posix = pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
PATIENCE = 120  # seconds; the machine may be busy with other things


# Functions of nodes, which Nipype takes as text: they import what they need.


def die(folder, meet):
    """Leave the process's number, wait for another node, end as if killed for lack of memory."""
    import os
    import signal
    import time
    from pathlib import Path

    Path(folder, 'dying').write_text(str(os.getpid()))
    while meet and not Path(folder, 'living').exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def outlive(folder, patience):
    """Begin before the other node dies, and end afterwards."""
    import os
    import time
    from pathlib import Path

    Path(folder, 'living').touch()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            os.kill(int(Path(folder, 'dying').read_text() or 0) or os.getpid(), 0)
        except FileNotFoundError:
            pass
        except ProcessLookupError:
            Path(folder, 'outlived').touch()
            return
        time.sleep(0.05)


def touch(folder, name):
    from pathlib import Path

    Path(folder, name).touch()


def meet(folder, name, other, patience):
    """Wait until another node has begun; say whether it has."""
    import time
    from pathlib import Path

    Path(folder, name).touch()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and not Path(folder, other).exists():
        time.sleep(0.05)
    Path(folder, f'{name}_{"met" if Path(folder, other).exists() else "alone"}').touch()


def take_turns(folder, name):
    """Note whether another node runs at the same time."""
    import time
    from pathlib import Path

    mark = Path(folder, f'{name}_running')
    mark.touch()
    for _ in range(5):
        if len(list(Path(folder).glob('*_running'))) > 1:
            Path(folder, 'collision').touch()
        time.sleep(0.1)
    mark.unlink()


def fail(folder):
    raise ValueError(f'nothing in {folder}')


def node(function, name, needs=(1, 0.1), /, **inputs):
    made = pe.Node(
        Function(function=function, input_names=list(inputs), output_names=[]),
        name=name, n_procs=needs[0], mem_gb=needs[1],
    )  # fmt: skip
    made.inputs.trait_set(**inputs)
    return made


def run(folder, *nodes, **plugin_args):
    workflow = pe.Workflow(name='wf', base_dir=str(folder / 'work'))
    workflow.config['execution'] = {
        'crashdump_dir': str(folder / 'log'),
        'crashfile_format': 'txt',
        'poll_sleep_duration': '0.05',
        'stop_on_first_crash': 'false',
    }
    workflow.add_nodes(list(nodes))
    args = {'n_procs': 2, 'memory_gb': 1, 'raise_insufficient': False} | plugin_args
    workflow.run(plugin=FaultTolerantMultiProcPlugin(args))


def written(folder):
    return {path.name for path in folder.iterdir()} - {'work', 'log'}


def test_it_needs_nothing_but_nipype():
    tree = ast.parse(Path(module.__file__).read_text('utf-8'))
    names = [entry.module for entry in ast.walk(tree) if isinstance(entry, ast.ImportFrom)]
    names += [a.name for entry in ast.walk(tree) if isinstance(entry, ast.Import)
              for a in entry.names]  # fmt: skip
    packages = {name.split('.')[0] for name in names}
    assert packages - set(sys.stdlib_module_names) == {'nipype'}


def test_what_it_overrides_is_there_and_is_listed():
    base = FaultTolerantMultiProcPlugin.__mro__[1]
    own = vars(FaultTolerantMultiProcPlugin)
    overridden = {name for name in own if callable(own[name]) and hasattr(base, name)}
    listed = re.findall(r'^``(\w+)``  ', module.__doc__, re.MULTILINE)
    assert sorted(overridden) == sorted(listed)


# ---- a worker that is killed ----


@posix
def test_a_killed_worker_fails_its_own_node_and_no_other(tmp_path):
    failed = {}
    nodes = [
        node(die, 'dies', folder=str(tmp_path), meet=True),
        node(outlive, 'lives', folder=str(tmp_path), patience=PATIENCE),
        *(node(touch, f'later{n}', folder=str(tmp_path), name=f'later{n}') for n in range(3)),
    ]
    with pytest.raises(RuntimeError, match='WorkerKilledError'):
        run(
            tmp_path,
            *nodes,
            killed_hint='buy more',
            failure_callback=lambda node, lines: failed.update({node.name: list(lines)}),
        )
    assert failed == {'dies': [f'{KILLED}; buy more\n']}
    assert {'outlived', 'later0', 'later1', 'later2'} <= written(tmp_path)
    (crash,) = (tmp_path / 'log').glob('crash-*.txt')
    assert 'Node: wf.dies' in crash.read_text() and KILLED in crash.read_text()


@posix
def test_with_one_process_the_others_run_after_the_death(tmp_path):
    nodes = [node(die, 'a', folder=str(tmp_path), meet=False),
             node(touch, 'b', folder=str(tmp_path), name='b')]  # fmt: skip
    with pytest.raises(RuntimeError):
        run(tmp_path, *nodes, n_procs=1)
    assert 'b' in written(tmp_path)


@posix
def test_what_follows_a_killed_node_does_not_run(tmp_path):
    first = node(die, 'a', folder=str(tmp_path), meet=False)
    second = node(touch, 'b', folder=str(tmp_path), name='b')
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    workflow.config['execution'] = {'crashdump_dir': str(tmp_path / 'log'),
                                    'poll_sleep_duration': '0.05'}  # fmt: skip
    first.interface._output_names = ['out']
    workflow.connect(first, 'out', second, 'name')
    with pytest.raises(RuntimeError):
        workflow.run(plugin=FaultTolerantMultiProcPlugin({'n_procs': 2, 'memory_gb': 1}))
    assert 'b' not in written(tmp_path)


@posix
def test_a_worker_that_dies_idle_is_replaced():
    workers = Workers()
    first = workers.submit(os.getpid).result()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            second = workers.submit(os.getpid).result()
        except Exception:  # the death was not noticed yet
            continue
        if second != first:
            break
    assert second != first
    workers.shutdown()


def test_idle_workers_are_used_again():
    workers = Workers()
    assert len({workers.submit(os.getpid).result() for _ in range(3)}) == 1
    workers.shutdown()


@posix
def test_workers_end_with_a_main_process_that_is_killed(tmp_path):
    code = (
        'import os, signal, sys, time\n'
        'from pumba_pipe.bids_app.execution.plugin import FaultTolerantMultiProcPlugin\n'
        'pool = FaultTolerantMultiProcPlugin({"n_procs": 1}).pool\n'
        'print(pool.submit(os.getpid).result(), flush=True)\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    shown = subprocess.run(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, check=False, cwd=tmp_path
    )
    worker = int(shown.stdout)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail('the worker outlived the main process')


def alive(process):
    """Whether a process runs; where nobody asks for its exit status, it stays as a zombie."""
    try:
        os.kill(process, 0)
        state = Path(f'/proc/{process}/stat')
        return not (state.exists() and state.read_text().rsplit(')', 1)[1].split()[0] == 'Z')
    except OSError:
        return False


def test_an_interruption_ends_the_workers(tmp_path):
    def interrupt(node, status):
        if status == 'end':
            raise KeyboardInterrupt

    pids = []
    plugin_args = {'n_procs': 1, 'memory_gb': 1, 'status_callback': interrupt}
    plugin = FaultTolerantMultiProcPlugin(plugin_args)
    pids.append(plugin.pool.submit(os.getpid).result())
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path))
    workflow.add_nodes([node(touch, 'a', folder=str(tmp_path), name='a')])
    with pytest.raises(KeyboardInterrupt):
        workflow.run(plugin=plugin)
    deadline = time.monotonic() + PATIENCE
    while alive(pids[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pids[0])


# ---- CPUs and memory ----


def test_nodes_that_fit_run_at_the_same_time(tmp_path):
    first = node(meet, 'a', (1, 0.4), folder=str(tmp_path), name='a', other='b', patience=PATIENCE)
    second = node(meet, 'b', (1, 0.4), folder=str(tmp_path), name='b', other='a',
                  patience=PATIENCE)  # fmt: skip
    run(tmp_path, first, second)
    assert {'a_met', 'b_met'} <= written(tmp_path)


@pytest.mark.parametrize('needs', [(2, 0.1), (1, 0.6)], ids=['CPUs', 'memory'])
def test_nodes_that_do_not_fit_wait_for_each_other(tmp_path, needs):
    names = ['a', 'b', 'c']
    run(tmp_path, *(node(take_turns, name, needs, folder=str(tmp_path), name=name)
                    for name in names))  # fmt: skip
    assert written(tmp_path) == set()


@posix
def test_a_killed_node_gives_its_memory_and_cpus_back(tmp_path):
    nodes = [node(die, 'a', (2, 0.9), folder=str(tmp_path), meet=False),
             node(touch, 'b', (2, 0.9), folder=str(tmp_path), name='b')]  # fmt: skip
    with pytest.raises(RuntimeError):
        run(tmp_path, *nodes)
    assert 'b' in written(tmp_path)


def test_a_node_that_never_fits_is_refused_when_that_is_asked_for(tmp_path):
    large = node(touch, 'a', (3, 0.1), folder=str(tmp_path), name='a')
    with pytest.raises(RuntimeError, match='Insufficient resources'):
        run(tmp_path, large, raise_insufficient=True)
    run(tmp_path, large)
    assert written(tmp_path) == {'a'}


# ---- what an application hands in ----


def test_workers_are_prepared(tmp_path):
    plugin = FaultTolerantMultiProcPlugin(
        {'n_procs': 1, 'worker_init': partial(os.chdir, str(tmp_path))}
    )
    assert plugin.pool.submit(os.getcwd).result() == str(tmp_path.resolve())
    plugin.pool.shutdown()


def test_groups_are_finished_in_the_order_in_which_they_are_begun():
    plugin = FaultTolerantMultiProcPlugin({'group_of': lambda node: node.name[-1]})
    plugin.procs = [SimpleNamespace(name=name) for name in ('n1', 'n2', 's1', 's2', 'd1')]
    assert plugin._sort_jobs([0, 1]) == [0, 1]
    assert plugin._sort_jobs([1, 2]) == [2, 1]
    assert plugin._sort_jobs([3, 4]) == [4, 3]
    plain = FaultTolerantMultiProcPlugin({})
    assert list(plain._sort_jobs([1, 2])) == [1, 2]


def test_an_exception_is_told_and_written_down(tmp_path):
    told = {}
    with pytest.raises(RuntimeError, match='nothing in'):
        run(
            tmp_path,
            node(fail, 'a', folder=str(tmp_path)),
            failure_callback=lambda node, lines: told.update({node.name: ''.join(lines)}),
        )
    assert set(told) == {'a'} and 'ValueError: nothing in' in told['a']
    assert len(list((tmp_path / 'log').glob('crash-*.txt'))) == 1


def test_a_disk_too_full_for_a_crash_file_ends_nothing(tmp_path, monkeypatch):
    def full(node, traceback=None):
        (tmp_path / 'log').mkdir(exist_ok=True)
        (tmp_path / 'log' / 'crash-1.txt').touch()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('nipype.pipeline.plugins.base.report_crash', full)
    told = []
    nodes = [node(fail, 'a', folder=str(tmp_path)),
             node(touch, 'b', folder=str(tmp_path), name='b')]  # fmt: skip
    with pytest.raises(RuntimeError, match='nothing in'):
        run(tmp_path, *nodes, failure_callback=lambda node, lines: told.append(node.name))
    assert told == ['a']
    assert written(tmp_path) == {'b'}
    assert list((tmp_path / 'log').iterdir()) == []
