"""Files that are being written, under their own names, and what killed processes left of them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

PARTIAL = '.partial-'
OLD_SECONDS = 3600.0  # nothing is written for so long: who began such a file is gone
# Eight characters, as of `tempfile`, and perhaps a suffix; or a lock; or the note of a run.
_OWN = re.compile(re.escape(PARTIAL) + r'(?:[a-z0-9_]{8}(?:\.[\w.]*)?|(?:lock|run)-.*)')


def partial_name(suffix: str = '') -> str:
    """Name that no other file has, for a file that is being written.

    Examples
    --------
    >>> is_partial(Path(partial_name('.nii.gz')))
    True
    """
    return f'{PARTIAL}{os.urandom(4).hex()}{suffix}'


def is_partial(path: Path) -> bool:
    """Whether a name is one that we give to files that are being written.

    Examples
    --------
    >>> is_partial(Path('.partial-of-mine.nii.gz'))
    False
    """
    return _OWN.fullmatch(path.name) is not None


def remove_old_partials(paths: Iterable[Path], seconds: float = OLD_SECONDS) -> int:
    """Remove those of some files that nobody is writing any more, and count them.

    One that was touched lately stays: another process may be writing it. Links are left alone.
    """
    removed, limit = 0, time.time() - seconds
    for path in paths:
        with contextlib.suppress(OSError):  # another process may be at the same
            ours = is_partial(path) and not path.is_symlink() and path.is_file()
            if ours and path.stat().st_mtime < limit:
                path.unlink()
                removed += 1
    return removed
