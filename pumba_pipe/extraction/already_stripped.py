"""Images that somebody stripped before: one object with a hard edge on a blank background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.imports import import_ndimage
from pumba_pipe.images.masks import bounding_block, filled, largest_component

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Set by hand on real heads, whole and cut out by their reference masks: the cut-out brains met
# all three, no whole head did.
BLANK_BACKGROUND_SHARE = 0.3  # of all voxels: exactly one and the same value
EDGE_LEVEL = 0.3  # of the object's inside: at skin, values fade out; at a cut they do not
DARK_LEVEL, DARK_SHARE = 0.15, 0.1  # bone and air make part of a whole head dark
COVERED = 0.95  # of what the network predicted lies in the object
INSIDE_STEPS = 3  # voxels from the edge to the inside


def detect_stripped_brain(
    data: NDArray[np.float32], predicted: NDArray[np.bool_]
) -> NDArray | None:
    """Find the brain in an image that was stripped before: all that is not blank.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    predicted : ndarray of bool, shape (x, y, z)
        What the network took for brain.

    Returns
    -------
    ndarray of bool, shape (x, y, z), or None
        None when the image does not look stripped.
    """
    ndimage = import_ndimage()
    # A few voxels are enough to rule out most whole heads, in no time.
    few = data[tuple(slice(None, None, 3 if side > 128 else 1) for side in data.shape)]
    values, counts = np.unique(few, return_counts=True)
    blank = values[counts.argmax()]
    seen = np.abs(few[few != blank] - blank)
    if (
        seen.size > (1 - BLANK_BACKGROUND_SHARE) * few.size
        or not seen.size
        or _dark_share(seen) > DARK_SHARE
    ):
        return None
    signal = data != blank
    whole = filled(largest_component(signal)[0])
    if np.count_nonzero(predicted & whole) < COVERED * np.count_nonzero(predicted):
        return None
    block = bounding_block(whole, 1)
    body = whole[block]
    inner = ndimage.binary_erosion(body, iterations=INSIDE_STEPS)
    if not inner.any():
        return None
    level = np.abs(data[block] - blank)
    # Not beyond the field of view: what it cuts has a hard edge, too.
    edge = body & ~ndimage.binary_erosion(body, border_value=1)
    hard = np.median(level[edge]) > EDGE_LEVEL * np.median(level[inner])
    return whole if hard and _dark_share(level[body]) < DARK_SHARE else None


def _dark_share(level: NDArray[np.float32]) -> float:
    return float((level < DARK_LEVEL * np.percentile(level, 90)).mean())
