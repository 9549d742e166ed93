"""Names of the files in a data set of synthetic heads, known before it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.errors import InputError

MASKS = Path('derivatives/labels')
# What one data set may be: names are listed in memory, and NIfTI has 32 bits for a voxel size.
MAX_HEADS = 100_000
MIN_VOXEL_MM, MAX_VOXEL_MM = 0.001, 1000.0


def check_suffixes(suffixes: Sequence[str]) -> None:
    """Refuse what is no suffix of a BIDS name, such as an empty one, or none at all.

    Raises
    ------
    InputError
    """
    wrong = [suffix for suffix in suffixes if not re.fullmatch('[A-Za-z0-9]+', suffix)]
    if wrong or not suffixes:
        shown = repr(wrong[0]) if wrong else 'none'
        raise InputError(f'suffixes: {shown}: a suffix has letters and digits, such as T1w')


def subject_label(index: int) -> str:
    """Name of the subject of head `index`, counted from zero."""
    return f'sub-{index + 1:03d}'


def head_files(count: int, suffixes: Sequence[str]) -> list[tuple[Path, Path]]:
    """Image and mask of every head, relative to the data set.

    Examples
    --------
    >>> image, mask = head_files(1, ['T1w'])[0]
    >>> image.as_posix()
    'sub-001/anat/sub-001_T1w.nii.gz'
    >>> mask.as_posix()
    'derivatives/labels/sub-001/anat/sub-001_desc-brain_mask.nii.gz'
    """
    files = []
    for index in range(count):
        subject, suffix = subject_label(index), suffixes[index % len(suffixes)]
        image = Path(subject, 'anat', f'{subject}_{suffix}.nii.gz')
        mask = MASKS / subject / 'anat' / f'{subject}_desc-brain_mask.nii.gz'
        files.append((image, mask))
    return files
