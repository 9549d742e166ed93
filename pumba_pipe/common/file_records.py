"""What a file was when it was read or written, kept as plain values that go into a JSON file.

A record holds the file's size, its time of change and a checksum of its content. Equality decides
whether a file is still the same, never which of two times is later: copies keep old times. The
checksum is computed again only where the size is equal and the times are not.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import files_of

BLOCK = 1 << 20  # bytes
SIZE, MODIFIED, CHANGED, SHA256 = 'Size', 'Modified', 'Changed', 'SHA256'


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before it is opened.

    Raises
    ------
    OSError
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(None, 'is no regular file', os.fspath(path))


def checksum(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises
    ------
    OSError
        It cannot be read, or is no regular file: to open a pipe may wait for ever.
    """
    check_regular(path)
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def stamp(path: Path) -> dict[str, int]:
    """Size of a file in bytes, and the times its content and its entry changed, in microseconds.

    Microseconds since 1970 fit into every program's numbers, nanoseconds do not.

    Raises
    ------
    OSError
    """
    found = path.stat()
    return {
        SIZE: found.st_size,
        MODIFIED: found.st_mtime_ns // 1000,
        CHANGED: found.st_ctime_ns // 1000,
    }


def stamps_of(image: Path) -> dict[Path, dict[str, int]]:
    """Size of each file of an image, and when its content changed; of none where one vanishes."""
    try:
        stamps = {path: stamp(path) for path in files_of(image) if path.exists()}
    except OSError:
        return {}
    return {path: {key: one[key] for key in (SIZE, MODIFIED)} for path, one in stamps.items()}


def check_stamps(image: Path, before: Mapping[Path, Mapping[str, int]]) -> None:
    """Compare the files of an image with what they were before work on it; they may be gone.

    Raises
    ------
    InputError
        One has changed: a mask is of what was there before.
    """
    now = stamps_of(image)
    if now and now != before:
        raise InputError(f'{image}: has changed while it was worked on; start again')


def record_of(path: Path) -> dict[str, Any]:
    """Describe a file as it is now.

    Raises
    ------
    OSError
        It cannot be read, or is written to at this moment.

    Examples
    --------
    >>> _ = Path('a.txt').write_text('abc')
    >>> record = record_of(Path('a.txt'))
    >>> record['Size'], record['SHA256'][:8]
    (3, 'ba7816bf')
    """
    before = stamp(path)
    found = {**before, SHA256: checksum(path)}
    if stamp(path) != before:
        raise OSError(None, 'it changes while it is read', os.fspath(path))
    return found


def is_record(record: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value from a JSON file is a record."""
    return isinstance(record, Mapping) and isinstance(record.get(SHA256), str)


def untouched(record: Mapping[str, Any], now: Mapping[str, int], *keys: str) -> bool:
    """Whether size and times are those of a record, so that the content need not be read."""
    return all(key in record and record[key] == now[key] for key in (SIZE, *keys))


def is_same(path: Path, record: Mapping[str, Any], *keys: str) -> bool:
    """Whether a file has the content of a record.

    Parameters
    ----------
    path : Path
    record : mapping
        Of `record_of`.
    *keys : str
        Times which, when equal, save reading the file: `MODIFIED`, and `CHANGED` where the
        record was made on the same disk.

    Raises
    ------
    OSError
    """
    now = stamp(path)
    if record.get(SIZE) != now[SIZE]:
        return False
    return untouched(record, now, *keys) or checksum(path) == record.get(SHA256)
