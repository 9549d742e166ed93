"""From heads to training batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pumba_pipe.images.resampling import apply_separable, zoom_matrix
from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import Recipe, curriculum_recipe
from pumba_pipe.synthesis.sample import labels, make_regions, render
from pumba_pipe.training.stage_settings import StageSettings

# Heads are made on a finer grid than the network sees, so that resampling them, as real images
# are resampled, mixes tissues within a voxel.
OVERSAMPLING = 7 / 6
ZOOM = (0.88, 1.22)
SHIFT = 0.08
MIN_VISIBLE = 0.001  # share of the cube
MIN_CONTRAST = 0.02


class Batch(NamedTuple):
    """What one training step sees.

    Attributes
    ----------
    image, inside : Tensor, shape (batch, 1, size, size, size)
    target : Tensor, shape (batch, 2, size, size, size)
    """

    image: Tensor
    target: Tensor
    inside: Tensor


@dataclass(frozen=True)
class SampleGenerator:
    """How training samples are made.

    Attributes
    ----------
    recipe : Recipe
    size : int
        Side of the cube the network sees.
    box_share : float
        Share of views that show a box around the brain instead of a whole head.
    renderings : int
        Images of each head in one view, in contrasts and with artefacts of their own.
    """

    recipe: Recipe
    size: int
    box_share: float
    renderings: int = 1

    @property
    def head_size(self) -> int:
        """Side of the grid heads are made on."""
        return 2 * round(self.size * OVERSAMPLING / 2)

    def make_label_map(self, seed: int, device: torch.device | str = 'cpu') -> Tensor:
        """Make the region map of one head, uint8, a cube of side `head_size`."""
        box = draw.chance(draw.seeded(derived_seed(seed, 7)), self.box_share)
        return make_regions(self.recipe, seed, (self.head_size,) * 3, device, box)

    def make_sample(self, regions: Tensor, seed: int) -> Batch:
        """Make training pairs of a head: turned, rendered, zoomed; a batch of `renderings`."""
        first, view = self._visible_sample(regions, seed)
        others = [
            self._visible_sample(regions, derived_seed(seed, 9, index), view)[0]
            for index in range(1, self.renderings)
        ]
        return concatenated([first, *others])

    def _visible_sample(
        self, regions: Tensor, seed: int, view: int | None = None
    ) -> tuple[Batch, int]:
        """Make one pair, and say from which seed its view was drawn.

        An image that shows next to nothing of the brain teaches nothing, and its gradient
        overflows in the normalization layers: such a draw is repeated.
        """
        for attempt in range(8):
            drawn = derived_seed(seed, attempt)
            shown = drawn if view is None else view
            batch = self._draw_sample(regions, drawn, shown)
            visible = (batch.target[:, :INTRACRANIAL] * batch.inside).mean()
            if visible > MIN_VISIBLE and batch.image.std() > MIN_CONTRAST:
                break
        return batch, shown

    def _draw_sample(self, regions: Tensor, seed: int, view: int) -> Batch:
        rng = draw.seeded(derived_seed(view, 8))
        regions = turned(regions, rng)
        image, inside = render(self.recipe, regions, seed)
        matrices = draw_zoom(rng, self.head_size, self.size, image.device)
        both = labels(self.recipe, regions).float()
        stack = torch.cat([image[None], inside.float()[None], both])
        stack = apply_separable(stack, matrices)[None]
        image, inside, target = stack[:, :1], (stack[:, 1:2] > 0.5).float(), stack[:, 2:]
        return Batch(image * inside, target, inside)


@dataclass(frozen=True)
class Curriculum:
    """How samples are made in the course of a run.

    Attributes
    ----------
    full, easy : SampleGenerator
        By the recipe, and with clear contrast and few artefacts.
    easy_share : float
        Share of the run, at its start, that sees easy samples.
    """

    full: SampleGenerator
    easy: SampleGenerator
    easy_share: float

    @classmethod
    def of(cls, recipe: Recipe, settings: StageSettings, easy_share: float) -> Curriculum:
        """Return the samples of a stage."""
        full = SampleGenerator(recipe, settings.size, settings.box_share, settings.images_per_head)
        return cls(full, replace(full, recipe=curriculum_recipe(recipe)), easy_share)

    def at(self, share_done: float) -> SampleGenerator:
        """How samples are made when so much of the run is done, 0..1."""
        return self.easy if share_done < self.easy_share else self.full


def turned(regions: Tensor, rng: torch.Generator) -> Tensor:
    """Permute and flip the axes at random: 48 views of one head."""
    order = torch.randperm(3, generator=rng).tolist()
    flips = [axis for axis in range(3) if draw.chance(rng, 0.5)]
    return regions.permute(order).flip(flips)


def draw_zoom(rng: torch.Generator, size: int, target: int, device: torch.device) -> list[Tensor]:
    """Draw a zoom, a stretch and a shift, as one resampling matrix an axis."""
    zoom = draw.uniform(rng, *ZOOM)
    matrices = []
    for _ in range(3):
        stretch = zoom * draw.uniform(rng, 0.94, 1.06)
        matrices.append(
            zoom_matrix(size, target, stretch, draw.uniform(rng, -SHIFT, SHIFT), device)
        )
    return matrices


def concatenated(pairs: Sequence[Batch]) -> Batch:
    """Join batches of one into one batch."""
    return Batch(*(torch.cat(tensors) for tensors in zip(*pairs, strict=True)))


class StreamSource:
    """Makes every head anew, on the device of training."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def batch(self, seeds: Sequence[int], generator: SampleGenerator, drawn: int) -> Batch:
        """Make one batch, sample `i` from ``seeds[i]`` alone; see `SampleSource`."""
        return concatenated(
            [
                generator.make_sample(generator.make_label_map(seed, self.device), seed)
                for seed in seeds
            ]
        )
