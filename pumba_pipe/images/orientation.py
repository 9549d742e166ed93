"""Axes brought into one order: to the right, to the front, up (RAS).

Reading every image in the same order makes masks and pictures independent of how it was stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def canonical_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which way an image's axes run, as `nibabel.orientations` has it.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.

    Returns
    -------
    ndarray, shape (3, 2)
        For each axis of the image the body axis it runs closest to (0 right, 1 front, 2 up), and
        -1 where it runs the other way, else 1.
    """
    from nibabel.orientations import io_orientation

    return np.asarray(io_orientation(affine))


def oriented_view(data: NDArray[Any], axes: NDArray[np.float64]) -> NDArray[Any]:
    """Show an array (x, y, z) in canonical order, without a copy of it."""
    from nibabel.orientations import apply_orientation

    return np.asarray(apply_orientation(data, axes))


def oriented(data: NDArray[Any], axes: NDArray[np.float64]) -> NDArray[Any]:
    """Bring an array (x, y, z) into canonical order; `axes` as from `canonical_axes`."""
    return np.ascontiguousarray(oriented_view(data, axes))


def restored(data: NDArray[Any], axes: NDArray[np.float64]) -> NDArray[Any]:
    """Undo `oriented`."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

    back = ornt_transform(axcodes2ornt('RAS'), axes)
    return np.ascontiguousarray(apply_orientation(data, back))


def in_memory_order(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Turn the axes of arrays of one shape to the order in which the first lies in memory.

    Files have the first axis closest together, arrays mostly the last: numpy takes several times
    as long where it has to walk across. For what does not depend on the order of axes.
    """
    axes = np.argsort([-abs(step) for step in arrays[0].strides], kind='stable')
    return [array.transpose(axes) for array in arrays]


def oriented_sizes(sizes: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel sizes of an image, shape (3,), in the order in which `oriented` puts its axes."""
    return sizes[np.argsort(axes[:, 0])]


def oriented_affine(
    affine: NDArray[np.float64], axes: NDArray[np.float64], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Affine of what `oriented` makes of an image of this affine and shape."""
    from nibabel.orientations import inv_ornt_aff

    return np.asarray(affine @ inv_ornt_aff(axes, shape))
