"""Connected components of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Neighbours of a voxel: across its faces, or across edges and corners too.
FACES: Final = 6
CORNERS: Final = 26


def connected_components(
    mask: NDArray[np.bool_], neighbours: Literal[6, 26] = CORNERS
) -> tuple[NDArray[np.unsignedinteger], int]:
    """Number the connected components of a mask.

    Faster than `scipy.ndimage.label`, and done some ten times for every image.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    neighbours : int
        `FACES` or `CORNERS`.

    Returns
    -------
    labels : ndarray of whole numbers, shape (x, y, z)
        0 outside the mask, 1 to `count` in its components.
    count : int
    """
    import cc3d

    return cc3d.connected_components(
        mask, connectivity=neighbours, return_N=True, binary_image=True
    )
