"""Weights that carry values from one row of positions to another, in float64."""

from __future__ import annotations

import numpy as np


def filter_matrix(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Triangle filter from one row of positions to another, shape (target, source).

    As wide as the coarser of both spacings: linear interpolation upwards, an average downwards.
    Beyond the outermost sources there is nothing, except within half a step of them.

    Parameters
    ----------
    source, target : ndarray, shapes (source,), (target,)
        Evenly spaced positions, in one unit of length.
    """
    step = abs(source[1] - source[0])
    width = max(step, abs(target[1] - target[0]) if len(target) > 1 else 0.0)
    weights = triangle_weights(source, target, width)
    edge = step / 2 * (1 + 1e-6)
    inside = (target >= source[0] - edge) & (target <= source[-1] + edge)
    return weights * inside[:, None]


def triangle_weights(source: np.ndarray, target: np.ndarray, width: float) -> np.ndarray:
    """Weights that fall to zero at `width` from each target, shape (target, source).

    Rows sum to one; with the sources' spacing as `width` this is linear interpolation. A row far
    from all sources is zero.
    """
    weights = np.maximum(0.0, 1 - np.abs(target[:, None] - source[None]) / width)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return weights
