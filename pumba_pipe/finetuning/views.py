"""Labelled real images -> training batches, mixed with synthetic ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.passes import BOX_FILL, BOX_RATIO, BOX_SHIFT, intensity_ceiling
from pumba_pipe.images.grids import Cube, to_cube, whole_cube
from pumba_pipe.images.intensity import rescale
from pumba_pipe.images.masks import bounding_block
from pumba_pipe.network.unet import BORDERS
from pumba_pipe.synthesis import artefacts, draw
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import Recipe, curriculum_recipe, load_recipe
from pumba_pipe.training.samples import (
    MIN_CONTRAST,
    MIN_VISIBLE,
    OVERSAMPLING,
    SHIFT,
    ZOOM,
    Batch,
    SampleGenerator,
    concatenated,
)
from pumba_pipe.training.state import TrainingConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYNTHETIC_SHARE = 0.5
HELD_OUT_SHARE = 0.25
MIN_TO_HOLD_OUT = 4  # cases; of fewer, none can be spared
WARM_UP = 20  # steps
P_ROTATION, DEGREES = 0.5, 15.0  # share of views that are turned, and by how much at most
P_ARTEFACTS = 0.7  # share of views that get a bias field, noise and the like


@dataclass(frozen=True, eq=False)
class LabelledHead:
    """A real image with its brain, in memory.

    Attributes
    ----------
    subject : str
        Cases of one subject are never on both sides of a split.
    digest : str
        Of the image file: tells later whether weights have seen an image.
    image : Tensor of float32, shape (x, y, z)
        Axes in the order in which extraction reads every image.
    mask : Tensor of bool, shape (x, y, z)
        Not empty.
    voxel_size : ndarray, shape (3,)
        In millimetres.
    """

    subject: str
    digest: str
    image: Tensor
    mask: Tensor
    voxel_size: NDArray[np.float64]

    def whole(self, size: int) -> Cube:
        """The cube that the coarse pass sees."""
        return whole_cube(tuple(self.image.shape), self.voxel_size, size)

    def box(self, size: int) -> Cube:
        """The cube that the fine pass sees where the coarse one was right."""
        low, high = self._corners
        return Cube((low + high) / 2, float((high - low).max()) / BOX_FILL, size)

    @cached_property
    def ceiling(self) -> float:
        """What is white to the fine pass where the coarse one was right."""
        return intensity_ceiling(self.image, self.mask)

    @cached_property
    def _corners(self) -> NDArray[np.float64]:
        """Of the brain, in millimetres, shape (2, 3)."""
        block = bounding_block(self.mask.numpy())
        return np.array([(span.start, span.stop) for span in block]).T * self.voxel_size


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What a network is adapted to.

    Attributes
    ----------
    heads : tuple of LabelledHead
        To train on.
    held_out : tuple of LabelledHead
        To choose the best weights by; may be empty.
    synthetic_share : float
        Share of samples that are synthetic heads, 0..1.
    """

    heads: tuple[LabelledHead, ...]
    held_out: tuple[LabelledHead, ...] = ()
    synthetic_share: float = SYNTHETIC_SHARE

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic_share < 1:
            raise InputError(
                f'synthetic share {self.synthetic_share:g}: must be at least 0 and below 1'
            )

    @property
    def needs_synthetic(self) -> bool:
        """Whether any sample is a synthetic head."""
        return self.synthetic_share > 0

    @property
    def digests(self) -> list[str]:
        """Of all images, also those that only chose between weights."""
        return sorted(head.digest for head in (*self.heads, *self.held_out))

    def described(self, best: tuple[int, float] | None) -> dict[str, Any]:
        """Plain values for the card; `best` is the step of the kept weights, and their Dice."""
        described = {
            'cases': len(self.heads),
            'subjects': len({head.subject for head in self.heads}),
            'held_out': len(self.held_out),
            'synthetic_share': self.synthetic_share,
        }
        return described | ({'kept_step': best[0], 'kept_dice': best[1]} if best else {})


def split(
    heads: Sequence[LabelledHead], share: float = HELD_OUT_SHARE
) -> tuple[tuple[LabelledHead, ...], tuple[LabelledHead, ...]]:
    """Hold some cases out, whole subjects at a time, those with the fewest cases first.

    Parameters
    ----------
    heads : sequence of LabelledHead
    share : float
        At least this share of the cases is held out; 0 for none. Below four cases, or with one
        subject alone, nothing is.

    Returns
    -------
    heads, held_out : tuple of LabelledHead
    """
    if not 0 <= share < 1:
        raise InputError(f'share {share:g} to hold out: must be at least 0 and below 1')
    subjects: dict[str, list[LabelledHead]] = defaultdict(list)
    for head in heads:
        subjects[head.subject].append(head)
    held_out: list[LabelledHead] = []
    if share > 0 and len(heads) >= MIN_TO_HOLD_OUT:
        order = sorted(subjects, key=lambda name: (len(subjects[name]), name))
        for name in order[:-1]:
            if len(held_out) < share * len(heads):
                held_out += subjects.pop(name)
    return tuple(head for part in subjects.values() for head in part), tuple(held_out)


def inference_view(head: LabelledHead, cube: Cube, box: bool) -> Batch:
    """Bring an image and its brain into a cube, exactly as extraction does; a batch of one."""
    image, target, inside = _sampled(head, cube, box)
    return _batch(rescale(image, inside), target, inside)


def _sampled(head: LabelledHead, cube: Cube, box: bool) -> tuple[Tensor, Tensor, Tensor]:
    image, inside = to_cube(head.image, head.voxel_size, cube)
    if box:
        image = image.clamp(max=head.ceiling)
    target, _ = to_cube(head.mask.float(), head.voxel_size, cube)
    return image, target, inside


def _batch(image: Tensor, target: Tensor, inside: Tensor) -> Batch:
    shown = inside.float()
    # Sums of weights in single precision may end a little above one. Both borders of the network
    # come to lie where a person has drawn the one.
    target = target.clamp(0, 1).expand(BORDERS, *target.shape)
    return Batch((image * shown)[None, None], target[None], shown[None, None])


def augmented_view(head: LabelledHead, size: int, box: bool, recipe: Recipe, seed: int) -> Batch:
    """Draw a training view of an image: where and how large the cube is, turns, flips, artefacts.

    A box lies as far off as the fine pass lets one lie. Half of the views are turned, which costs
    a second resampling; the others are sampled once, as in extraction.
    """
    rng = draw.seeded(derived_seed(seed, 31))
    cube = moved(head.box(size) if box else head.whole(size), rng, box)
    if draw.chance(rng, P_ROTATION):
        image, target, inside = _rotated(head, cube, box, rng)
    else:
        image, target, inside = _sampled(head, cube, box)
    flips = [axis for axis in range(3) if draw.chance(rng, 0.5)]
    image, target, inside = (part.flip(flips) for part in (image, target, inside))
    if draw.chance(rng, P_ARTEFACTS):
        image, inside = add_artefacts(rescale(image, inside), inside, recipe, rng)
    return _batch(rescale(image, inside), target, inside)


def moved(cube: Cube, rng: torch.Generator, box: bool) -> Cube:
    """Draw another size and place of a cube: of a box as far as it still fits the brain."""
    ratio, shift = (BOX_RATIO, BOX_SHIFT) if box else (ZOOM, SHIFT)
    side = cube.side / draw.uniform(rng, *ratio)
    offset = np.array([draw.uniform(rng, -shift, shift) for _ in range(3)]) * cube.side
    return Cube(cube.centre + offset, side, cube.size)


def _rotated(
    head: LabelledHead, cube: Cube, box: bool, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample a somewhat larger cube and turn it; what comes from beyond it is not inside."""
    size = 2 * round(cube.size * OVERSAMPLING / 2)
    wide = Cube(cube.centre, cube.voxel * size, size)
    stack = torch.stack([part.float() for part in _sampled(head, wide, box)])[None]
    matrix = torch.cat([draw.turn(rng, DEGREES) * (cube.size / size), torch.zeros(3, 1)], 1)
    grid = F.affine_grid(matrix[None], [1, 3, *[cube.size] * 3], align_corners=False)
    image, target, inside = F.grid_sample(stack, grid, align_corners=False)[0]
    return image, target, inside > 0.99


def add_artefacts(
    image: Tensor, inside: Tensor, recipe: Recipe, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add a recipe's artefacts to an image in 0..1 and cut its field of view."""
    drawn = artefacts.draw_artefacts(recipe, rng)
    image = artefacts.apply_coil(image, drawn.coil)
    image = artefacts.acquire(image, drawn.sampling, drawn.k_space, drawn.receiver)
    view = artefacts.fov_mask(image.shape, drawn.low, drawn.high, image.device)
    return image, inside & view


class MixedSource:
    """Draws samples from labelled heads, and from another source what is left to synthetic ones.

    Parameters
    ----------
    adaptation : Adaptation
    config : TrainingConfig
    inner : HeadCacheSource or StreamSource
        Of synthetic heads.
    device : torch.device
    """

    def __init__(
        self, adaptation: Adaptation, config: TrainingConfig, inner: Any, device: torch.device
    ) -> None:
        self.adaptation, self.config, self.inner, self.device = adaptation, config, inner, device
        # The images have artefacts of their own: few are added.
        self.recipe = curriculum_recipe(load_recipe('default'))

    @property
    def feed(self) -> SampleGenerator:
        """How synthetic samples are made."""
        return self.inner.feed

    @feed.setter
    def feed(self, feed: SampleGenerator) -> None:
        self.inner.feed = feed

    def batch(self, seeds: Sequence[int]) -> Batch:
        """Make one batch, sample `i` from ``seeds[i]`` alone."""
        return concatenated([self._draw_sample(seed) for seed in seeds])

    def _draw_sample(self, seed: int) -> Batch:
        rng = draw.seeded(derived_seed(seed, 30))
        if draw.chance(rng, self.adaptation.synthetic_share):
            return self.inner.batch([seed])
        heads, box = self.adaptation.heads, draw.chance(rng, self.config.box_share)
        head = heads[draw.integer(rng, 0, len(heads) - 1)]
        for attempt in range(8):
            batch = augmented_view(
                head, self.config.size, box, self.recipe, derived_seed(seed, attempt)
            )
            visible = (batch.target * batch.inside).mean()
            if visible > MIN_VISIBLE and batch.image.std() > MIN_CONTRAST:
                break
        return Batch(*(part.to(self.device) for part in batch))


def adapted(config: TrainingConfig) -> TrainingConfig:
    """Shorten the warm-up to what suits a run of few steps."""
    return replace(config, warm_up=WARM_UP)
