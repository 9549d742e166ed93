"""Is there one head in the image, and a brain in the mask? Answers that need no network.

Limits were set by geometry, on balls of one grey value, and on made heads: nine in ten of those,
which are as flat as recipes allow, lie above. No statistic of a real image is in them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.common.imports import import_ndimage
from pumba_pipe.images.components import connected_components
from pumba_pipe.images.intensity import quantiles
from pumba_pipe.images.masks import bounding_block, filled

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIFORM = 'next to no contrast inside the mask, as in a phantom: look at this mask'
NOISE = 'the image looks like noise: look at this mask'
SECOND = 'a second object of similar size, as of two heads or animals: the mask shows one'

LEAST_CONTRAST = 0.015  # spread inside the mask over its level; a ball of water: 0.005
CORE = 0.2  # of the mask's depth: border, where voxels mix brain with what is around it
FINE = 1 / 40  # of the mask's diameter: detail that counts as contrast
LONGEST = 96  # voxels along an axis that are looked at
FEWEST = 100  # voxels that say something
# Neighbours in white noise differ by as much as any two voxels, which makes this one.
NOISE_RATIO = 0.7
WHITE = 2.0  # times the spread that is left of white noise after smoothing
SIMILAR = 0.3  # size of a second object over that of the largest
FOREGROUND = 0.2  # of the network's grey scale


class InnerContrast(NamedTuple):
    """Spread of detail inside a mask: over its level, and over what white noise would leave."""

    of_level: float
    of_noise: float


def doubts(data: NDArray[np.float32], contrast: InnerContrast | None) -> tuple[str, ...]:
    """Say what makes it unlikely that the mask shows a brain.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    contrast : InnerContrast or None
        Inside the mask; None where that is not known.
    """
    if noise_ratio(data) > NOISE_RATIO:
        return (NOISE,)
    if contrast is None:
        return ()
    flat = contrast.of_level < LEAST_CONTRAST or contrast.of_noise < WHITE
    return (UNIFORM,) if flat else ()


def noise_ratio(data: NDArray[np.float32]) -> float:
    """How much neighbours differ, over how much voxels do: one in white noise, small in a scan.

    Of the axis along which neighbours are most alike: those of thick slices may not be.
    """
    data = data[tuple(_middle(side) for side in data.shape)]
    few = [slice(None, None, 1 + (side > LONGEST)) for side in data.shape]
    spread = float(data[tuple(few)].var(dtype=np.float64))
    if spread == 0:
        return 0.0
    lines = ([*few[:axis], slice(None), *few[axis + 1 :]] for axis in range(3))
    steps = (np.diff(data[tuple(line)], axis=axis) for axis, line in enumerate(lines))
    return min(float(np.square(step).mean(dtype=np.float64)) for step in steps) / (2 * spread)


def _middle(side: int) -> slice:
    """Neighbours must stay neighbours: of a long axis the middle is looked at."""
    start = max(0, side - 2 * LONGEST) // 2
    return slice(start, side - start)


def inner_contrast(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> InnerContrast | None:
    """Contrast inside a mask, away from its border, without shading and without most of the noise.

    Shading, as of a coil, is taken out as a quadratic function of position.

    Returns
    -------
    InnerContrast, or None
        None where there are too few voxels to say.
    """
    ndimage = import_ndimage()
    block = bounding_block(mask)
    steps = [math.ceil((span.stop - span.start) / LONGEST) for span in block]
    view = tuple(
        slice(span.start, span.stop, step) for span, step in zip(block, steps, strict=True)
    )
    values, inside = data[view].astype(np.float64), np.pad(mask[view], 1)
    values = np.pad(values, 1, mode='edge')
    depth = _depth(inside)
    core = depth > CORE * depth.max() + 1
    if np.count_nonzero(core) < FEWEST:
        return None
    few = data[tuple(slice(None, None, step) for step in steps)]
    blank = quantiles(few.ravel(order='K'), [0.01])[0]  # in any order: that in memory is fast
    level = abs(float(values[core].mean()) - blank)
    detail = _without_shading(values, core)
    diameter = (6 * np.count_nonzero(inside) / math.pi) ** (1 / 3)
    sigma = max(0.7, FINE * diameter)
    smooth = ndimage.gaussian_filter(detail, sigma)[core]
    share = ndimage.gaussian_filter(core.astype(np.float64), sigma)[core]
    spread = float((smooth / share).std())
    noise = min(_step(detail, core, axis) for axis in range(3))
    # what a Gaussian filter leaves of the spread of white noise
    left = noise * (2 * math.sqrt(math.pi) * sigma) ** -1.5
    tiny = np.finfo(np.float32).eps * level + np.finfo(np.float64).tiny
    return InnerContrast(spread / max(level, tiny), spread / left if left > tiny else math.inf)


def _depth(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each voxel to the nearest one outside, in voxels.

    From the place of that one: to say the distance, scipy takes more memory.
    """
    find = import_ndimage().distance_transform_edt
    nearest = find(inside, return_distances=False, return_indices=True)
    squared = np.zeros(inside.shape, np.int32)
    for axis, place in enumerate(np.ogrid[tuple(map(slice, inside.shape))]):
        squared += np.square(nearest[axis] - place, dtype=np.int32)
    return np.sqrt(squared)


def _without_shading(values: NDArray[np.float64], core: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values (x, y, z) less the quadratic function of position that fits them best in `core`.

    Zero elsewhere.
    """
    axes = []
    for axis, length in enumerate(core.shape):
        counts = np.count_nonzero(core, tuple(other for other in range(3) if other != axis))
        place = np.arange(length) - np.average(np.arange(length), weights=counts)
        spread = math.sqrt(np.average(place**2, weights=counts))
        axes.append(place / max(spread, 1e-9))
    few = np.flatnonzero(core)
    few = few[:: max(1, len(few) // 20_000)]
    at = zip(axes, np.unravel_index(few, core.shape), strict=True)
    x, y, z = (place[index] for place, index in at)
    terms = np.stack([np.ones(len(x)), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], 1)
    one, *of = np.linalg.lstsq(terms, values.ravel()[few], rcond=None)[0]
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    in_plane = one + of[1] * y + of[2] * z + of[4] * y * y + of[5] * z * z + of[8] * y * z
    result = values - in_plane
    result -= x * (of[0] + of[3] * x + of[6] * y + of[7] * z)
    result *= core
    return result


def _step(detail: NDArray[np.float64], core: NDArray[np.bool_], axis: int) -> float:
    """Spread of white noise whose neighbours along an axis differ as these do."""
    length = core.shape[axis]
    pairs = core.take(range(1, length), axis) & core.take(range(length - 1), axis)
    if not pairs.any():
        return math.inf
    return math.sqrt(float((np.diff(detail, axis=axis)[pairs] ** 2).mean()) / 2)


def second_object(brain: NDArray[np.bool_], scaled: NDArray[np.float32]) -> bool:
    """Whether the coarse pass shows a second object of similar size.

    Either the network found two brains, or the foreground falls into two objects that lie apart:
    a plane between them holds neither. A brain and the skin around it do not.

    Parameters
    ----------
    brain : ndarray of bool, shape (x, y, z)
        What the coarse network takes for brain.
    scaled : ndarray, shape (x, y, z)
        The image on the network's grey scale, 0..1.
    """
    return _two(brain, apart=False) or _two(filled(scaled > FOREGROUND), apart=True)


def _two(objects: NDArray[np.bool_], *, apart: bool) -> bool:
    labels, count = connected_components(objects)
    if count < 2:
        return False
    sizes = np.bincount(labels.ravel())[1:]
    first, second = np.argsort(-sizes)[:2]
    if sizes[second] < SIMILAR * sizes[first]:
        return False
    boxes = [bounding_block(labels == label + 1) for label in (first, second)]
    return not apart or any(
        one.stop <= other.start or other.stop <= one.start
        for one, other in zip(*boxes, strict=True)
    )
