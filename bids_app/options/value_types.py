"""Types of the command line's arguments: each function parses one, or raises what is wrong."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pumba_pipe.workflows.templates import parse_space

from pumba_pipe.common.cli import UNSET
from pumba_pipe.common.errors import InputError

MEMORY_UNITS = {'B': 1e-9, 'K': 1e-6, 'M': 1e-3, 'G': 1.0, 'T': 1e3}
MIN_MEMORY_GB = 0.1  # Nipype waits for ever where it has next to nothing to give
MAX_SHOWN = 300  # characters of a name that is none
MAX_SEED = 2**32 - 1


def memory_gb(text: str) -> float:
    """Parse an amount of memory, in MB unless a unit is given.

    Examples
    --------
    >>> memory_gb('8G'), memory_gb('500')
    (8.0, 0.5)
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([BKMGT]?)B?', text.strip().upper())
    if not found or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not an amount of memory such as 8G or 8000')
    size = round(float(found[1]) * MEMORY_UNITS[found[2] or 'M'], 9)
    if size < MIN_MEMORY_GB:
        raise argparse.ArgumentTypeError(
            f'{text!r} is less than {MIN_MEMORY_GB:g} GB, in which no image is stripped; '
            'for gigabytes write a G, as in 8G'
        )
    return size


def gigabytes(text: str) -> float:
    """Parse an amount of memory, in GB unless a unit is given.

    Examples
    --------
    >>> gigabytes('8'), gigabytes('500M')
    (8.0, 0.5)
    """
    return memory_gb(text if text.strip()[-1:].isalpha() else f'{text}G')


def label(prefix: str, text: str) -> str:
    """Take ``sub-`` or ``ses-`` off a label."""
    text = text.removeprefix(prefix)
    if not re.fullmatch(r'[0-9A-Za-z+]+', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a label (letters and digits)')
    return text


def participant_label(text: str) -> str:
    """Parse a participant label, with or without ``sub-``."""
    return label('sub-', text)


def session_label(text: str) -> str:
    """Parse a session label, with or without ``ses-``."""
    return label('ses-', text)


def border(text: str) -> float:
    """Parse millimetres, negative ones too."""
    try:
        number = float(text)
    except ValueError:
        number = float('nan')
    if not abs(number) <= 100:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number of millimetres from -100 to 100'
        )
    return number


def seed(text: str) -> int:
    """Parse a seed for random numbers."""
    if not re.fullmatch(r'\d+', text) or not 1 <= int(text) <= MAX_SEED:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1 to {MAX_SEED}')
    return int(text)


def space(text: str) -> str:
    """Check the form of an output space; whether there is such a template is another matter."""
    try:
        parse_space(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def existing_file(text: str) -> Path:
    """Check that a file is there."""
    if not text:
        raise argparse.ArgumentTypeError(f'is empty; {UNSET}')
    path = Path(text)
    try:
        there = path.is_file()
        found = 'is not a file' if path.exists() else 'does not exist'
    except OSError as error:  # such as a name that is too long
        there, found = False, f'is not the name of a file ({error.strerror})'
    if not there:
        shown = text if len(text) <= MAX_SHOWN else f'{text[:MAX_SHOWN]}…'
        raise argparse.ArgumentTypeError(f'{shown} {found}')
    return path.resolve()
