"""One process at a time writes a file: locks taken off a process that was killed.

`folder_lock` keeps a whole folder to one run; here processes wait for each other for a moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pumba_pipe.common.partial_files import PARTIAL

LOCK_PREFIX = f'{PARTIAL}lock-'


def owner() -> str:
    """Who holds a lock, for people who find one: process and host."""
    return f'process {os.getpid()} on {socket.gethostname()}'


def try_lock(handle: int | IO[Any], wait: bool = False) -> bool | None:
    """Lock an open file, until it is closed.

    Parameters
    ----------
    handle : int or file
    wait : bool
        For another process that holds it.

    Returns
    -------
    bool or None
        Whether it is ours now, and not another process's; None without locks: on a file system
        that has none, and where there is no `fcntl`.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def hold(path: Path, text: str, wait: bool = True) -> int | None:
    """Lock a file, made where it is missing, and write `text` to it.

    Parameters
    ----------
    path : Path
    text : str
    wait : bool
        For another process that holds it.

    Returns
    -------
    int or None
        Descriptor that holds the lock until it is closed; None when another process has it and
        `wait` is false.

    Raises
    ------
    OSError
        The file cannot be made, or there are no locks.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0), 0o666)
        try:
            locked = try_lock(handle, wait)
            if locked is None:
                raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), os.fspath(path))
            # whoever held it before may have removed the file: then this is a lock on nothing
            if locked and _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, text.encode('utf-8', 'replace'))
                return handle
        except BaseException:
            release(handle, path)
            raise
        os.close(handle)
        if not locked:
            return None


def release(handle: int, path: Path) -> None:
    """Remove a lock that `hold` has given, with its file."""
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)


@contextlib.contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Keep other processes from writing a file, and what describes it, at the same time.

    The lock is a small file beside it that is gone afterwards. On a file system without locks,
    and where there is no `fcntl`, nothing is held.
    """
    lock = _lock_of(target)
    handle = None
    with contextlib.suppress(OSError):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = hold(lock, owner())
    try:
        yield
    finally:
        if handle is not None:
            release(handle, lock)


def wait_for_writers(*targets: Path) -> bool:
    """Wait until no other process writes these files, and say whether one did; makes no file."""
    waited = False
    for target in targets:
        with contextlib.suppress(OSError):
            handle = os.open(_lock_of(target), os.O_RDWR)
            try:
                if try_lock(handle) is False:
                    waited = True
                    try_lock(handle, wait=True)
            finally:
                os.close(handle)
    return waited


def _lock_of(target: Path) -> Path:
    return target.with_name(f'{LOCK_PREFIX}{target.name.split(".")[0][-180:]}')


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    held = os.fstat(handle)
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
