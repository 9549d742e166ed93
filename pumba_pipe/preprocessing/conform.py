"""Small steps around skull stripping: conform, clip, mask. Files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.files import atomic_path
from pumba_pipe.images.compression import save_image
from pumba_pipe.images.headers import nifti_class
from pumba_pipe.images.intensity import check_percentiles, clip_limits
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.saving import check_images, save_map, save_masked
from pumba_pipe.images.volume import load_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

LOWER, UPPER = 10.0, 99.9  # percentiles
INTEGERS = (np.uint8, np.int8, np.uint16, np.int16)
SCANNER = 1  # NIfTI code of coordinates in the scanner


def conform_file(in_file: Path, out_file: Path) -> tuple[str, ...]:
    """Write an image as 3D NIfTI of finite values, with qform and sform alike, on its own grid.

    Of a 4D image the mean is taken as `load_volume` does. Values of 8 and 16 bit integers keep
    their type; anything else becomes float32. Where the affine is sheared, which a qform cannot
    say, the qform is left unset.

    Returns
    -------
    notes : tuple of str
        What was changed in the values, in plain words.

    Raises
    ------
    InputError, OutputError
    """
    check_images([out_file], [in_file])
    volume = load_volume(in_file, flat=True)
    image = _plain_nifti(volume)
    with atomic_path(out_file) as partial:
        save_image(image, partial)
    return volume.notes


def _plain_nifti(volume: Volume) -> Any:
    """Make a NIfTI image with a new header: nothing odd in the old one survives."""
    data = _as_stored(volume)
    image = nifti_class(data.shape)(data, volume.affine, dtype=data.dtype)
    image.header.set_xyzt_units('mm')
    code = _space_code(volume)
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code)
    if not np.allclose(image.get_qform(), volume.affine, atol=1e-3 * volume.voxel_size.min()):
        image.set_qform(None, 0)
    return image


def _as_stored(volume: Volume) -> NDArray[Any]:
    """Values in the file's own type, where that holds them exactly."""
    if volume.source is None:
        return volume.data
    dtype = np.dtype(volume.source.get_data_dtype()).newbyteorder('=')
    for integer in INTEGERS:
        if dtype == integer and np.array_equal(volume.data, volume.data.astype(integer)):
            return volume.data.astype(integer)
    return volume.data


def _space_code(volume: Volume) -> int:
    """The code of the orientation that is used; files without one are taken as scanner's."""
    header: Any = getattr(volume.source, 'header', None)
    try:
        return int(header['sform_code']) or int(header['qform_code']) or SCANNER
    except (KeyError, TypeError, ValueError, IndexError):
        return SCANNER


def clip_file(
    in_file: Path, out_file: Path, lower: float = LOWER, upper: float = UPPER
) -> tuple[float, float]:
    """Limit an image's values to percentiles of its non-zero voxels; written as float32.

    Values are not rescaled or shifted, so a bias field stays a factor.

    Returns
    -------
    low, high : float
        The limits.

    Raises
    ------
    InputError, OutputError
    """
    check_percentiles(lower, upper)
    check_images([out_file], [in_file])
    volume = load_volume(in_file, flat=True)
    low, high = clip_limits(volume.data, lower, upper)
    save_map(volume, np.clip(volume.data, low, high), out_file)
    return low, high


def mask_file(in_file: Path, mask: Path, out_file: Path) -> None:
    """Set everything outside a mask to zero, in all volumes of a 4D image.

    To the least value of the image where that is below zero.

    Raises
    ------
    InputError
        The mask does not lie on the image's grid, or a file cannot be read.
    OutputError
    """
    check_images([out_file], [in_file, mask])
    volume = load_volume(in_file, flat=True)
    save_masked(volume, load_mask_of(volume, mask), out_file)
