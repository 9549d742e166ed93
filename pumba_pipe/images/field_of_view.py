"""Where an image has content: planes of one value at its edges were added, not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.images.reading import MIN_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 16  # planes: as many float32 fill a cache line


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
    """How many of the first planes hold one value only.

    Some at a time: where a plane's values lie apart in memory, its neighbours' are read along.
    """
    for start in range(0, len(planes), TOGETHER):
        some = planes[start : start + TOGETHER]
        varied = (some != some[:, :1, :1]).any((1, 2))
        if varied.any():
            return start + int(varied.argmax())
    return len(planes)
