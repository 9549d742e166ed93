"""What a file is that was given as an image and is none: said with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GZIP_MAGIC = b'\x1f\x8b'
LOOKED_AT = 1024  # bytes from the start
NIFTI_MAGIC = (b'n+1\0', b'ni1\0')


def what_it_is(path: Path) -> str | None:
    """Say what a file is that nibabel does not take for an image, and what to do.

    Parameters
    ----------
    path : Path
        A file that can be read.

    Returns
    -------
    str or None
        One line without the file's name; None where its content says nothing.
    """
    with path.open('rb') as file:
        start = file.read(LOOKED_AT)
    compressed = start.startswith(GZIP_MAGIC)
    named_so = path.name.lower().endswith(('.gz', '.mgz'))
    if compressed and not named_so:
        name = f'{path.name}.gz' if path.suffix == '.nii' else 'a name that ends so, as .nii.gz'
        return f'is compressed (gzip), but its name does not say so; rename it to {name}'
    if start[344:348] in NIFTI_MAGIC and named_so:
        return 'is not compressed, although its name says so; rename it, without .gz'
    if b'/annex/objects/' in start[:300]:
        return 'is only a pointer of git-annex (DataLad); get its content first (datalad get)'
    if start.startswith(b'version https://git-lfs'):
        return 'is only a pointer of Git LFS; get its content first (git lfs pull)'
    if start[128:132] == b'DICM':
        return 'is a DICOM file; convert it to NIfTI first, for example with dcm2niix'
    if start.lstrip().lower().startswith((b'<!doctype html', b'<html')):
        return 'is a web page (HTML), not an image; was a download refused?'
    return None
