"""Files that are complete or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from pumba_pipe.common.errors import OutputError

DOUBLE_SUFFIXES = ('.nii.gz', '.mgh.gz')


def image_suffix(path: PurePath) -> str:
    """Return the suffix of an image file, ``.nii.gz`` as one."""
    for suffix in DOUBLE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    return path.suffix


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when all went well.

    Raises
    ------
    OutputError
        The folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(image_suffix(path), '.partial-', path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f'{path}: cannot write this file ({error.strerror or error})') from None
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one piece."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding='utf-8')


def write_json(path: Path, content: Any) -> None:
    """Write an indented JSON file in one piece."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def file_digest(path: Path) -> str:
    """First 16 digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
