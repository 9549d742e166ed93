"""What a program took, measured from outside."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pumba_pipe.common.measured_run import can_measure, run_measured

pytestmark = pytest.mark.skipif(not can_measure(), reason='no wait4')


def python(code):
    return [sys.executable, '-I', '-S', '-c', code]


def test_memory_is_that_of_the_program_alone(tmp_path):
    held = np.ones(400 * 2**20 // 8)  # of this process, which starts the other
    small = run_measured(python('pass'), 60, tmp_path / 'log')
    large = run_measured(python("x = b'x' * (200 << 20)"), 60, tmp_path / 'log')
    assert held.all()
    assert 1 < small.peak_mb < 100 < 200 < large.peak_mb < 300


def test_time_of_children_counts(tmp_path):
    busy = 'import time\nwhile time.process_time() < 0.3: pass'
    child = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {busy!r}])'
    one = run_measured(python(child), 60, tmp_path / 'log')
    assert one.cpu_seconds > 0.3 and one.seconds > 0.3
    asleep = run_measured(python('import time; time.sleep(0.4)'), 60, tmp_path / 'log')
    assert asleep.cpu_seconds < 0.3 < asleep.seconds


def test_how_it_ended(tmp_path):
    log = tmp_path / 'log'
    assert run_measured(python('import sys; print(1); sys.exit(3)'), 60, log).code == 3
    assert log.read_text() == '1\n'
    assert run_measured(python('import os; os.kill(os.getpid(), 9)'), 60, log).code == -9
    assert 'No such file' in run_measured(['/no/such/program'], 60, log).error


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(test, seconds=20):
    end = time.monotonic() + seconds
    while not test() and time.monotonic() < end:
        time.sleep(0.05)
    return test()


CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
open({path!r}, 'w').write(str(child.pid) + '\\n')
time.sleep({seconds})
"""


@pytest.mark.parametrize('seconds', [0.1, 60])
def test_what_a_program_has_started_ends_with_it(seconds, tmp_path):
    path = tmp_path / 'pid'
    one = run_measured(
        python(CHILD.format(path=str(path), seconds=seconds)), 2.0, tmp_path / 'log'
    )
    assert one.timed_out == (seconds > 2) and one.seconds < 30
    assert wait_for(lambda: not is_alive(int(path.read_text())))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_program_ends_with_the_one_that_measures(number, tmp_path):
    path = tmp_path / 'pid'
    program = python(CHILD.format(path=str(path), seconds=60))
    code = (
        'from pathlib import Path\n'
        'from pumba_pipe.common.measured_run import run_measured\n'
        f'run_measured({program!r}, 60, Path({str(tmp_path / "log")!r}))'
    )
    with subprocess.Popen([sys.executable, '-c', code]) as measuring:
        assert wait_for(lambda: path.exists() and path.read_text().endswith('\n'))
        measuring.send_signal(number)
    assert wait_for(lambda: not is_alive(int(path.read_text())))
