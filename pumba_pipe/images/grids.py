"""Between an image's own grid and the cubes the networks see.

All grids share the image's axes, so resampling is one small matrix an axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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


def filter_matrix(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Triangle filter from one row of positions to another, shape (target, source).

    As wide as the coarser of both spacings: linear interpolation upwards, an average downwards.
    Beyond the outermost sources there is nothing, except within half a step of them.
    """
    step = abs(source[1] - source[0])
    width = max(step, abs(target[1] - target[0]) if len(target) > 1 else 0.0)
    weights = np.maximum(0.0, 1 - np.abs(target[:, None] - source[None]) / width)
    sums = weights.sum(1, keepdims=True)
    weights /= np.maximum(sums, 1e-9)
    edge = step / 2 * (1 + 1e-6)
    inside = (target >= source[0] - edge) & (target <= source[-1] + edge)
    return weights * inside[:, None]


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
    return _contracted(data, matrices), inside.to(data.device)


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
        weights = np.maximum(0.0, 1 - np.abs(target[span, None] - source[None]) / cube.voxel)
        weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
        matrices.append(torch.from_numpy(weights.astype(np.float32)).to(values.device))
    return _contracted(values, matrices), (block[0], block[1], block[2])


def _contracted(volume: Tensor, matrices: list[Tensor]) -> Tensor:
    """Apply one matrix an axis, the one that shrinks the volume most first."""
    ratios = [matrix.shape[0] / max(1, matrix.shape[1]) for matrix in matrices]
    for axis in sorted(range(3), key=lambda axis: ratios[axis]):
        volume = torch.tensordot(matrices[axis], volume, dims=([1], [axis])).movedim(0, axis)
    return volume.contiguous()
