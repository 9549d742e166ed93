"""Files compressed by gzip, by ISA-L where it is installed, which takes less time."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

igzip: Any = None
DAMAGE: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)  # of what cannot be read
with contextlib.suppress(ImportError):  # there is no wheel for some machines
    igzip = importlib.import_module('isal.igzip')
    DAMAGE += (importlib.import_module('isal.igzip_lib').IsalError,)

GZIP = ('.gz', '.mgz')
GZIP_MAGIC = b'\x1f\x8b'  # how such files begin


def open_gzip(path: Path) -> BinaryIO:
    """Open a file compressed by gzip for reading."""
    return cast(BinaryIO, gzip.open(path) if igzip is None else igzip.open(path))


def save_image(image: Any, path: Path) -> None:
    """Write a nibabel image of a class that fits the file's suffix.

    The same image makes the same file: no time is stored, nor is the file's name.

    Parameters
    ----------
    image : nibabel image
    path : Path
        Compressed where it ends in ``.gz`` or ``.mgz``.
    """
    import nibabel as nib

    if igzip is None or path.suffix.lower() not in GZIP:
        nib.save(image, path)
        return
    with (
        path.open('wb') as file,
        igzip.IGzipFile('', 'wb', fileobj=file, mtime=0) as stream,
    ):
        image.to_stream(stream)
