"""The folder for intermediate files, of which every run has one of its own."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pumba_pipe.bids_app.options.config import UsageError

from pumba_pipe.common.file_lock import owner, try_lock
from pumba_pipe.common.partial_files import PARTIAL, remove_old_partials

PREFIX = 'pumba-'
OWN_NAME = re.compile(rf'{PREFIX}[1-9]\d{{0,8}}')
LOCK = '.lock'
MARK = b'pumba_pipe work folder'  # how the lock of a folder begins that we have made


def check_work_dir(work_dir: Path) -> None:
    """Make the folder for intermediate files, and refuse one that cannot be written to.

    Raises
    ------
    UsageError
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.pumba-', dir=work_dir):
            pass
    except OSError as error:
        raise UsageError(
            f'work dir {work_dir}: cannot write here ({error.strerror}); choose another with -w'
        ) from None


@contextlib.contextmanager
def own_folder(work_dir: Path, clean: bool = False) -> Iterator[Path]:
    """Give a folder inside `work_dir` that no other run is using.

    It is the first one free, so that a run finds again what one that was stopped has left. The
    operating system takes the lock off a run that was killed. Folders of these names that we have
    not made, and links, are passed over.

    Parameters
    ----------
    work_dir : Path
    clean : bool
        Remove what earlier runs have left; folders of runs under way stay, and those that do not
        hold our mark.
    """
    number, folder, held = 0, None, None
    if clean:
        _clean(work_dir)
    while held is None:
        number += 1
        folder = work_dir / f'{PREFIX}{number}'
        held = _hold(folder)
    assert folder is not None
    with held:
        yield folder


def was_removed(folder: Path) -> bool:
    """Whether a folder of `own_folder` was removed while it was in use; Nipype may have it again.

    Its lock was in it from the start.
    """
    return OWN_NAME.fullmatch(folder.name) is not None and not (folder / LOCK).exists()


def remove_damaged(folder: Path) -> int:
    """Remove what nodes have left of which Nipype cannot read the record, and count it.

    After a power cut or on a full disk, files may be empty or cut off. Nipype would take the node
    for finished, and its image would fail at each further run.
    """
    removed = 0
    for record in [*folder.rglob('*.pklz')]:
        if record.is_file() and not _is_whole(record):
            shutil.rmtree(record.parent, ignore_errors=True)
            removed += 1
    return removed


def _is_whole(record: Path) -> bool:
    """Whether a compressed file can be read to its end, where its checksum is."""
    try:
        with gzip.open(record) as stream:
            found = stream.read(1)
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return bool(found)


@contextlib.contextmanager
def current_folder(folder: Path | None) -> Iterator[None]:
    """Work in a folder; None: stay."""
    if folder is None:
        yield
        return
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def remove_leftovers(output_dir: Path, participants: Iterable[str]) -> int:
    """Remove unfinished files of runs that were killed, and count them.

    A file that was touched lately stays: it may belong to a run under way. Only folders of these
    participants are searched: thousands of jobs must not all look at the results of all others.
    """
    removed = 0
    folders = [output_dir / f'sub-{label}' for label in participants]
    for root in (output_dir, output_dir / 'logs', *folders):
        if root.is_symlink() and root != output_dir:
            continue
        within = root.rglob if root != output_dir else root.glob
        removed += remove_old_partials(within(f'{PARTIAL}*'))
    return removed


def _hold(folder: Path) -> IO[bytes] | None:
    """Lock a folder of our own, made where it is missing; None for any other, or one in use."""
    if not folder.is_symlink() and not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
    try:
        if not _is_ours(folder):
            return None
        lock = (folder / LOCK).open('r+b')
    except OSError:
        return None
    if try_lock(lock) is False:  # without locks nothing tells runs apart
        lock.close()
        return None
    lock.write(MARK + f', last used by {owner()}\n'.encode())
    lock.truncate()
    lock.flush()
    return lock


def _is_ours(folder: Path) -> bool:
    """Whether we have made a folder: it holds our mark, or is empty and gets it."""
    lock = folder / LOCK
    if folder.is_symlink() or not folder.is_dir() or lock.is_symlink():
        return False
    if not any(folder.iterdir()):
        with contextlib.suppress(FileExistsError), lock.open('xb') as file:
            file.write(MARK + b'\n')
    if not lock.is_file():
        return False
    with lock.open('rb') as file:
        return file.read(len(MARK)) == MARK


def _clean(work_dir: Path) -> None:
    """Empty our folders that no run is using."""
    for folder in sorted(work_dir.glob(f'{PREFIX}*')):
        marked = OWN_NAME.fullmatch(folder.name) and (folder / LOCK).is_file()
        held = _hold(folder) if marked else None
        if held is None:
            continue
        with held:
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:
                    path.unlink(missing_ok=True)
