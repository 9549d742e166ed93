"""Where nodes write: their own folder, and nowhere else.

A name given for an output must be a plain file name. A path would leave the node's folder, where
Nipype neither finds the file again nor clears it before the node is run anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.image_names import image_stem

MAX_STEM = 180  # bytes


def stem(path: str | Path) -> str:
    """Name of an image file without folder and extension, as the names of outputs begin.

    A very long name is cut off: names of files may have 255 bytes, with all that follows, and a
    letter has up to four.

    Examples
    --------
    >>> stem('data/sub-01_T1w.nii.gz')
    'sub-01_T1w'
    """
    name = image_stem(Path(path))
    whole = os.fsencode(name)
    return name if len(whole) <= MAX_STEM else whole[:MAX_STEM].decode('utf-8', 'ignore')


def in_folder(name: str, field: str = 'output') -> str:
    """Absolute path of an output in the current folder, which is the node's when it runs.

    Raises
    ------
    OutputError
        The name is a path.
    """
    if not name or Path(name).name != name or name == '..':
        raise OutputError(
            f'{field} {name!r}: give a plain file name; a node writes to its own folder'
        )
    return str(Path.cwd() / name)
