import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from pumba_pipe.bids_app.plugin import KILLED, SturdyMultiProcPlugin
from pumba_pipe.bids_app.progress import Progress, clock, crash_reason


def work(number, folder):
    """Die as if killed for lack of memory, or leave a file."""
    import os
    import signal
    from pathlib import Path

    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(folder, f'{number}').touch()
    return os.getpid()


@pytest.fixture
def workflow(tmp_path):
    done = tmp_path / 'done'
    done.mkdir()
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path))
    workflow.config['execution'] = {
        'crashdump_dir': str(tmp_path / 'log'),
        'crashfile_format': 'txt',
        'poll_sleep_duration': '0.1',
        'stop_on_first_crash': 'false',
    }
    for number in range(3):
        node = pe.Node(
            Function(function=work, input_names=['number', 'folder'], output_names=['pid']),
            name=f'strip_image{number}',
        )
        node.inputs.number, node.inputs.folder = number, str(done)
        workflow.add_nodes([node])
    return workflow


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
def test_a_killed_worker_stops_neither_the_run_nor_the_others(workflow, tmp_path):
    said = []
    progress = Progress({'image0': 'first'}, said.append)
    plugin = SturdyMultiProcPlugin(
        {'n_procs': 1, 'raise_insufficient': False, 'status_callback': progress}
    )
    with pytest.raises(RuntimeError):
        workflow.run(plugin=plugin)
    assert sorted(path.name for path in (tmp_path / 'done').iterdir()) == ['1', '2']
    assert progress.failed == {'image0'}
    assert 'first failed' in said[0]
    assert crash_reason(tmp_path / 'log', 'image0') == KILLED


def node(name):
    return SimpleNamespace(name=name)


def test_an_image_is_done_when_both_files_are_written():
    said = []
    progress = Progress({'a': 'sub-01_T1w', 'b': 'sub-02_T1w'}, said.append)
    for name in ('strip_a', 'ds_mask_a', 'strip_b'):
        progress(node(name), 'start')
        progress(node(name), 'end')
    assert said == []
    progress(node('ds_brain_a'), 'end')
    assert said[0].startswith('1/2 done, 0 failed, 0:00:00 elapsed')
    assert said[0].endswith('sub-01_T1w')


def test_what_follows_a_failure_does_not_count_as_done():
    said = []
    progress = Progress({'a': 'sub-01_T1w'}, said.append)
    progress(node('strip_a'), 'exception')
    for name in ('strip_a', 'ds_mask_a', 'ds_brain_a'):
        progress(node(name), 'end')
    assert len(said) == 1
    assert said[0].startswith('0/1 done, 1 failed')
    assert progress.done == set()


@pytest.mark.parametrize(
    ('last', 'reason'),
    [
        ('pumba_pipe.errors.InputError: /a/b.nii: empty', '/a/b.nii: empty'),
        ('\tValueError: what: ever', 'ValueError: what: ever'),
        ('MemoryError: ', None),
    ],
)
def test_reason_of_a_crash(tmp_path, last, reason):
    file = tmp_path / 'crash-1-me-strip_a-x.txt'
    file.write_text(f'Node: wf.a\nTraceback:\nNodeExecutionError: node a\n{last}\n')
    expected = reason or 'NodeExecutionError: node a'
    assert crash_reason(tmp_path, 'a') == expected
    assert crash_reason(tmp_path, 'other') is None


def test_clock():
    assert clock(59.6) == '0:01:00'
    assert clock(36000) == '10:00:00'


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
def test_workers_end_with_a_main_process_that_is_killed(tmp_path):
    code = (
        'import os, signal, sys, time\n'
        'from pumba_pipe.bids_app.plugin import SturdyMultiProcPlugin\n'
        'pool = SturdyMultiProcPlugin({"n_procs": 1}).pool\n'
        'print(pool.submit(os.getpid).result(), flush=True)\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    answer = subprocess.run(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, check=False, cwd=tmp_path
    )
    worker = int(answer.stdout)
    for _ in range(100):
        if not alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail('the worker outlived the main process')


def alive(process):
    # where nobody asks for its exit status, a process that has ended stays as a zombie
    return psutil.pid_exists(process) and psutil.Process(process).status() != 'zombie'
