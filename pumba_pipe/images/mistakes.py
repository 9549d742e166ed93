"""What a file is that was given as an image and is none: said with what to do about it."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pumba_pipe.images.compression import DAMAGE, GZIP_MAGIC, open_gzip

MGH_MAGIC = b'\0\0\0\1'
LOOKED_AT = 1024  # bytes from the start
NIFTI_MAGIC = (b'n+1\0', b'ni1\0')
NIFTI2_MAGIC = (b'n+2\0', b'ni2\0')
CONVERT = 'convert it to NIfTI first'
OTHER_FORMATS = {
    b'BZh': 'is compressed by bzip2, but its name does not say so; rename it to end in .nii.bz2',
    b'\xfd7zXZ': 'is compressed by xz, which cannot be read; decompress it first: xz -d',
    b'PK\x03\x04': 'is a ZIP archive; take the images out of it first: unzip',
    b'\x89PNG': f'is a picture (PNG), not a scan; {CONVERT}',
    b'\xff\xd8\xff': f'is a picture (JPEG), not a scan; {CONVERT}',
    b'NRRD': f'is an NRRD image, which cannot be read; {CONVERT}',
    b'ObjectType': f'is a MetaImage, which cannot be read; {CONVERT}',
}  # beginnings of files, and what they are
DICOM_MAGIC, DICOM_OFFSET = b'DICM', 128
DICOM_ENDINGS = ('.dcm', '.ima', '.dicom', '')  # scanners also write files without an ending
MAX_TRIED = 200  # files of a folder that are opened to see whether they are DICOM


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
        name = f'{path.stem}.mgz' if path.suffix == '.mgh' else name
        return f'is compressed (gzip), but its name does not say so; rename it to {name}'
    if named_so and (start[344:348] in NIFTI_MAGIC or start[4:8] in NIFTI2_MAGIC):
        return 'is not compressed, although its name says so; rename it, without .gz'
    if path.name.lower().endswith('.mgz') and not compressed:
        return 'is not compressed, although its name says so; rename it to .mgh'
    held = _unpacked(path) if compressed else b''
    if held.startswith(GZIP_MAGIC):
        return 'is compressed twice (gzip); decompress it once: gunzip'
    if path.name.lower().endswith('.mgz') and (
        held[344:348] in NIFTI_MAGIC or held[4:8] in NIFTI2_MAGIC
    ):
        return 'is a NIfTI image, although its name says MGZ; rename it to .nii.gz'
    if held.startswith(MGH_MAGIC) and path.name.lower().endswith('.nii.gz'):
        return 'is an MGZ image, although its name says NIfTI; rename it to .mgz'
    for magic, what in OTHER_FORMATS.items():
        if start.startswith(magic) and not path.name.lower().endswith('.bz2'):
            return what
    if b'/annex/objects/' in start[:300]:
        return 'is only a pointer of git-annex (DataLad); get its content first (datalad get)'
    if start.startswith(b'version https://git-lfs'):
        return 'is only a pointer of Git LFS; get its content first (git lfs pull)'
    if start[DICOM_OFFSET:].startswith(DICOM_MAGIC):
        return f'is a DICOM file; convert its folder to NIfTI first: {dcm2niix(path.parent)}'
    if start.lstrip().lower().startswith((b'<!doctype html', b'<html')):
        return 'is a web page (HTML), not an image; was a download refused?'
    return None


def _unpacked(path: Path) -> bytes:
    """First bytes of what a gzip file holds; none of one that is damaged."""
    try:
        with open_gzip(path) as stream:
            return stream.read(LOOKED_AT)
    except DAMAGE:
        return b''


def dcm2niix(folder: Path) -> str:
    """Command that converts a folder of DICOM files.

    Examples
    --------
    >>> dcm2niix(Path('scan 1'))
    "dcm2niix -z y -f %p_%s -o NIFTI_FOLDER 'scan 1'"
    """
    return f'dcm2niix -z y -f %p_%s -o NIFTI_FOLDER {shlex.quote(str(folder))}'


def what_folder_is(folder: Path) -> str | None:
    """Say what a folder is that was given as an image, and what to do; None: nothing known.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    str or None
        One line without the folder's name.
    """
    files = (Path(at) / name for at, _, names in os.walk(folder) for name in sorted(names))
    if not holds_dicom(files):
        return None
    return f'is a folder of DICOM files; convert it to NIfTI first: {dcm2niix(folder)}'


def holds_dicom(files: Iterator[Path]) -> bool:
    """Whether one of some files, of which only the first few hundred are tried, is DICOM."""
    candidates = (file for file in files if file.suffix.lower() in DICOM_ENDINGS)
    return any(map(is_dicom, itertools.islice(candidates, MAX_TRIED)))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as a DICOM file does; False where it cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open('rb') as file:
            return file.read(LOOKED_AT)[DICOM_OFFSET:].startswith(DICOM_MAGIC)
    except OSError:
        return False
