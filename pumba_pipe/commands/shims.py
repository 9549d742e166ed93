"""Commands under the names of SynthStrip that run ``pumba-synthstrip``, for who wants them."""

from __future__ import annotations

import sys
from pathlib import Path

from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.files import atomic_path

NAMES = ('mri_synthstrip', 'nipreps-synthstrip', 'synthstrip')
MARK = '# pumba_pipe: runs pumba-synthstrip'
# Some programs start such a script with a Python of their own: it goes over to ours at once.
# An empty entry of sys.path is the user's current folder, whose files are no modules of ours.
SCRIPT = f"""#!/usr/bin/env python3
{MARK}
import os
import sys

PYTHON = {{python!r}}
CODE = (
    'import sys; sys.path[:] = [place for place in sys.path if place]; '
    'from pumba_pipe.commands.synthstrip import main; sys.exit(main())'
)
os.environ.pop('PYTHONHOME', None)
os.execv(PYTHON, [PYTHON, '-c', CODE] + sys.argv[1:])
"""


def write_shims(folder: Path, python: str = sys.executable) -> list[Path]:
    """Write a script for each of `NAMES` into a folder; those of an earlier call are replaced.

    Parameters
    ----------
    folder : Path
        Is made when it is not there.
    python : str
        The Python that pumba_pipe is installed for.

    Returns
    -------
    list of Path

    Raises
    ------
    OutputError
        Another program of such a name lies there, or the folder cannot be written to.

    Examples
    --------
    >>> [path.name for path in write_shims(Path('shims'))]
    ['mri_synthstrip', 'nipreps-synthstrip', 'synthstrip']
    """
    paths = [folder / name for name in NAMES]
    for path in paths:
        if not _is_ours(path):
            raise OutputError(
                f'{path}: is another program and is kept; choose another folder, and put that '
                'first in PATH'
            )
    for path in paths:
        with atomic_path(path) as partial:
            partial.write_text(SCRIPT.format(python=python), encoding='utf-8')
        try:
            path.chmod(path.stat().st_mode | 0o111)
        except OSError as error:
            raise OutputError(f'{path}: cannot be made a program ({error.strerror})') from None
    return paths


def _is_ours(path: Path) -> bool:
    """Whether a path is free, or has a script that we wrote."""
    if not path.exists() and not path.is_symlink():
        return True
    try:
        return path.is_file() and MARK in path.read_text('utf-8', errors='replace')[:200]
    except OSError:
        return False
