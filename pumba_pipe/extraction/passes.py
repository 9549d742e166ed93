"""The coarse pass over the whole field of view and the fine pass around the brain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.images.grids import Block, Cube, to_cube
from pumba_pipe.images.intensity import quantiles, rescale_block
from pumba_pipe.images.masks import bounding_block, clean, dice
from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, WITHOUT_CSF

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pumba_pipe.network.engine import Engine

BOX_FILL = 0.72  # the brain's longest side over the box's, the middle of what training shows
BOX_TRIES = 3
BOX_RATIO = (0.85, 1.18)  # a box's side over that of the best one, as long as it counts as fitting
BOX_SHIFT = 0.06  # of its side, likewise
BOX_LOGIT = 2.75  # the box is laid around what is surer than this to be inside the wide border
BOX_VIEWS = 1  # as many of the fine views show whether a box fits
CEILING_QUANTILE = 0.85  # quantile of the brain's grey values that is white to the fine pass
BRIGHTER = 0.6  # exponent of the grey values in 0..1, in a brightened view
NOT_BRAIN = -12.0  # logit where the fine pass did not look


class TtaView(NamedTuple):
    """How a cube is shown: mirrored along `axes`, its grey values in 0..1 to a power."""

    axes: tuple[int, ...] = ()
    power: float = 1.0


COARSE_VIEWS = (TtaView(), TtaView((0, 1, 2)))
# What is dim, far from a coil or in a blurred image, is more often brain in a brightened view.
FINE_VIEWS = (TtaView(), TtaView((0, 1, 2), BRIGHTER))


@dataclass(frozen=True)
class CubeSample:
    """A cube of the image.

    Attributes
    ----------
    cube : Cube
    values : ndarray of float32, shape (size, size, size)
        The image in the cube, in its own grey values.
    scaled : ndarray of float32, shape (size, size, size)
        The same as the network sees it, in 0..1.
    inside : three slices
        The field of view.
    """

    cube: Cube
    values: NDArray[np.float32]
    scaled: NDArray[np.float32]
    inside: Block


@dataclass(frozen=True)
class Pass(CubeSample):
    """One look of a stage at a cube.

    Attributes
    ----------
    logits : ndarray of float32, shape (borders, size, size, size)
        Mean over the views.
    tta_dice : float
        Mean Dice overlap of the views' predictions with the mean.
    gamma_dice : float
        Dice overlap of the prediction for brightened views with that for the others; 1 where
        no view was brightened. Where the network is led by grey values more than by shape, as in
        muscle right on a small brain, the border moves with the grey scale.
    """

    logits: NDArray[np.float32]
    tta_dice: float
    gamma_dice: float = 1.0

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of what is brain beyond doubt, or at least likeliest.

        Neck and face draw a doubtful prediction more often than a sure one: a box around all that
        is likely would take them in, and the fine pass would see a smaller brain than it knows.
        """
        visible = self._wide
        top = float(visible.max()) if visible.size else NOT_BRAIN
        return self._mask_above(min(BOX_LOGIT, top - 1.0))

    @cached_property
    def likely(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of all that lies within the wide border."""
        return self._mask_above(0.0)

    @property
    def volume(self) -> float:
        """Of what lies within the wide border, in millilitres."""
        return int(np.count_nonzero(self._wide > 0)) * self.cube.voxel**3 / 1000

    @property
    def _wide(self) -> NDArray[np.float32]:
        """Logits of the wide border in the field of view."""
        return self.logits[WITH_CSF][self.inside]

    @property
    def within(self) -> NDArray[np.bool_]:
        """All that lies within the wide border, on the cube's grid."""
        mask = np.zeros([self.cube.size] * 3, bool)
        mask[self.inside] = self._wide > 0
        return mask

    @property
    def intracranial(self) -> NDArray[np.float32] | None:
        """Logits of the intracranial space, (size, size, size); None where it is not predicted."""
        return self.logits[INTRACRANIAL] if len(self.logits) > INTRACRANIAL else None

    @property
    def intracranial_ml(self) -> float | None:
        """Volume of the intracranial space in millilitres; None where it is not predicted."""
        if self.intracranial is None:
            return None
        inner = self.intracranial[self.inside] > 0
        return int(np.count_nonzero(clean(inner)[0])) * self.cube.voxel**3 / 1000

    def _mask_above(self, threshold: float) -> NDArray[np.bool_]:
        mask = np.zeros([self.cube.size] * 3, bool)
        mask[self.inside] = clean(self._wide > threshold)[0]
        return mask

    def without_image(self) -> Pass:
        """What was predicted, without the image, which takes as much memory again."""
        nothing = np.empty(0, np.float32)
        return replace(self, values=nothing, scaled=nothing)

    def mixed(self, tight: float) -> NDArray[np.float32]:
        """Logits of the border that is asked for, shape (size, size, size).

        `tight` is the share of the tight border, 0..1; the rest is the wide one's.
        """
        wide, narrow = self.logits[WITH_CSF], self.logits[WITHOUT_CSF]
        return wide + np.float32(tight) * (narrow - wide)


def run_pass(
    engine: Engine,
    data: NDArray[np.float32],
    voxel_size: NDArray[np.float64],
    cube: Cube,
    views: Sequence[TtaView],
    ceiling: float = math.inf,
) -> Pass:
    """Run a stage on a cube of the image, once for each view of it."""
    predictions = Predictions(engine, sample_cube(data, voxel_size, cube, ceiling))
    predictions.add(views)
    return predictions.averaged()


def run_fine_pass(
    engine: Engine, data: NDArray[np.float32], voxel_size: NDArray[np.float64], coarse: Pass
) -> Pass:
    """Run the fine pass on a box around the brain, and again while the box does not fit.

    The first of the views shows whether it does: the others are left for the box that is kept.
    """
    ceiling = intensity_ceiling(coarse.values, coarse.likely)
    result, predictions = coarse, None
    for _ in range(BOX_TRIES):
        if not result.mask.any():
            break
        box = box_around(result.mask, result.cube, engine.size)
        if predictions is not None and fits(box, result.cube):
            break
        predictions = Predictions(engine, sample_cube(data, voxel_size, box, ceiling))
        predictions.add(FINE_VIEWS[:BOX_VIEWS])
        result = predictions.averaged()
    if predictions is None:
        return coarse
    predictions.add(FINE_VIEWS[BOX_VIEWS:])
    return predictions.averaged()


def sample_cube(
    data: NDArray[np.float32],
    voxel_size: NDArray[np.float64],
    cube: Cube,
    ceiling: float = math.inf,
) -> CubeSample:
    """Sample a cube of the image, and bring its grey values to the network's scale."""
    values, inside = to_cube(data, voxel_size, cube)
    clipped = np.minimum(values, np.float32(ceiling))
    return CubeSample(cube, values, rescale_block(clipped, inside), inside)


def predict_view(engine: Engine, sample: CubeSample, view: TtaView) -> NDArray[np.float32]:
    """Logits, (borders, size, size, size), for one view of a cube."""
    image = np.flip(sample.scaled, view.axes)
    if view.power != 1:
        image = image ** np.float32(view.power)
    logits = engine.predict(np.ascontiguousarray(image))
    return np.flip(logits, tuple(1 + axis for axis in view.axes))


class Predictions:
    """What a stage predicts for views of a cube, one after the other: their sum is kept."""

    def __init__(self, engine: Engine, sample: CubeSample) -> None:
        self.engine, self.sample = engine, sample
        self.masks: list[NDArray[np.bool_]] = []
        self.plain, self.brightened = _Sum(), _Sum()

    def add(self, views: Sequence[TtaView]) -> None:
        """Predict further views."""
        for view in views:
            logits = predict_view(self.engine, self.sample, view)
            self.masks.append(self._within(logits))
            (self.plain if view.power == 1 else self.brightened).add(logits)

    def averaged(self) -> Pass:
        """Average the predictions there are."""
        sample, plain, brightened = self.sample, self.plain, self.brightened
        gamma_dice = 1.0
        if plain.count and brightened.count:
            gamma_dice = dice(self._within(plain.total), self._within(brightened.total))
        mean = plain.mean_with(brightened)
        together = self._within(mean)
        agreement = float(np.mean([dice(mask, together) for mask in self.masks]))
        return Pass(
            sample.cube, sample.values, sample.scaled, sample.inside, mean, agreement, gamma_dice
        )

    def _within(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """What lies within the wide border, in the field of view."""
        return logits[WITH_CSF][self.sample.inside] > 0


class _Sum:
    """A sum of logits, and of how many. It never changes an array: a cube of them is large."""

    def __init__(self) -> None:
        self.total: NDArray[np.float32] = np.float32(0)  # type: ignore[assignment]
        self.count = 0

    def add(self, logits: NDArray[np.float32]) -> None:
        self.total = self.total + logits if self.count else logits
        self.count += 1

    def mean_with(self, other: _Sum) -> NDArray[np.float32]:
        """Mean of what was added to either; not for the caller to change."""
        first, second = (self, other) if self.count else (other, self)
        if first.count == 1 and not second.count:
            return first.total
        mean = first.total + second.total
        mean /= np.float32(first.count + second.count)
        return mean


def intensity_ceiling(
    values: NDArray[np.float32] | Tensor, brain: NDArray[np.bool_] | Tensor
) -> float:
    """Grey value above which the fine pass sees nothing but white.

    In many images of heads fat is several times as bright as the brain. On the scale from the
    darkest to the brightest the brain is dark then and its border faint, and the network takes
    what lies between brain and fat, such as the muscles of a neck, for brain.

    Parameters
    ----------
    values : ndarray or Tensor, shape (x, y, z)
    brain : ndarray or Tensor of bool, shape (x, y, z)
        What is likely brain.
    """
    inner = values[brain]
    return quantiles(inner, [CEILING_QUANTILE])[0] if len(inner) else math.inf


def box_around(mask: NDArray[np.bool_], cube: Cube, size: int) -> Cube:
    """A cube in which the mask's longest side fills `BOX_FILL`."""
    block = bounding_block(mask)
    low = np.array([span.start for span in block]) * cube.voxel + cube.low
    high = np.array([span.stop for span in block]) * cube.voxel + cube.low
    return Cube((low + high) / 2, float((high - low).max()) / BOX_FILL, size)


def fits(wanted: Cube, present: Cube) -> bool:
    """Whether a box is near enough to the one that would be chosen now."""
    ratio = wanted.side / present.side
    moved = float(np.abs(wanted.centre - present.centre).max()) / present.side
    return BOX_RATIO[0] < ratio < BOX_RATIO[1] and moved < BOX_SHIFT
