"""The coarse pass over the whole field of view and the fine pass around the brain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pumba_pipe.images.grids import Cube, from_cube, to_cube
from pumba_pipe.images.intensity import quantile, rescale
from pumba_pipe.images.masks import bounding_block, clean, dice
from pumba_pipe.network.devices import half_precision
from pumba_pipe.network.unet import WITH_CSF, WITHOUT_CSF, members
from pumba_pipe.network.weights import Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOX_FILL = 0.72  # the brain's longest side over the box's, the middle of what training shows
BOX_TRIES = 3
BOX_RATIO = (0.85, 1.18)  # a box's side over that of the best one, as long as it counts as fitting
BOX_SHIFT = 0.06  # of its side, likewise
BOX_LOGIT = 2.75  # the box is laid around what is surer than this to be inside the wide border
BOX_VIEWS = 2  # as many of the fine views show whether a box fits
CEILING_QUANTILE = 0.85  # quantile of the brain's grey values that is white to the fine pass
BRIGHTER = 0.6  # exponent of the grey values in 0..1 for `gamma_dice`
NOT_BRAIN = -12.0  # logit where the fine pass did not look


class TtaView(NamedTuple):
    """How a cube is shown: mirrored along `axes`, its grey values in 0..1 to a power."""

    axes: tuple[int, ...] = ()
    power: float = 1.0


COARSE_VIEWS = (TtaView(), TtaView((0, 1, 2)))
# Networks take turns: of three, the second sees brightened views only, the third one of two. What
# is dim, far from a coil or in a blurred image, is more often brain to them then.
FINE_VIEWS = (
    TtaView(), TtaView((0,), 0.7), TtaView((0, 1)),
    TtaView((1, 2)), TtaView((0, 1, 2), 0.7), TtaView((2,), 0.7),
)  # fmt: skip


@dataclass(frozen=True)
class CubeSample:
    """A cube of the image.

    Attributes
    ----------
    cube : Cube
    values : Tensor, shape (size, size, size)
        The image in the cube, in its own grey values.
    scaled : Tensor, shape (size, size, size)
        The same as the network sees it, in 0..1.
    inside : Tensor of bool, shape (size, size, size)
        The field of view.
    """

    cube: Cube
    values: Tensor
    scaled: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Pass(CubeSample):
    """One look of a stage at a cube.

    Attributes
    ----------
    logits : Tensor, shape (borders, size, size, size)
        Mean over mirrored images, and over the networks that saw them.
    tta_dice : float
    """

    logits: Tensor
    tta_dice: float

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of what is brain beyond doubt, or at least likeliest.

        Neck and face draw a doubtful prediction more often than a sure one: a box around all that
        is likely would take them in, and the fine pass would see a smaller brain than it knows.
        """
        visible = torch.where(self.inside, self.logits[WITH_CSF], torch.tensor(NOT_BRAIN))
        threshold = min(BOX_LOGIT, float(visible.max()) - 1.0)
        return clean((visible > threshold).cpu().numpy())[0]

    @cached_property
    def likely(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of all that lies within the wide border."""
        return clean(((self.logits[WITH_CSF] > 0) & self.inside).cpu().numpy())[0]

    @property
    def volume(self) -> float:
        """Of what lies within the wide border, in millilitres."""
        count = int(((self.logits[WITH_CSF] > 0) & self.inside).sum())
        return count * self.cube.voxel**3 / 1000


def run_pass(
    stage: Stage,
    data: Tensor,
    voxel_size: NDArray[np.float64],
    cube: Cube,
    views: Sequence[TtaView],
    ceiling: float = math.inf,
) -> Pass:
    """Run a stage on a cube of the image, once for each view of it."""
    sample = sample_cube(data, voxel_size, cube, ceiling)
    return averaged(sample, predict_views(stage, sample, views_for(views, stage)))


def views_for(views: Sequence[TtaView], stage: Stage) -> list[TtaView]:
    """Views over again, where there are more networks, so that each of them sees one."""
    count = max(len(views), len(members(stage.network)))
    return list(islice(cycle(views), count))


def run_fine_pass(
    stage: Stage, data: Tensor, voxel_size: NDArray[np.float64], coarse: Pass
) -> Pass:
    """Run the fine pass on a box around the brain, and again while the box does not fit.

    Two of the views show whether it does: the others are left for the box that is kept.
    """
    ceiling = intensity_ceiling(coarse.values, torch.from_numpy(coarse.likely))
    views = views_for(FINE_VIEWS, stage)
    result, sample, predictions = coarse, None, []
    for _ in range(BOX_TRIES):
        if not result.mask.any():
            break
        box = box_around(result.mask, result.cube, stage.size)
        if sample is not None and fits(box, sample.cube):
            break
        sample = sample_cube(data, voxel_size, box, ceiling)
        predictions = predict_views(stage, sample, views[:BOX_VIEWS])
        result = averaged(sample, predictions)
    if sample is None:
        return coarse
    predictions += predict_views(stage, sample, views[BOX_VIEWS:], BOX_VIEWS)
    return averaged(sample, predictions)


def sample_cube(
    data: Tensor, voxel_size: NDArray[np.float64], cube: Cube, ceiling: float = math.inf
) -> CubeSample:
    """Sample a cube of the image, and bring its grey values to the network's scale."""
    values, inside = to_cube(data, voxel_size, cube)
    return CubeSample(cube, values, rescale(values.clamp(max=ceiling), inside), inside)


def predict_views(
    stage: Stage, sample: CubeSample, views: Sequence[TtaView], first: int = 0
) -> list[Tensor]:
    """Logits of a stage, (borders, size, size, size), for each view of a cube.

    The networks of a committee take turns, beginning with the one whose turn is `first`: to show
    every view to each of them costs as many times more and says hardly more.
    """
    networks = members(stage.network.to(sample.scaled.device))
    predictions = []
    for turn, view in enumerate(views, first):
        network = networks[turn % len(networks)]
        image = sample.scaled.flip(view.axes) ** view.power
        with half_precision(sample.scaled.device):
            logits = network(image[None, None])[0]
        back = [1 + axis for axis in view.axes]
        predictions.append(logits.float().flip(back).clamp(-10, 10))
    return predictions


def averaged(sample: CubeSample, predictions: Sequence[Tensor]) -> Pass:
    """Average the predictions to several views."""
    mean = torch.stack(list(predictions)).mean(0)
    inside = sample.inside
    masks = [((prediction[WITH_CSF] > 0) & inside).cpu().numpy() for prediction in predictions]
    together = ((mean[WITH_CSF] > 0) & inside).cpu().numpy()
    agreement = float(np.mean([dice(mask, together) for mask in masks]))
    return Pass(sample.cube, sample.values, sample.scaled, inside, mean, agreement)


def intensity_ceiling(values: Tensor, brain: Tensor) -> float:
    """Grey value above which the fine pass sees nothing but white.

    In many images of heads fat is several times as bright as the brain. On the scale from the
    darkest to the brightest the brain is dark then and its border faint, and the network takes
    what lies between brain and fat, such as the muscles of a neck, for brain.

    Parameters
    ----------
    values : Tensor, shape (x, y, z)
    brain : Tensor of bool, shape (x, y, z)
        What is likely brain.
    """
    inner = values[brain.to(values.device)]
    return quantile(inner, CEILING_QUANTILE) if inner.numel() else math.inf


def gamma_dice(stage: Stage, prediction: Pass) -> float:
    """Dice overlap of the predictions of the brightened image and of the image as it is.

    Where the network is led by grey values more than by shape, as in muscle right on a small
    brain, the border moves with the grey scale. Of a committee the second is asked, which sees
    brightened views only: what moves its border still is doubtful, and on real scans that told
    good masks from poor ones better than the prediction of all (docs/experiments.md).
    """
    (logits,) = predict_views(stage, prediction, [TtaView(power=BRIGHTER)], first=1)
    brightened = replace(prediction, logits=logits)
    return dice(brightened.likely, prediction.likely)


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


def native_logits(
    prediction: Pass, tight: float, shape: tuple[int, ...], voxel_size: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sample a pass at the image's own voxels, shape (x, y, z).

    `tight` is the share of the tight border, 0..1; the rest is the wide one's.
    """
    logits = np.full(tuple(shape), NOT_BRAIN, np.float32)
    mixed = torch.lerp(prediction.logits[WITH_CSF], prediction.logits[WITHOUT_CSF], tight)
    values, block = from_cube(mixed, tuple(shape), voxel_size, prediction.cube)
    logits[block] = values.cpu().numpy()
    return logits
