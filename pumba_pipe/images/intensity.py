"""Intensity scales: what training and extraction share, and limits to clip at.

Training works on torch tensors, extraction on arrays; torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.components import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

INTENSITY_PERCENTILES = (1.0, 99.0)  # of the field of view, mapped to 0 and 1 for the network
SAFE_MAGNITUDES = 1e-3, 1e8  # beyond, limits and sums of the network's own arithmetic matter
LEAST_SHARE = 0.01  # of the range, between the percentiles; else the maximum becomes 1
COMMON = 0.005, 0.995  # quantiles between which the values of an image lie
FAR, CLOSER = 100.0, 2.0  # ranges of these beyond them: too far, and where such voxels are put
SPIKE_VOXELS = 64  # a group of so many voxels is an object
PADDING_SHARE = (
    0.001  # of the voxels, at the least, have the value that an image is filled up with
)
PADDING_GAP = 0.5  # ranges of the other values, between these and that value
BRIGHT = 0.7  # of the grey scale
BRIGHT_SHARE = 0.25  # of the voxels; fat or fluid is bright in a small part of an image
BRIGHT_PLANES = 64  # along an axis are looked at, roughly


def rescale(
    image: Tensor, inside: Tensor, percentiles: tuple[float, float] = INTENSITY_PERCENTILES
) -> Tensor:
    """Map the percentiles of what was scanned to 0..1, clip, and blank the rest.

    Parameters
    ----------
    image : Tensor, shape (x, y, z)
    inside : Tensor of bool, shape (x, y, z)
        The field of view.
    percentiles : two floats
        Of the values in the field of view; default: those the network is shown images with.
    """
    values = image[inside]
    if not len(values):
        return image.new_zeros(image.shape)
    low, high = _limits(values, percentiles)
    scaled = (image - low) / max(high - low, 1e-6)
    return scaled.clamp(0, 1) * inside


def rescale_block(
    image: NDArray[np.float32],
    inside: tuple[slice, slice, slice],
    percentiles: tuple[float, float] = INTENSITY_PERCENTILES,
) -> NDArray[np.float32]:
    """Do what `rescale` does to an array whose field of view is a block of it."""
    scaled = np.zeros_like(image)
    values = image[inside]
    if values.size:
        low, high = _limits(values, percentiles)
        scaled[inside] = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _limits(
    values: Tensor | NDArray[np.float32], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Values that become 0 and 1."""
    low, high = quantiles(values, [percentile / 100 for percentile in percentiles])
    top = float(values.max())
    # what is bright may fill less than the share above the percentile
    return low, top if high - low < LEAST_SHARE * (top - low) else high


def quantiles(
    values: Tensor | NDArray[np.float32], fractions: Sequence[float]
) -> tuple[float, ...]:
    """Quantiles of many values, from at most about 200,000 evenly spaced ones of them."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, len(flat) // 200_000)]
    ranks = [round(fraction * (len(flat) - 1)) for fraction in fractions]
    if isinstance(flat, np.ndarray):
        # Never one rank alone: numpy is slow then where many values are alike, as in the air
        # around a head.
        parted = np.partition(flat, [*ranks, len(flat) - 1])
        return tuple(float(parted[rank]) for rank in ranks)
    return tuple(float(flat.kthvalue(rank + 1).values) for rank in ranks)


def check_percentiles(lower: float, upper: float) -> None:
    """Refuse what are no two percentiles, the smaller first.

    Raises
    ------
    InputError
    """
    if not 0 <= lower < upper <= 100:
        raise InputError(
            f'percentiles {lower:g} and {upper:g}: must lie between 0 and 100, the smaller first'
        )


def clip_limits(values: NDArray[Any], lower: float, upper: float) -> tuple[float, float]:
    """Percentiles of the values that are not zero; zeros where there are none."""
    present = values[values != 0]
    if present.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(present, (lower, upper))
    return float(low), float(high)


def for_network(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Values that show a head to the network, whatever else is in the image.

    Those of ordinary images are returned as they are.

    Parameters
    ----------
    values : ndarray, shape (x, y, z)

    Returns
    -------
    values : ndarray, shape (x, y, z)
    count : int
        Voxels far beyond all others, which were changed.
    """
    ends = extremes(values)
    filled = without_padding(values, ends)
    ends = ends if filled is values else extremes(filled)
    near, count = without_spikes(filled, ends)
    ends = ends if near is filled else extremes(near)
    return in_safe_range(near, ends), count


def extremes(values: NDArray[np.float32]) -> tuple[float, float]:
    """The least value and the largest."""
    return float(values.min()), float(values.max())


def in_safe_range(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Return values as they are, or times a power of two where all are tiny or some are huge.

    `ends` are the `extremes`, where they are known; so in the functions below.
    """
    largest = max(map(abs, ends or extremes(values)))
    if largest == 0 or SAFE_MAGNITUDES[0] <= largest <= SAFE_MAGNITUDES[1]:
        return values
    return np.ldexp(values, -int(np.floor(np.log2(largest))))


def without_padding(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Put a value far below all others, with which an image was filled up, beside these.

    Some converters write -32768 where nothing was measured. Beside it, all of a head has about the
    same grey value. The blank of an image is zero mostly: values below it alone are looked for.
    What lies below that value, as single odd voxels do, is put there, too.
    """
    if (ends or extremes(values))[0] >= 0:
        return values
    few = _some(values)
    levels, counts = np.unique(few, return_counts=True)
    frequent = levels[counts >= PADDING_SHARE * few.size]
    filling = frequent[0] if len(frequent) else np.float32(0)
    rest = few[few > filling]
    if filling >= 0 or not rest.size:
        return values
    least, most = quantiles(rest, COMMON)
    if least - filling <= PADDING_GAP * (most - least):
        return values
    return np.where(values <= filling, np.float32(least), values)


def without_spikes(
    values: NDArray[np.float32], ends: tuple[float, float] | None = None
) -> tuple[NDArray[np.float32], int]:
    """Bring single voxels whose values are far beyond all others nearer to these.

    A map that was divided by nearly zero has some. Resampled, one such voxel is all that is left
    of an image.

    Returns
    -------
    values : ndarray
    count : int
        How many voxels were changed.
    """
    few = _some(values)
    low, high = quantiles(few, COMMON)
    span = high - low
    least, most = ends or extremes(values)
    if not span > 0 or (most <= high + FAR * span and least >= low - FAR * span):
        return values, 0
    far = (values > high + FAR * span) | (values < low - FAR * span)
    groups, count = connected_components(far)
    if count and np.bincount(groups[far]).max() >= SPIKE_VOXELS:
        return values, 0
    near = np.clip(values, low - CLOSER * span, high + CLOSER * span)
    return near, int(np.count_nonzero(far))


def _some(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of evenly spaced voxels, without a copy of all."""
    return values[tuple(slice(None, None, max(1, side // BRIGHT_PLANES)) for side in values.shape)]


def has_bright_background(values: NDArray[np.float32]) -> bool:
    """Whether what surrounds the head is bright, as in an image with inverted grey values.

    Background is what lies at the faces of the field of view. Where those cut through a head, they
    show bright and dark tissue, as the inside does; their median is not near the brightest.

    Parameters
    ----------
    values : ndarray, shape (x, y, z)
        The field of view, without blank planes at its edges.
    """
    few = _some(values)
    low, high = quantiles(few, [percentile / 100 for percentile in INTENSITY_PERCENTILES])
    limit = low + BRIGHT * (high - low)
    faces = [np.moveaxis(values, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    if not high > low or quantiles(np.concatenate(faces), [0.5])[0] < limit:
        return False
    return float((few > limit).mean()) > BRIGHT_SHARE


def inverted(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn grey values around: the brightest becomes the darkest, and the range stays."""
    return (values.max() - values) + values.min()
