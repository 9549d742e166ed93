"""What the slice viewer of a page shows: small copies of an image and its mask."""

from __future__ import annotations

import base64
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.files import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.reports.image_and_mask import Scan

MAX_SIDE = 128  # voxels


def write_viewer_data(scan: Scan, path: Path) -> None:
    """Write image and mask, at most 128 voxels along each side, as NIfTI in a JSON file.

    Its keys ``image`` and ``mask`` hold gzipped NIfTI files in base64; ``factors`` says how many
    voxels along each axis were averaged into one.
    """
    factors = [-(-side // MAX_SIDE) for side in scan.image.shape]
    image = scan.grey(block_mean(scan.image, factors))
    mask = block_mean(scan.mask.astype(np.float32), factors) >= 0.5
    affine = scan.affine @ shrinking(factors)
    write_json(
        path,
        {
            'image': packed(np.rint(image * 255).astype(np.uint8), affine),
            'mask': packed(mask.astype(np.uint8), affine),
            'factors': factors,
        },
    )


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


def packed(data: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    """Put a volume into a gzipped NIfTI file, in base64."""
    import nibabel as nib

    image: Any = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units('mm')
    file = io.BytesIO()
    image.to_stream(file)
    return base64.b64encode(gzip.compress(file.getvalue(), 6, mtime=0)).decode('ascii')
