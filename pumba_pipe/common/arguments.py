"""Arguments of the Python interface: wrong types are refused in one line that names the argument.

Commands, whose parser knows the types, do not need this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pumba_pipe.common.errors import InputError


def require(value: Any, argument: str, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Refuse a value of another type.

    Parameters
    ----------
    value : object
    argument : str
        Its name.
    kinds : type or tuple of types
        Truth values do not count as numbers.
    wanted : str
        What is needed, in words.

    Raises
    ------
    InputError
        With `argument`, `wanted` and the type of `value`.

    Examples
    --------
    >>> require('3', 'seed', int, 'a whole number')
    Traceback (most recent call last):
    pumba_pipe.common.errors.InputError: seed= must be a whole number, not a str
    """
    if not isinstance(value, kinds) or isinstance(value, bool):
        kind = type(value).__name__
        found = 'None' if value is None else f'{"an" if kind[0] in "aeiou" else "a"} {kind}'
        raise InputError(f'{argument}= must be {wanted}, not {found}')


def path_of(value: Any, argument: str) -> Path:
    """Path that a caller gave.

    Raises
    ------
    InputError
        It is neither a str nor a Path, or empty: Python takes that for the current folder.

    Examples
    --------
    >>> path_of('scan.nii', 'image').suffix
    '.nii'
    """
    require(value, argument, (str, os.PathLike), 'a path (str or Path)')
    if value == '':
        raise InputError(f'{argument}= is empty; give a path')
    try:
        return Path(value)
    except TypeError:  # an os.PathLike of bytes
        raise InputError(f'{argument}= must be a path (str or Path), not one of bytes') from None


def optional_path(value: Any, argument: str) -> Path | None:
    """As `path_of`; None stays None."""
    return None if value is None else path_of(value, argument)
