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

from pumba_pipe.extraction.quality import dice
from pumba_pipe.images.grids import Cube, from_cube, to_cube
from pumba_pipe.images.masks import bounding_block, clean
from pumba_pipe.network.devices import half_precision
from pumba_pipe.network.unet import TIGHT, WIDE, members
from pumba_pipe.network.weights import Stage
from pumba_pipe.synthesis.artefacts import quantile, rescale

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTILES = (1.0, 99.0)
BOX_FILL = 0.72  # the brain's longest side over the box's, the middle of what training shows
BOX_TRIES = 3
BOX_RATIO = (0.85, 1.18)  # a box's side over that of the best one, as long as it counts as fitting
BOX_SHIFT = 0.06  # of its side, likewise
BOX_LOGIT = 2.75  # the box is laid around what is surer than this to be inside the wide border
BOX_VIEWS = 2  # as many of the fine views show whether a box fits
WHITE = 0.85  # quantile of the brain's grey values that is white to the fine pass
BRIGHTER = 0.6  # exponent of the grey values in 0..1 for `grey_agreement`
NOT_BRAIN = -12.0  # logit where the fine pass did not look


class View(NamedTuple):
    """How a cube is shown: mirrored along `axes`, its grey values in 0..1 to a power."""

    axes: tuple[int, ...] = ()
    power: float = 1.0


COARSE_VIEWS = (View(), View((0, 1, 2)))
# Networks take turns: of three, the second sees brightened views only, the third one of two. What
# is dim, far from a coil or in a blurred image, is more often brain to them then.
FINE_VIEWS = (
    View(), View((0,), 0.7), View((0, 1)),
    View((1, 2)), View((0, 1, 2), 0.7), View((2,), 0.7),
)  # fmt: skip


@dataclass(frozen=True)
class Sight:
    """A cube of the image.

    Attributes
    ----------
    cube : Cube
    values : Tensor, shape (size, size, size)
        The image in the cube, in its own grey values.
    shown : Tensor, shape (size, size, size)
        The same as the network sees it, in 0..1.
    inside : Tensor of bool, shape (size, size, size)
        The field of view.
    """

    cube: Cube
    values: Tensor
    shown: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Pass(Sight):
    """One look of a stage at a cube.

    Attributes
    ----------
    logits : Tensor, shape (borders, size, size, size)
        Mean over mirrored images, and over the networks that saw them.
    flip_agreement : float
    """

    logits: Tensor
    flip_agreement: float

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of what is brain beyond doubt, or at least likeliest.

        Neck and face draw a doubtful answer more often than a sure one: a box around all that
        is likely would take them in, and the fine pass would see a smaller brain than it knows.
        """
        visible = torch.where(self.inside, self.logits[WIDE], torch.tensor(NOT_BRAIN))
        threshold = min(BOX_LOGIT, float(visible.max()) - 1.0)
        return clean((visible > threshold).cpu().numpy())[0]

    @cached_property
    def likely(self) -> NDArray[np.bool_]:
        """Cleaned mask on the cube's grid of all that lies within the wide border."""
        return clean(((self.logits[WIDE] > 0) & self.inside).cpu().numpy())[0]

    @property
    def volume(self) -> float:
        """Of what lies within the wide border, in millilitres."""
        count = int(((self.logits[WIDE] > 0) & self.inside).sum())
        return count * self.cube.voxel**3 / 1000


def look(
    stage: Stage,
    data: Tensor,
    voxel_size: NDArray[np.float64],
    cube: Cube,
    views: Sequence[View],
    white: float = math.inf,
) -> Pass:
    """Run a stage on a cube of the image, once for each view of it."""
    sight = shown(data, voxel_size, cube, white)
    return averaged(sight, ask(stage, sight, enough(views, stage)))


def enough(views: Sequence[View], stage: Stage) -> list[View]:
    """Views over again, where there are more networks, so that each of them sees one."""
    count = max(len(views), len(members(stage.network)))
    return list(islice(cycle(views), count))


def look_closer(stage: Stage, data: Tensor, voxel_size: NDArray[np.float64], coarse: Pass) -> Pass:
    """Run the fine pass on a box around the brain, and again while the box does not fit.

    Two of the views show whether it does: the others are left for the box that is kept.
    """
    white = white_point(coarse.values, torch.from_numpy(coarse.likely))
    views = enough(FINE_VIEWS, stage)
    result, sight, answers = coarse, None, []
    for _ in range(BOX_TRIES):
        if not result.mask.any():
            break
        box = box_around(result.mask, result.cube, stage.size)
        if sight is not None and fits(box, sight.cube):
            break
        sight = shown(data, voxel_size, box, white)
        answers = ask(stage, sight, views[:BOX_VIEWS])
        result = averaged(sight, answers)
    if sight is None:
        return coarse
    answers += ask(stage, sight, views[BOX_VIEWS:], BOX_VIEWS)
    return averaged(sight, answers)


def shown(
    data: Tensor, voxel_size: NDArray[np.float64], cube: Cube, white: float = math.inf
) -> Sight:
    """Sample a cube of the image, and bring its grey values to the network's scale."""
    values, inside = to_cube(data, voxel_size, cube)
    return Sight(cube, values, rescale(values.clamp(max=white), inside, PERCENTILES), inside)


def ask(stage: Stage, sight: Sight, views: Sequence[View], first: int = 0) -> list[Tensor]:
    """Logits of a stage, (borders, size, size, size), for each view of a cube.

    The networks of a committee take turns, beginning with the one whose turn is `first`: to show
    every view to each of them costs as many times more and says hardly more.
    """
    networks = members(stage.network.to(sight.shown.device))
    answers = []
    for turn, view in enumerate(views, first):
        network = networks[turn % len(networks)]
        image = sight.shown.flip(view.axes) ** view.power
        with half_precision(sight.shown.device):
            logits = network(image[None, None])[0]
        back = [1 + axis for axis in view.axes]
        answers.append(logits.float().flip(back).clamp(-10, 10))
    return answers


def averaged(sight: Sight, answers: Sequence[Tensor]) -> Pass:
    """Average the answers to several views."""
    mean = torch.stack(list(answers)).mean(0)
    inside = sight.inside
    masks = [((answer[WIDE] > 0) & inside).cpu().numpy() for answer in answers]
    together = ((mean[WIDE] > 0) & inside).cpu().numpy()
    agreement = float(np.mean([dice(mask, together) for mask in masks]))
    return Pass(sight.cube, sight.values, sight.shown, inside, mean, agreement)


def white_point(values: Tensor, brain: Tensor) -> float:
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
    return quantile(inner, WHITE) if inner.numel() else math.inf


def grey_agreement(stage: Stage, answer: Pass) -> float:
    """Dice overlap of the answer to a brightened image with the answer: 1 is the same mask.

    Where the network is led by grey values more than by shape, as in muscle right on a small
    brain, the border moves with the grey scale. Of a committee the second is asked, which sees
    brightened views only: what moves its border still is doubtful, and on real scans that told
    good masks from poor ones better than the answer of all (docs/experiments.md).
    """
    (logits,) = ask(stage, answer, [View(power=BRIGHTER)], first=1)
    brightened = replace(answer, logits=logits)
    return dice(brightened.likely, answer.likely)


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
    answer: Pass, tight: float, shape: tuple[int, ...], voxel_size: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sample a pass at the image's own voxels, shape (x, y, z).

    `tight` is the share of the tight border, 0..1; the rest is the wide one's.
    """
    logits = np.full(tuple(shape), NOT_BRAIN, np.float32)
    mixed = torch.lerp(answer.logits[WIDE], answer.logits[TIGHT], tight)
    values, block = from_cube(mixed, tuple(shape), voxel_size, answer.cube)
    logits[block] = values.cpu().numpy()
    return logits
