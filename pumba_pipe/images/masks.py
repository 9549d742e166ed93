"""From a map of logits to one clean mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bounding_block(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice, slice]:
    """Smallest block of voxels that holds a mask, grown by `margin` within the grid."""
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        low = max(0, int(used[0]) - margin)
        spans.append(slice(low, min(mask.shape[axis], int(used[-1]) + 1 + margin)))
    return spans[0], spans[1], spans[2]


def largest_component(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, float]:
    """Keep the largest connected component (26 neighbours).

    Returns
    -------
    component : ndarray of bool
    count : int
        Components that were there.
    share : float
        Share of all voxels that the largest held.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count <= 1:
        return mask, count, 1.0
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax(), count, float(sizes.max() / sizes.sum())


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is not connected to the outside (6 neighbours)."""
    from scipy import ndimage

    padded = np.pad(~mask, 1, constant_values=True)
    labels, _ = ndimage.label(padded)
    return (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def clean(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, float]:
    """Keep the largest component and fill its holes, working in its bounding block only.

    Returns
    -------
    mask : ndarray of bool, shape (x, y, z)
    count : int
        Components before.
    share : float
        Share of the voxels in the largest one.
    """
    if not mask.any():
        return mask, 0, 0.0
    block = bounding_block(mask)
    component, count, share = largest_component(mask[block])
    result = np.zeros_like(mask)
    result[block] = filled(component)
    return result, count, share


def signed_distance(mask: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> NDArray:
    """Distance in millimetres to the mask's surface, negative inside, shape (x, y, z)."""
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(mask, sampling=voxel_size)
    outside = ndimage.distance_transform_edt(~mask, sampling=voxel_size)
    half = float(np.min(voxel_size)) / 2
    # The surface lies half a voxel beyond the outermost voxel's centre.
    return np.where(mask, half - inside, outside - half).astype(np.float32)


def moved_border(
    mask: NDArray[np.bool_], voxel_size: NDArray[np.float64], border_mm: float
) -> NDArray[np.bool_]:
    """Grow (positive) or shrink (negative) a mask by a length in millimetres."""
    if border_mm == 0 or not mask.any():
        return mask
    margin = 2 + int(np.ceil(max(0.0, border_mm) / float(np.min(voxel_size))))
    block = bounding_block(mask, margin)
    result = np.zeros_like(mask)
    result[block] = signed_distance(mask[block], voxel_size) <= border_mm
    return result
