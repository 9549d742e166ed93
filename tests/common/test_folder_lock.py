"""One run in a folder: a second is refused, a dead one's lock is taken over."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from pumba_pipe.common import folder_lock as locks
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.folder_lock import LOCK, only_run_in

HOLD = """
import sys, time
from pathlib import Path
from pumba_pipe.common.folder_lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(60)
"""
NO_LOCKS = pytest.mark.parametrize('with_locks', [True, False], ids=['locks', 'no locks'])


@pytest.fixture
def disk(monkeypatch, request):
    """The disk, with or without locks of its own."""

    def make(with_locks):
        if not with_locks:
            monkeypatch.setattr(locks, 'try_lock', lambda file: None)

    return make


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'held\n'
    return process


@NO_LOCKS
def test_a_second_run_is_refused_and_told_whose_the_folder_is(tmp_path, disk, with_locks):
    disk(with_locks)
    process = hold(tmp_path / 'run')
    try:
        with pytest.raises(InputError) as caught, only_run_in(tmp_path / 'run'):
            pass
    finally:
        process.kill()
        process.communicate()
    assert f'process {process.pid} on {platform.node()}, since 20' in str(caught.value)
    assert '\n' not in str(caught.value)


@NO_LOCKS
@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='kills a process the POSIX way')
def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, disk, with_locks):
    disk(with_locks)
    process = hold(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).exists()
    with only_run_in(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize('content', ['', '{', '[]', '{"pid": "x", "host": 3}', '{"pid": -1}'])
def test_an_odd_lock_is_taken_over(tmp_path, monkeypatch, content):
    monkeypatch.setattr(locks, 'WATCH_SECONDS', 0.1)
    (tmp_path / LOCK).write_text(content)
    with only_run_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_another_process_has_by_now_is_nobodys(tmp_path, disk):
    disk(False)
    mine = locks._me()
    if mine['born'] is None:
        pytest.skip('this system does not say when a process was started')
    (tmp_path / LOCK).write_text(json.dumps(mine | {'born': '1'}))
    with only_run_in(tmp_path):
        pass


def test_of_another_machine_it_counts_whether_the_file_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, 'WATCH_SECONDS', 1.2)
    path = tmp_path / LOCK
    path.write_text(json.dumps(locks._me() | {'host': 'another'}))
    ended = threading.Event()
    monkeypatch.setattr(locks, 'BEAT_SECONDS', 0.1)
    beat = threading.Thread(target=locks._beat, args=(path, ended))
    beat.start()
    try:
        with pytest.raises(InputError, match='on another'), only_run_in(tmp_path):
            pass
    finally:
        ended.set()
        beat.join()
    started = time.monotonic()
    with only_run_in(tmp_path):
        assert time.monotonic() - started > 1


def test_a_folder_for_a_run_that_did_not_begin_is_not_left(tmp_path):
    with pytest.raises(RuntimeError), only_run_in(tmp_path / 'new'):
        raise RuntimeError
    assert not (tmp_path / 'new').exists()
    with only_run_in(tmp_path / 'new'):
        (tmp_path / 'new' / 'result').touch()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['result']


def test_where_processes_cannot_be_looked_up_none_is_sent_a_signal(tmp_path, disk, monkeypatch):
    """As on Windows, where signal 0 would be Ctrl-C."""
    disk(False)
    monkeypatch.setattr(locks, 'CAN_LOOK_UP', False)
    monkeypatch.setattr(locks, 'WATCH_SECONDS', 1.0)
    monkeypatch.setattr(os, 'kill', lambda *_: pytest.fail('a signal was sent'))
    monkeypatch.setattr(locks, 'BEAT_SECONDS', 0.1)
    with (
        only_run_in(tmp_path),
        pytest.raises(InputError, match=f'process {os.getpid()} on'),
        only_run_in(tmp_path),
    ):
        pass
    (tmp_path / LOCK).write_text(json.dumps(locks._me()))  # of a run that was killed
    with only_run_in(tmp_path):
        pass


def test_a_lock_that_cannot_be_removed_is_nobodys(tmp_path, disk, monkeypatch):
    """As on Windows, where the file is still open."""
    disk(False)

    def refuse(path):
        raise PermissionError(13, 'used by another process', str(path))

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), 'unlink', refuse)
        with only_run_in(tmp_path):
            pass
    assert (tmp_path / LOCK).read_text() == ''
    monkeypatch.setattr(locks, '_at_work', lambda *_: pytest.fail('somebody was looked for'))
    with only_run_in(tmp_path):
        pass
