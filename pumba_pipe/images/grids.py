"""Between an image's own grid and the cubes the networks see.

All grids share the image's axes, so resampling is one small matrix an axis. An image is taken
plane by plane along its third axis, whichever way it lies in memory: so the same image gives the
same values, to the last digit, and is hardly ever copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.images.filters import filter_matrix, triangle_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Block = tuple[slice, slice, slice]


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


def span_of(used: ArrayLike) -> slice:
    """From the first to the last that is true; empty where none is."""
    where = np.flatnonzero(used)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def sampling_matrices(
    shape: Sequence[int], voxel_size: NDArray[np.float64], cube: Cube
) -> tuple[list[NDArray[np.float64]], Block]:
    """What carries an image into a cube, along each axis: shapes (size, length).

    Returns
    -------
    matrices : list of three ndarray
    inside : three slices
        The block of the cube where the image is.
    """
    matrices = [
        filter_matrix(voxel_positions(shape[axis], voxel_size[axis]), target)
        for axis, target in enumerate(cube.positions())
    ]
    first, second, third = (span_of(matrix.sum(1) > 0.5) for matrix in matrices)
    return matrices, (first, second, third)


def to_cube(
    data: NDArray[np.float32], voxel_size: NDArray[np.float64], cube: Cube
) -> tuple[NDArray[np.float32], Block]:
    """Sample an image into a cube.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        May be a view of any strides.
    voxel_size : ndarray, shape (3,)
    cube : Cube

    Returns
    -------
    values : ndarray of float32, shape (size, size, size)
        Zero outside the image.
    inside : three slices
        The block of the cube where the image is.
    """
    matrices, inside = sampling_matrices(data.shape, voxel_size, cube)
    spans = [span_of(matrix.any(0)) for matrix in matrices]
    block = data[tuple(spans)]
    if not block.size:
        return np.zeros([cube.size] * 3, np.float32), inside
    if np.argmin(np.abs(block.strides)) == 2:
        block = np.asfortranarray(block)  # else every value of a plane lies somewhere else
    x, y, z = (
        matrix[:, span].astype(np.float32) for matrix, span in zip(matrices, spans, strict=True)
    )
    return np.ascontiguousarray(_sampled(block.T, (z, y, x)).T), inside


def _sampled(
    block: NDArray[np.float32], matrices: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Multiply one matrix along each axis, with one plane in the CPU's cache at a time."""
    along, down, across = matrices
    across = np.ascontiguousarray(across.T)
    shrinks = len(along) < len(block)
    planes = _mixed_planes(block, along) if shrinks else iter(block)
    result = np.empty((min(len(along), len(block)), len(down), across.shape[1]), np.float32)
    for plane, target in zip(planes, result, strict=True):
        np.matmul(down, np.ascontiguousarray(plane, np.float32) @ across, out=target)
    if shrinks:
        return result
    return (along @ result.reshape(len(block), -1)).reshape(len(along), *result.shape[1:])


def _mixed_planes(
    block: NDArray[np.float32], weights: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """One plane for each row of weights: a sum of the few planes that have any."""
    mixed, part = (np.empty(block.shape[1:], np.float32) for _ in range(2))
    for row in weights:
        mixed[:] = 0
        for index in np.flatnonzero(row):
            mixed += np.multiply(block[index], row[index], out=part)
        yield mixed


def from_cube(
    values: NDArray[np.float32],
    shape: Sequence[int],
    voxel_size: NDArray[np.float64],
    cube: Cube,
    above: float = -np.inf,
) -> tuple[Block, Iterator[NDArray[np.float32]]]:
    """Sample a cube at an image's voxels.

    Parameters
    ----------
    values : ndarray of float32, shape (size, size, size)
    shape : sequence of int
        Of the image.
    voxel_size : ndarray, shape (3,)
    cube : Cube
    above : float
        Only larger values are of interest. What is left out is not larger: a mean of values that
        are not.

    Returns
    -------
    block : three slices
        Of the voxels whose centres lie in the cube, those that may be of interest.
    planes : iterator of ndarray, shape (y, x)
        Values there, for one z after the other; each is overwritten by the next.
    """
    interesting = values > above
    matrices, block, crop = [], [], []
    for axis, source in enumerate(cube.positions()):
        target = voxel_positions(shape[axis], voxel_size[axis])
        low, high = cube.low[axis], cube.low[axis] + cube.side
        span = span_of((target >= low) & (target <= high))
        # Linear also where the image is coarser: an average would blur the border.
        weights = triangle_weights(source, target[span], cube.voxel)
        others = tuple(other for other in range(3) if other != axis)
        rows = span_of(weights[:, interesting.any(others)].any(1))
        columns = span_of(weights[rows].any(0))
        block.append(slice(span.start + rows.start, span.start + rows.stop))
        crop.append(columns)
        matrices.append(weights[rows, columns].astype(np.float32))
    part = np.ascontiguousarray(values[tuple(crop)].T)
    return (block[0], block[1], block[2]), _planes(part, matrices[::-1])


def _planes(
    part: NDArray[np.float32], matrices: Sequence[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    along, down, across = matrices
    if not all(map(len, matrices)):
        return
    across = np.ascontiguousarray(across.T)
    result = np.empty((len(down), across.shape[1]), np.float32)
    for plane in _mixed_planes(part, along):
        yield np.matmul(down @ plane, across, out=result)
