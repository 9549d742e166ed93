"""What the slice viewer of a page shows: an image and its mask, small enough for a page."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.documents import MIB, read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json
from pumba_pipe.reports.words import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.reports.image_and_mask import Scan

MAX_VOXELS = 256**3
MAX_SIDE = 1024  # voxels; more than a screen shows
BLOCK = 8  # pixels: JPEG compresses squares of so many
PICTURE_ROWS = 8192  # browsers refuse larger pictures
JPEG_QUALITY = 85  # a head of 256³ voxels of 1 mm takes 1.2 MB, and none of its edges is lost
VIEWER_BYTES = 64 * MIB


def write_viewer_data(scan: Scan, path: Path) -> None:
    """Write image and mask as a JSON file.

    Its keys: ``shape`` in voxels, x fastest; ``voxel_size`` in mm; ``affine``, three rows from
    voxel indices to mm; ``factors``, how many voxels along each axis were averaged into one: one
    unless the image has more than 256³ voxels; ``rows``, of a slice in a picture; ``image``,
    JPEG pictures in base64 with slices below each other; ``mask``, one bit a voxel, the highest
    first, gzipped, in base64; where there are two masks, ``network_mask``, the network's own.
    """
    factors = shrinking_factors(scan.image.shape, scan.voxel_size)
    image = scan.grey(block_mean(scan.image, factors))
    masks = {'mask': scan.mask}
    if scan.network is not None:
        masks['network_mask'] = scan.network
    small = {key: block_mean(one.astype(np.float32), factors) >= 0.5 for key, one in masks.items()}
    affine = scan.affine @ shrinking(factors)
    rows, pictures = stacked(np.rint(image * 255).astype(np.uint8))
    content = {
        'shape': list(image.shape),
        'voxel_size': (scan.voxel_size * factors).tolist(),
        'affine': affine[:3].tolist(),
        'factors': factors,
        'rows': rows,
        'image': [_text(picture) for picture in pictures],
        **{key: _bits(mask) for key, mask in small.items()},
    }
    write_json(path, content)


def shrinking_factors(
    shape: tuple[int, ...], voxel_size: NDArray[np.float64], most: int = MAX_VOXELS
) -> list[int]:
    """How many voxels along each axis are averaged into one: the finest axes first.

    Examples
    --------
    >>> shrinking_factors((256, 256, 256), np.ones(3))
    [1, 1, 1]
    >>> shrinking_factors((512, 512, 100), np.array([0.4, 0.4, 1.5]))
    [2, 1, 1]
    """
    factors = [max(1, math.ceil(side / MAX_SIDE)) for side in shape]
    while math.prod(map(math.ceil, np.divide(shape, factors))) > most:
        factors[int(np.argmin(voxel_size * factors))] += 1
    return factors


def stacked(image: NDArray[np.uint8]) -> tuple[int, list[bytes]]:
    """Write slices below each other into as few JPEG pictures as browsers can read.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)

    Returns
    -------
    rows : int
        Of a slice in a picture: y, and what fills its last squares of 8 pixels, so that slices
        do not spoil each other.
    pictures : list of bytes
    """
    from PIL import Image

    slices = image.transpose(2, 1, 0)
    slices = np.pad(slices, ((0, 0), (0, -slices.shape[1] % BLOCK), (0, 0)), mode='edge')
    rows = slices.shape[1]
    many = max(1, PICTURE_ROWS // rows)
    pictures = []
    for first in range(0, len(slices), many):
        file = io.BytesIO()
        part = slices[first : first + many].reshape(-1, slices.shape[2])
        Image.fromarray(part).save(file, 'JPEG', quality=JPEG_QUALITY, optimize=True)
        pictures.append(file.getvalue())
    return rows, pictures


def block_mean(data: NDArray[np.float32], factors: list[int]) -> NDArray[np.float32]:
    """Average blocks of voxels; a block that reaches beyond the edge repeats the last voxel."""
    missing = [(0, -side % factor) for side, factor in zip(data.shape, factors, strict=True)]
    if any(after for _, after in missing):
        data = np.pad(data, missing, mode='edge')
    for axis, factor in enumerate(factors):
        if factor > 1:
            before = (slice(None),) * axis
            parts = [data[(*before, slice(start, None, factor))] for start in range(factor)]
            data = sum(parts[1:], parts[0]) / np.float32(factor)
    return data


def shrinking(factors: list[int]) -> NDArray[np.float64]:
    """Matrix (4, 4) from voxel indices of the small image to those of the large one."""
    matrix = np.diag([*map(float, factors), 1.0])
    matrix[:3, 3] = [(factor - 1) / 2 for factor in factors]
    return matrix


def _bits(mask: NDArray[np.bool_]) -> str:
    return _text(gzip.compress(np.packbits(mask.ravel('F')).tobytes(), 9, mtime=0))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode('ascii')


def read_viewer_data(path: Path) -> dict[str, Any] | None:
    """Read what `write_viewer_data` wrote; None when there is none that a page can show."""
    try:
        content = read_json(path, VIEWER_BYTES)
    except InputError:
        return None
    try:
        data: dict[str, Any] = {
            'shape': _numbers(content['shape']),
            'voxel_size': _numbers(content['voxel_size']),
            'factors': _numbers(content['factors']),
            'affine': [_numbers(row, 4) for row in content['affine'][:3]],
            'rows': _numbers([content['rows']], 1)[0],
            'image': [_base64(picture) for picture in content['image']],
            'mask': _base64(content['mask']),
        }
        if 'network_mask' in content:
            data['network_mask'] = _base64(content['network_mask'])
    except (LookupError, TypeError, ValueError):
        return None
    small = all(side > 0 for side in [*data['shape'], *data['voxel_size'], data['rows']])
    return data if small and math.prod(data['shape']) <= MAX_VOXELS else None


def _numbers(values: Any, count: int = 3) -> list[float]:
    found = [value for value in map(number, list(values)) if value is not None]
    if len(found) != count:
        raise ValueError(f'not {count} numbers')
    return found


def _base64(text: Any) -> str:
    """Return a text that is base64 and nothing else.

    Raises
    ------
    ValueError, TypeError
    """
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return str(text)
