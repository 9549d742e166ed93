"""Cuts through a scan, as pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.images.drawing import LINE_PX, outline_of, plane_pixels, to_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.reports.image_and_mask import Scan

# Two axes of a plane, drawn to the right and up, by the axis it is cut across; and the letters
# at its left, right, lower and upper edge.
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
PLANE_NAMES = {2: 'axial', 1: 'coronal', 0: 'sagittal'}
LETTERS = (('L', 'R'), ('P', 'A'), ('I', 'S'))


@dataclass(frozen=True)
class Cut:
    """One plane of a scan in pixels, first row at the top.

    Attributes
    ----------
    grey : ndarray of uint8, shape (rows, columns)
        0..255.
    mask : ndarray of float32, shape (rows, columns)
        The mask, interpolated; one half at its border.
    network : ndarray of float32, shape (rows, columns), or None
        The same of the network's own mask, where there are two.
    """

    grey: NDArray[np.uint8]
    mask: NDArray[np.float32]
    network: NDArray[np.float32] | None = None

    def outline(self, width: float = LINE_PX) -> NDArray[np.float32]:
        """Opacity of the mask's outline, 0..1, shape (rows, columns); its width in pixels."""
        return outline_of(self.mask, width)


def cut(
    scan: Scan,
    axis: int,
    index: int,
    spans: NDArray[np.float64],
    px_per_mm: float,
) -> Cut:
    """Cut a scan across an axis, with pixels as wide as they are high.

    Parameters
    ----------
    scan : Scan
    axis, index : int
        Which slice.
    spans : ndarray, shape (3, 2)
        First and last edge of what is shown, in voxels along each axis; voxel i reaches from i
        to i + 1. One voxel beyond the image may be asked for, so that an outline closes there.
    px_per_mm : float
    """
    across, up = PLANES[axis]
    size = picture_size(scan, axis, spans, px_per_mm)
    # padded by a voxel on each side, rows from the top of the picture to its bottom
    top = scan.image.shape[up] + 1 - spans[up][1]
    height = spans[up][1] - spans[up][0]
    box = (spans[across][0] + 1, top, spans[across][1] + 1, top + height)

    # not np.take, which copies the whole volume first
    place: tuple[Any, ...] = (*(slice(None),) * axis, index)
    grey = plane_pixels(scan.grey(scan.image[place]), size, box)
    masks = [
        plane_pixels(mask[place].astype(np.float32), size, box)
        for mask in (scan.mask, scan.network)
        if mask is not None
    ]
    return Cut(to_grey(grey), *masks)


def picture_size(
    scan: Scan, axis: int, spans: NDArray[np.float64], px_per_mm: float
) -> tuple[int, int]:
    """Width and height in pixels of what `cut` gives."""
    width, height = (
        max(
            4, round(float(spans[other][1] - spans[other][0]) * scan.voxel_size[other] * px_per_mm)
        )
        for other in PLANES[axis]
    )
    return width, height
