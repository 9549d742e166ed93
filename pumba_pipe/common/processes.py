"""Child processes: what depends on sockets and semaphores."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.signals import ENDING

SOCKET_BYTES = 107  # of the path of a Unix socket, without the final zero
SOCKET_NAME = '/pymp-12345678/listener-12345678'  # what multiprocessing adds to a folder
SHORT_FOLDERS = ('/tmp', '/var/tmp', '/dev/shm', '/run/shm')


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Start processes here which Ctrl-C does not reach; an interrupt waits until the end.

    A terminal sends Ctrl-C to all processes of a command. This one ends the others; each of them
    would print a traceback else. They inherit that the signal is blocked, from their first moment.
    And a process that is half started when this one is interrupted is one that nobody ends.
    """
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    # when it starts, it lifts the block of the signal, for all that is started after it
    resource_tracker.ensure_running()
    late: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # the mask is not enough: another thread, as of a library, may be given the signal
        for number in ENDING:
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda received, _: late.append(received))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in late:
            signal.raise_signal(received)


def end_workers() -> None:
    """End all child processes that multiprocessing has started, and its fork server.

    The fork server may still be at its imports, with a worker to start after them: that worker
    would find nothing of what it needs any more, and print a traceback.
    """
    for child in multiprocessing.active_children():
        child.kill()
    server = sys.modules.get('multiprocessing.forkserver')
    pid = getattr(getattr(server, '_forkserver', None), '_forkserver_pid', None)
    if pid:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def shorten_socket_paths() -> None:
    """Let multiprocessing put its sockets into a short folder, where TMPDIR is too long for them.

    The path of a Unix socket has 107 bytes at most; a batch system's TMPDIR may take up 80.

    Raises
    ------
    PumbaError
        There is no such folder; the message says what to do.
    """
    folder = tempfile.gettempdir()
    if _fits(folder):
        return
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get('tempdir') and _fits(os.path.dirname(config['tempdir'])):
        return
    for short in (*SHORT_FOLDERS, os.environ.get('XDG_RUNTIME_DIR', ''), os.getcwd()):
        if not short or not _fits(short):
            continue
        with contextlib.suppress(OSError):
            made = tempfile.mkdtemp(prefix='pymp-', dir=short)
            config['tempdir'] = made
            multiprocessing.util.Finalize(None, _remove_folder, (made,), exitpriority=-100)
            return
    raise PumbaError(
        f'TMPDIR {folder}: the name is too long for the sockets between processes (more than '
        f'{SOCKET_BYTES - len(SOCKET_NAME)} bytes); set TMPDIR to a shorter one, or use one '
        'process (--nprocs 1)'
    )


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder) + SOCKET_NAME.encode()) <= SOCKET_BYTES


def _remove_folder(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def why_no_workers() -> str | None:
    """Say why no worker processes can be used here, None where they can.

    They need semaphores, which Linux keeps in /dev/shm: a container may have none, or a full or
    read-only one.
    """
    try:
        multiprocessing.get_context('spawn').Lock()
    except (OSError, ImportError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        place = ' in /dev/shm' if Path('/proc').is_dir() else ''
        return f'no semaphore can be made{place} ({reason})'
    return None
