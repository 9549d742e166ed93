"""Between an image's own grid and the cubes the networks see.

All grids share the image's axes, so resampling is one small matrix an axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pumba_pipe.images.resampling import (
    apply_shrinking_first,
    filter_matrix,
    triangle_weights,
)


@dataclass(frozen=True)
class Cube:
    """A cube of isotropic voxels laid over an image.

    Attributes
    ----------
    centre : ndarray, shape (3,)
        Its centre in millimetres along the image's axes, from the image's first corner.
    side : float
        Length of a side in millimetres.
    size : int
        Voxels along a side.
    """

    centre: np.ndarray
    side: float
    size: int

    @property
    def voxel(self) -> float:
        """Voxel size in millimetres."""
        return self.side / self.size

    @property
    def low(self) -> np.ndarray:
        """Lower corner in millimetres, shape (3,)."""
        return self.centre - self.side / 2

    def positions(self) -> list[np.ndarray]:
        """Voxel centres in millimetres along each axis, three arrays of shape (size,)."""
        steps = (np.arange(self.size) + 0.5) * self.voxel
        return [low + steps for low in self.low]


def whole_cube(shape: tuple[int, ...], voxel_size: np.ndarray, size: int) -> Cube:
    """Lay a cube over the whole field of view."""
    extent = np.array(shape) * voxel_size
    return Cube(extent / 2, float(extent.max()), size)


def voxel_positions(length: int, voxel: float) -> np.ndarray:
    """Centres of a row of voxels, in millimetres from its first edge, shape (length,)."""
    return (np.arange(length) + 0.5) * voxel


def to_cube(data: Tensor, voxel_size: np.ndarray, cube: Cube) -> tuple[Tensor, Tensor]:
    """Sample an image into a cube.

    Parameters
    ----------
    data : Tensor, shape (x, y, z)
    voxel_size : ndarray, shape (3,)
    cube : Cube

    Returns
    -------
    values : Tensor, shape (size, size, size)
        Zero outside the image.
    inside : Tensor of bool, shape (size, size, size)
        Where the image is.
    """
    matrices, rows = [], []
    for axis, target in enumerate(cube.positions()):
        source = voxel_positions(data.shape[axis], voxel_size[axis])
        matrix = filter_matrix(source, target)
        rows.append(torch.from_numpy(matrix.sum(1) > 0.5))
        matrices.append(torch.from_numpy(matrix.astype(np.float32)).to(data.device))
    inside = rows[0][:, None, None] & rows[1][None, :, None] & rows[2][None, None, :]
    return apply_shrinking_first(data, matrices), inside.to(data.device)


def from_cube(
    values: Tensor, shape: tuple[int, ...], voxel_size: np.ndarray, cube: Cube
) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Sample a cube at an image's voxels.

    Returns
    -------
    values : Tensor
        For the block of voxels whose centres lie in the cube.
    block : three slices
        That block.
    """
    matrices, block = [], []
    for axis, source in enumerate(cube.positions()):
        target = voxel_positions(shape[axis], voxel_size[axis])
        covered = np.flatnonzero(
            (target >= cube.low[axis]) & (target <= cube.low[axis] + cube.side)
        )
        span = slice(int(covered[0]), int(covered[-1]) + 1) if len(covered) else slice(0, 0)
        block.append(span)
        # Linear also where the image is coarser: an average would blur the border.
        weights = triangle_weights(source, target[span], cube.voxel)
        matrices.append(torch.from_numpy(weights.astype(np.float32)).to(values.device))
    return apply_shrinking_first(values, matrices), (block[0], block[1], block[2])
