"""Refuse to commit files above a size: images of real heads and weights slip in easily."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT_KB = 500
ALLOWED = ('pumba_pipe/weights/', 'tests/data/')  # looked at one by one


def too_large(names: list[str]) -> list[str]:
    """Give a line for each file that is too large.

    Parameters
    ----------
    names : list of str
        Files, relative to the root of the repository.

    Returns
    -------
    list of str
    """
    sizes = {
        name: Path(name).stat().st_size / 1000
        for name in names
        if not name.startswith(ALLOWED) and Path(name).is_file()
    }
    return [
        f'{name}: {size:,.0f} kB, at most {LIMIT_KB} kB go into the repository'
        for name, size in sizes.items()
        if size > LIMIT_KB
    ]


if __name__ == '__main__':
    lines = too_large(sys.argv[1:])
    print('\n'.join(lines), end='\n' if lines else '')
    sys.exit(bool(lines))
