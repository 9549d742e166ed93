"""Where an image has content: planes of one value at its edges were added, not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.images.reading import MIN_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def content_block(data: NDArray[np.float32]) -> tuple[slice, ...]:
    """Block of an image without the blank planes at its edges.

    Scanners and tools fill images up with blank slices. A network that took them for what a scan
    shows would have to guess how a brain goes on there.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)

    Returns
    -------
    tuple of slice
        One for each axis. All of the image where fewer than three planes have content.
    """
    spans = []
    for axis in range(data.ndim):
        planes = np.moveaxis(data, axis, 0)
        first, last = _blank_planes(planes), len(planes) - _blank_planes(planes[::-1])
        if last - first < MIN_SIDE:
            return tuple(slice(0, side) for side in data.shape)
        spans.append(slice(first, last))
    return tuple(spans)


def _blank_planes(planes: NDArray[np.float32]) -> int:
    """How many of the first planes hold one value only."""
    for index, plane in enumerate(planes):
        if (plane != plane.flat[0]).any():
            return index
    return len(planes)
