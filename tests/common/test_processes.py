"""How processes start and end: signals, sockets, semaphores."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from pumba_pipe.common import processes
from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.processes import shielded, shorten_socket_paths, why_no_workers

pytestmark = pytest.mark.skipif(os.name != 'posix', reason='signals and sockets of POSIX')

# A library at work for minutes: Python has no chance to run a handler.
NATIVE = """
import hashlib, signal, sys
from pumba_pipe.common.signals import ending_in_time
def interrupt(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
with ending_in_time(1.0):
    print('ready', flush=True)
    hashlib.pbkdf2_hmac('sha512', b'a', b'b', 2_000_000_000)
"""
# A program that catches the signal, goes on, and ends as it likes.
TIDY = """
import signal, sys, time
from pumba_pipe.common.signals import ending_in_time
def interrupt(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
try:
    with ending_in_time(0.5):
        print('ready', flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1.5)
    sys.exit(7)
"""
# A program that is told to end, and whose threads do not let it.
STUCK = """
import signal, sys, threading, time
from pumba_pipe.common.signals import ending_in_time
def interrupt(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
threading.Thread(target=time.sleep, args=(60,)).start()
try:
    with ending_in_time(1.0):
        print('ready', flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""
# A child that would print a traceback when Ctrl-C reached it.
PARENT = """
import multiprocessing, os, sys, time
from pumba_pipe.common.processes import shielded, end_workers
if __name__ == '__main__':
    context = multiprocessing.get_context('spawn')
    with shielded():
        child = context.Process(target=time.sleep, args=(60,))
        child.start()
    print('ready', flush=True)
    try:
        child.join()
    except KeyboardInterrupt:
        end_workers()
        child.join()
        sys.exit(7)
"""


def started(code, tmp_path):
    path = tmp_path / 'program.py'
    path.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == 'ready\n'
    time.sleep(0.3)
    return process


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(('code', 'status'), [(NATIVE, 130), (STUCK, None), (TIDY, 7)])
def test_a_signal_ends_a_process_whatever_it_is_at(tmp_path, code, status, number):
    process = started(code, tmp_path)
    process.send_signal(number)
    began = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == (130 if status is None else status)
    assert errors == ''


def test_ctrl_c_on_the_terminal_shows_no_traceback_of_a_child(tmp_path):
    process = started(PARENT, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (7, '')


def test_an_interrupt_waits_until_a_process_is_started():
    reached = []
    with pytest.raises(KeyboardInterrupt), shielded():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        reached.append('the end')
    assert reached == ['the end']
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def long_folder(tmp_path, monkeypatch):
    """A temporary folder as batch systems make them."""
    folder = tmp_path / ('t' * 90)
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    config = multiprocessing.current_process()._config
    monkeypatch.setitem(config, 'tempdir', None)
    return folder


def test_sockets_go_to_a_short_folder(long_folder):
    from multiprocessing.connection import Listener, arbitrary_address

    shorten_socket_paths()
    with Listener(arbitrary_address('AF_UNIX'), 'AF_UNIX') as listener:
        assert os.path.exists(listener.address)
        assert str(long_folder) not in listener.address
    first = multiprocessing.current_process()._config['tempdir']
    shorten_socket_paths()
    assert multiprocessing.current_process()._config['tempdir'] == first


def test_without_a_short_folder_one_line_says_what_to_do(long_folder, monkeypatch):
    monkeypatch.setattr(processes, 'SHORT_FOLDERS', ())
    monkeypatch.delenv('XDG_RUNTIME_DIR', raising=False)
    monkeypatch.chdir(long_folder)
    with pytest.raises(PumbaError, match=r'TMPDIR .*t{90}.*--nprocs 1') as caught:
        shorten_socket_paths()
    assert '\n' not in str(caught.value)


def test_a_short_folder_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', '/tmp')
    before = dict(multiprocessing.current_process()._config)
    shorten_socket_paths()
    assert multiprocessing.current_process()._config == before


def test_workers_need_semaphores(monkeypatch):
    assert why_no_workers() is None
    import multiprocessing.context

    def refuse(self):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(multiprocessing.context.BaseContext, 'Lock', refuse)
    assert 'No space left' in why_no_workers()
