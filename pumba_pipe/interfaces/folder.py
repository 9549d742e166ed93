"""Where nodes write: their own folder, and nowhere else.

A name given for an output must be a plain file name. A path would leave the node's folder, where
Nipype neither finds the file again nor clears it before the node is run anew.
"""

from __future__ import annotations

from pathlib import Path

from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.image_names import image_stem

MAX_STEM = 180


def stem(path: str | Path) -> str:
    """Name of an image file without folder and extension, as the names of outputs begin.

    A very long name is cut off: names of files may have 255 bytes, with all that follows.

    Examples
    --------
    >>> stem('data/sub-01_T1w.nii.gz')
    'sub-01_T1w'
    """
    return image_stem(Path(path))[:MAX_STEM]


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
