"""A folder that one run has to itself: a lock that says whose it is, and dies with its owner."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_lock import try_lock

LOCK = '.lock'
BEAT_SECONDS = 4.0  # the owner touches its lock so often
WATCH_SECONDS = 12.0  # a lock of another machine that is not touched for so long is nobody's
# Signal 0 asks whether a process is there; on Windows it is Ctrl-C, for all of a console.
CAN_LOOK_UP = os.name == 'posix'


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while this one is at work there.

    The operating system takes its lock off a process that ends, however that happens. Where the
    disk knows no locks, or keeps them to each machine, the file's content decides: a process of
    this machine is looked up, one of another has to be seen touching the file. So has any on
    Windows.

    Parameters
    ----------
    folder : Path
        Is made when it is not there; holds the file ``.lock`` meanwhile.

    Raises
    ------
    InputError
        Another run is at work there.
    OutputError
        The folder cannot be written to.
    """
    path = folder / LOCK
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _taken(path)
    except OSError as error:
        raise OutputError(f'{folder}: cannot write here ({error.strerror})') from None
    ended = threading.Event()
    with file:
        file.seek(0)
        file.truncate()
        file.write(json.dumps(_me()) + '\n')
        file.flush()
        beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        beat.start()
        try:
            yield
        finally:
            ended.set()
            beat.join()
            with contextlib.suppress(OSError):
                file.truncate(0)  # Windows removes no open file: an empty one is nobody's
            with contextlib.suppress(OSError):
                path.unlink()
                if is_new:
                    folder.rmdir()  # of a run that could not begin: nothing else is in it


def _taken(path: Path) -> IO[str]:
    """Open and lock the file; of one that was removed meanwhile, the next."""
    while True:
        file = path.open('a+', encoding='utf-8')
        locked = try_lock(file)
        owner = _owner(path)
        if locked is False or (owner and _at_work(path, owner, bool(locked))):
            file.close()
            raise InputError(f'{path.parent}: another run is at work here{_named(owner)}')
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _me() -> dict[str, Any]:
    return {
        'pid': os.getpid(),
        'host': platform.node(),
        'born': _born(os.getpid()),
        'started': f'{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}',
    }


def _owner(path: Path) -> dict[str, Any]:
    """What the file says; nothing while it is empty or odd."""
    try:
        return read_json(path)
    except InputError:
        return {}


def _at_work(path: Path, owner: dict[str, Any], locked: bool) -> bool:
    """Whether the owner of a file is still at work, when the lock alone does not tell."""
    if owner.get('host') == platform.node() and CAN_LOOK_UP:
        return not locked and _is_alive(owner)
    before = path.stat().st_mtime_ns
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        time.sleep(0.5)
        try:
            if path.stat().st_mtime_ns != before:
                return True
        except OSError:  # removed by its owner
            return False
    return False


def _is_alive(owner: dict[str, Any]) -> bool:
    pid = owner.get('pid')
    if isinstance(pid, bool) or not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    # its number may have gone to another process since
    return owner.get('born') == _born(pid)


def _born(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None where nothing says so."""
    try:
        words = Path(f'/proc/{pid}/stat').read_text('utf-8', errors='replace')
        return words.rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return None


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _named(owner: dict[str, Any]) -> str:
    if not owner:
        return ''
    return ' (process {pid} on {host}, since {started})'.format(
        **{key: owner.get(key, '?') for key in ('pid', 'host', 'started')}
    )
