"""Images to calibrate the score on: made heads as scans of them, odd ones, and none at all.

Whole heads of the default recipe with random voxel sizes and thick slices; heads as they should
not be scanned (inverted, in a large body, two in one image, as in a CT); and fields without any
brain: phantoms, noise, limbs, heads whose brain was replaced. All of it is made of random shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.regions import AIR, BACKGROUND, BRAIN, DURA, SKULL, TISSUE
from pumba_pipe.synthesis.sample import labels, make_regions, render

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.synthesis.recipe import Recipe

SIZES = (128, 144, 160)  # sides of the grids that heads are made on
VOLUMES_ML = (0.3, 2000.0)  # of brains, from a mouse's to beyond a human's
FIELD_SIDES = (72, 120)  # voxels of an image without a brain
FIELD_VOXELS_MM = (0.1, 3.0)
THICK_CHANCE, THICKEST = 0.3, 4  # of slices; as many voxels averaged
MIN_SHARE = 0.5  # of the brain that a field of view must show
MIN_SIDE = 8  # voxels
MAX_DRAWS = 50
SCALE = 1000  # stored value of the brightest voxel


class MadeImage(NamedTuple):
    """A made scan, and what is known of it.

    Attributes
    ----------
    kind : str
        Such as ``'head'`` or ``'ball'``.
    values : ndarray of float32, shape (x, y, z)
    voxel_size : ndarray, shape (3,)
        In millimetres.
    brains : list of ndarray of bool, shape (2, x, y, z)
        Of each brain in the image both labels, with CSF and without; empty without a brain.
    """

    kind: str
    values: NDArray[np.float32]
    voxel_size: NDArray[np.float64]
    brains: list[NDArray[np.bool_]]


class _Head(NamedTuple):
    """A made head cut to its field of view."""

    values: NDArray[np.float32]
    brain: NDArray[np.bool_]
    regions: NDArray[np.uint8]


def made_head(recipe: Recipe, seed: int) -> MadeImage:
    """Make a scan of a whole head, as the default recipe draws it.

    Parameters
    ----------
    recipe : Recipe
    seed : int

    Returns
    -------
    MadeImage
        Of kind ``'head'``.
    """
    rng = np.random.default_rng(seed)
    head = _head(recipe, seed, int(rng.choice(SIZES)))
    return _scan('head', head.values, [head.brain], rng)


def odd_head(recipe: Recipe, seed: int) -> MadeImage:
    """Make a scan of a head that is not as heads are: the kind says how."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(list(_ODD)))
    values, brains = _ODD[kind](recipe, seed, rng)
    return _scan(kind, values, brains, rng)


def no_brain(recipe: Recipe, seed: int) -> MadeImage:
    """Make an image in which there is no brain: the kind says what there is."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(list(_FIELDS)))
    values = _FIELDS[kind](recipe, seed, rng)
    side = np.exp(rng.uniform(*np.log(FIELD_VOXELS_MM)))
    return MadeImage(kind, _stored(values), np.full(3, side), [])


def _head(recipe: Recipe, seed: int, size: int) -> _Head:
    """Draw heads until one shows most of its brain."""
    for attempt in range(MAX_DRAWS):
        drawn = derived_seed(seed, attempt)
        regions = make_regions(recipe, drawn, (size,) * 3)
        image, inside = render(recipe, regions, drawn)
        brain = labels(recipe, regions)[:INTRACRANIAL].numpy()
        view = _field_of_view(inside.numpy())
        whole, seen = (np.count_nonzero(part[0]) for part in (brain, brain[(slice(None), *view)]))
        if whole and seen >= MIN_SHARE * whole and min(image[view].shape) >= MIN_SIDE:
            break
    return _Head(image.numpy()[view], brain[(slice(None), *view)], regions.numpy()[view])


def _field_of_view(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    where = np.argwhere(inside) if inside.any() else np.zeros((1, 3), int)
    return tuple(map(slice, where.min(0), where.max(0) + 1))


def _scan(
    kind: str,
    values: NDArray[np.floating],
    brains: list[NDArray[np.bool_]],
    rng: np.random.Generator,
) -> MadeImage:
    """Draw a voxel size, which makes the brain as large as a mouse's or a human's; and slices."""
    millilitres = float(np.exp(rng.uniform(*np.log(VOLUMES_ML))))
    voxels = max(1, int(np.count_nonzero(brains[0][0])))
    side = (millilitres * 1000 / voxels) ** (1 / 3)
    voxel_size = np.full(3, side)
    axis, factor = int(rng.integers(3)), int(rng.integers(2, THICKEST + 1))
    if rng.random() < THICK_CHANCE and values.shape[axis] // factor >= MIN_SIDE:
        values = _thick(values, axis, factor)
        brains = [np.stack([_thick(one, axis, factor) > 0.5 for one in brain]) for brain in brains]
        voxel_size[axis] *= factor
    return MadeImage(kind, _stored(values), voxel_size, brains)


def _thick(values: NDArray[np.generic], axis: int, factor: int) -> NDArray[np.float32]:
    """Average neighbouring slices."""
    moved = np.moveaxis(values, axis, 0).astype(np.float32)
    count = len(moved) // factor
    moved = moved[: count * factor].reshape(count, factor, *moved.shape[1:]).mean(1)
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis))


def _stored(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Whole numbers, as scanners store them."""
    values = values - values.min()
    top = float(values.max()) or 1.0
    return np.rint(values * (SCALE / top)).astype(np.float32)


# Heads that are odd.

Odd = tuple['NDArray[np.floating]', 'list[NDArray[np.bool_]]']


def _inverted(recipe: Recipe, seed: int, rng: np.random.Generator) -> Odd:
    """Grey values turned around, those of the background with them or not."""
    head = _head(recipe, seed, SIZES[0])
    top = float(np.percentile(head.values, 99.5))
    values = top - np.minimum(head.values, top)
    if rng.random() < 0.5:
        values = np.where(head.regions == BACKGROUND, 0, values)
    return values, [head.brain]


def _like_ct(recipe: Recipe, seed: int, rng: np.random.Generator) -> Odd:
    """Bright bone, dark air, and next to one grey value in all else; now and then inverted."""
    from scipy import ndimage

    head = _head(recipe, seed, SIZES[0])
    regions = head.regions
    values = np.full(regions.shape, rng.uniform(0.3, 0.6))
    values[regions >= BRAIN] += rng.uniform(-0.02, 0.04)
    values[(regions == SKULL) | (regions == DURA)] = 1.0
    values[(regions == BACKGROUND) | (regions == AIR)] = 0.0
    values = ndimage.gaussian_filter(values, rng.uniform(0.4, 0.8))
    values = values + rng.normal(0, rng.uniform(0.005, 0.03), values.shape)
    return (1 - values if rng.random() < 0.5 else values), [head.brain]


def _in_body(recipe: Recipe, seed: int, rng: np.random.Generator) -> Odd:
    """A small head somewhere in a large body, as that of a fetus."""
    head = _head(recipe, seed, 64)
    side = 128
    body = _limb(recipe, seed, rng, side)
    where = head.regions != BACKGROUND
    low = [int(rng.integers(12, max(13, side - size - 12))) for size in where.shape]
    block = tuple(slice(start, start + size) for start, size in zip(low, where.shape, strict=True))
    level = float(np.percentile(head.values, 98)) or 1.0
    body[block] = np.where(where, rng.uniform(0.5, 1.2) * head.values / level, body[block])
    brain = np.zeros((2, *body.shape), bool)
    brain[(slice(None), *block)] = head.brain
    return body, [brain]


def _two_heads(recipe: Recipe, seed: int, rng: np.random.Generator) -> Odd:
    """Two heads beside each other, each with its own contrast or both the same."""
    first = _head(recipe, seed, 96)
    second = _head(recipe, derived_seed(seed, 99), 96) if rng.random() < 0.5 else first
    shape = np.maximum(first.values.shape, second.values.shape)
    axis = int(rng.integers(3))

    def beside(one: NDArray, other: NDArray) -> NDArray:
        pair = (np.pad(a, [(0, n - m) for n, m in zip(shape, a.shape, strict=True)])
                for a in (one, other))  # fmt: skip
        return np.concatenate(list(pair), axis)

    nothing = [np.zeros_like(head.brain[0]) for head in (first, second)]
    brains = [
        np.stack([beside(one, nothing[1]) for one in first.brain]),
        np.stack([beside(nothing[0], one) for one in second.brain]),
    ]
    return beside(first.values, second.values), brains


_ODD: dict[str, Callable[[Recipe, int, np.random.Generator], Odd]] = {
    'inverted': _inverted,
    'like CT': _like_ct,
    'in a body': _in_body,
    'two heads': _two_heads,
}


# Fields without a brain.


def _grid(side: int) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing='ij'))


def _side(rng: np.random.Generator) -> int:
    return int(rng.integers(*FIELD_SIDES))


def _phantom(recipe: Recipe, seed: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """A ball, an egg, a block or a bottle of one grey value."""
    grid = _grid(_side(rng))
    half = rng.uniform(0.35, 0.85) * rng.uniform(0.75, 1, 3)[:, None, None, None]
    shape = int(rng.integers(4))
    scaled = grid / (half if shape else half.mean())
    if shape < 2:
        body = (scaled**2).sum(0) < 1
    elif shape == 2:
        body = (np.abs(scaled) < 1).all(0)
    else:
        body = (np.hypot(scaled[0], scaled[1]) < 1) & (np.abs(scaled[2]) < 1)
    return _scanned(body.astype(float), rng)


def _nested(recipe: Recipe, seed: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """Bodies within bodies, each of one grey value: a phantom with rods, a fruit, a vessel."""
    grid = _grid(_side(rng))
    centre = rng.uniform(-0.1, 0.1, 3)[:, None, None, None]
    stretch = rng.uniform(0.8, 1.25, 3)[:, None, None, None]
    radius = np.sqrt((((grid - centre) * stretch) ** 2).sum(0))
    values = np.zeros(radius.shape)
    for limit in np.sort(rng.uniform(0.2, 0.9, int(rng.integers(2, 5))))[::-1]:
        values = np.where(radius < limit, rng.uniform(0.1, 1), values)
    for _ in range(int(rng.integers(0, 6))):
        where = rng.uniform(-0.4, 0.4, 3)[:, None, None, None]
        rod = np.hypot(*(grid - where)[[0, 1]]) < rng.uniform(0.03, 0.15)
        values = np.where(rod & (values > 0), rng.uniform(0, 1), values)
    return _scanned(values, rng)


def _noise(recipe: Recipe, seed: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """Noise, white or smooth."""
    from scipy import ndimage

    values = rng.normal(size=(_side(rng),) * 3)
    if rng.random() < 0.6:
        values = ndimage.gaussian_filter(values, rng.uniform(1, 8))
    elif rng.random() < 0.5:
        values = np.hypot(values, rng.normal(size=values.shape))
    return values


def _empty(recipe: Recipe, seed: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """An empty field of view: noise that a coil sees better on its own side."""
    grid = _grid(_side(rng))
    where = rng.uniform(-1, 1, 3)[:, None, None, None]
    coil = np.exp(-rng.uniform(0.5, 3) * ((grid - where) ** 2).sum(0))
    noise = np.hypot(*rng.normal(size=(2, *coil.shape)))
    return rng.uniform(0, 6) * coil + (1 + coil) * noise


def _limb(
    recipe: Recipe, seed: int, rng: np.random.Generator, side: int | None = None
) -> NDArray[np.floating]:
    """Skin, fat, muscles and bones, in no order of a head: a limb, a trunk."""
    from scipy import ndimage

    side = side or _side(rng)
    grid = _grid(side)

    def smooth(cell: float) -> NDArray[np.float64]:
        field = ndimage.gaussian_filter(rng.normal(size=(side,) * 3), cell, mode='wrap')
        return np.asarray(field / field.std())

    axes = rng.permutation(3)
    wobble = 0.08 * smooth(side / 12)
    stretch = rng.uniform(0.7, 1.4)
    radius = np.hypot(grid[axes[0]], grid[axes[1]] * stretch) + wobble
    radius = radius + (rng.random() < 0.5) * 0.3 * np.abs(grid[axes[2]])
    size = rng.uniform(0.55, 0.95)
    count = int(rng.integers(2, 6))
    parts = np.stack([smooth(side / rng.uniform(12, 30)) for _ in range(count)]).argmax(0)
    values = rng.uniform(0.2, 1, count)[parts]
    values = np.where(radius > size - rng.uniform(0.03, 0.15), rng.uniform(0.3, 1), values)
    for _ in range(int(rng.integers(1, 4))):
        where = rng.uniform(-0.35, 0.35, 2)
        bone = np.hypot(grid[axes[0]] - where[0], grid[axes[1]] - where[1]) + 0.5 * wobble
        width = rng.uniform(0.06, 0.22)
        values = np.where(bone < width, rng.uniform(0, 0.3), values)
        values = np.where(bone < width * rng.uniform(0.3, 0.9), rng.uniform(0.2, 1), values)
    return _scanned(np.where(radius < size, values, 0.0), rng)


def _emptied(recipe: Recipe, seed: int, rng: np.random.Generator) -> NDArray[np.floating]:
    """A head that has tissue, or nothing, where its brain would be."""
    import torch

    side = SIZES[0]
    regions = make_regions(recipe, seed, (side,) * 3)
    filling = TISSUE + int(rng.integers(8)) if rng.random() < 0.7 else AIR
    regions = torch.where(regions >= BRAIN, torch.full_like(regions, filling), regions)
    image, inside = render(recipe, regions, seed)
    return np.asarray(image.numpy()[_field_of_view(inside.numpy())])


def _scanned(values: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Blur, shading and noise."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(values, rng.uniform(0.3, 1.2))
    ramp = np.linspace(-0.5, 0.5, values.shape[0])[:, None, None]
    values = values * (1 + rng.uniform(0, 0.8) * ramp)
    spread = np.exp(rng.uniform(*np.log((0.003, 0.15))))
    return np.hypot(values + rng.normal(0, spread, values.shape),
                    rng.normal(0, spread, values.shape))  # fmt: skip


_FIELDS: dict[str, Callable[[Recipe, int, np.random.Generator], NDArray[np.floating]]] = {
    'phantom': _phantom,
    'nested bodies': _nested,
    'noise': _noise,
    'empty field': _empty,
    'limb': _limb,
    'head without a brain': _emptied,
}
