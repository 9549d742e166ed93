"""Recipe + seed -> (image, label): the one way into the synthesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from pumba_pipe.common.arguments import require
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import lacks_memory
from pumba_pipe.synthesis import artefacts, contrast, draw, paper
from pumba_pipe.synthesis.head import draw_head
from pumba_pipe.synthesis.recipe import Recipe, draw_look
from pumba_pipe.synthesis.regions import BRAIN, build_regions
from pumba_pipe.synthesis.regions import labels as shape_labels

SHAPE_STREAM, IMAGE_STREAM, VIEW_STREAM = range(3)


@dataclass(frozen=True)
class Sample:
    """One synthetic head.

    Attributes
    ----------
    image : Tensor of float32, shape (x, y, z)
        In 0..1, zero outside the field of view.
    label : Tensor of uint8, shape (x, y, z)
        One in the brain and the CSF rim around it, also where the field of view cuts it off.
    inside : Tensor of bool, shape (x, y, z)
        The field of view.
    seed : int
    """

    image: Tensor
    label: Tensor
    inside: Tensor
    seed: int


def make_regions(
    recipe: Recipe,
    seed: int,
    shape: Sequence[int],
    device: torch.device | str = 'cpu',
    box: bool = False,
) -> Tensor:
    """Make the region map of one head, the costly half of a sample.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    shape : three ints
    device : torch.device or str
    box : bool
        Show a box around the brain, as the fine pass sees it, instead of a whole head.

    Returns
    -------
    Tensor of uint8, shape (x, y, z)
        Codes of the recipe's generator; `labels` says which of them are brain.
    """
    rng = draw.seeded(draw.derived_seed(seed, SHAPE_STREAM))
    device = torch.device(device)
    if recipe.generator == 'paper':
        return paper.build_regions(paper.draw_head(recipe, rng), shape, device)
    return build_regions(draw_head(recipe, rng, box), shape, device)


def labels(recipe: Recipe, regions: Tensor) -> Tensor:
    """Labels of a region map, of bool, shape (3, x, y, z).

    Brain with CSF, brain without CSF, and intracranial space. Each generator has region codes of
    its own, and says itself which of them are which.
    """
    return (paper.labels if recipe.generator == 'paper' else shape_labels)(regions)


def render(recipe: Recipe, regions: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Make one image of a head: contrast and artefacts, the cheap half of a sample.

    Returns
    -------
    image : Tensor of float32, shape (x, y, z)
        In 0..1, zero outside the field of view.
    inside : Tensor of bool, shape (x, y, z)
        The field of view.
    """
    rng = draw.seeded(draw.derived_seed(seed, IMAGE_STREAM))
    if recipe.generator == 'paper':
        image = paper.paint(regions, paper.draw_contrast(recipe, rng))
        return image, torch.ones_like(image, dtype=torch.bool)
    recipe = draw_look(recipe, rng)
    painted = contrast.paint(regions, contrast.draw_contrast(recipe, rng))
    return artefacts.corrupt(painted, artefacts.draw_artefacts(recipe, rng), regions >= BRAIN)


def synthesize(
    recipe: Recipe,
    seed: int,
    shape: Sequence[int] = (96, 96, 96),
    device: torch.device | str = 'cpu',
    box: bool = False,
) -> Sample:
    """Make one synthetic head with its brain mask.

    The same recipe, seed, shape and device give the same sample; no global random state is read
    or changed.

    Raises
    ------
    InputError
        An argument is of another type.

    Examples
    --------
    >>> import pumba_pipe
    >>> head = pumba_pipe.synthesize(pumba_pipe.load_recipe(), seed=1, shape=(32, 32, 32))
    >>> tuple(head.image.shape), head.label.unique().tolist()
    ((32, 32, 32), [0, 1])
    """
    require(recipe, 'recipe', Recipe, 'what pumba_pipe.load_recipe returns')
    require(seed, 'seed', Integral, 'a whole number')
    require(shape, 'shape', Sequence, 'three whole numbers')
    if len(shape) != 3 or not all(isinstance(side, Integral) and side > 0 for side in shape):
        raise InputError(f'shape= must be three whole numbers above zero, not {shape!r}')
    require(device, 'device', (str, torch.device), 'the name of a device')
    try:
        regions = make_regions(recipe, seed, shape, torch.device(device), box)
        image, inside = render(recipe, regions, seed)
    except RuntimeError as error:  # PyTorch has none of its own for these
        if lacks_memory(error):
            raise MemoryError(f'not enough memory for a head of shape {tuple(shape)}') from None
        if 'device' in str(error):
            reason = str(error).split('\n')[0]
            raise InputError(f'device {device!r}: cannot be used ({reason})') from None
        raise
    return Sample(image, labels(recipe, regions)[0].to(torch.uint8), inside, seed)


def stream(
    recipe: Recipe,
    seed: int,
    shape: Sequence[int] = (96, 96, 96),
    device: torch.device | str = 'cpu',
    box_share: float = 0.0,
    start: int = 0,
) -> Iterator[Sample]:
    """Yield samples without end; sample `i` depends on `seed` and `i` alone."""
    index = start
    while True:
        sample_seed = draw.derived_seed(seed, index)
        rng = draw.seeded(draw.derived_seed(sample_seed, VIEW_STREAM))
        yield synthesize(recipe, sample_seed, shape, device, draw.chance(rng, box_share))
        index += 1
