"""Made images, stripped: what their extraction shows, and how good the masks are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.common.errors import NothingFoundError
from pumba_pipe.extraction.border import csf_exclusion
from pumba_pipe.extraction.evidence import Evidence
from pumba_pipe.images.masks import dice
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.calibration_images import MadeImage, made_head, no_brain, odd_head

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model
    from pumba_pipe.synthesis.recipe import Recipe

SHARES = {'head': 1.0, 'odd': 0.15, 'none': 0.5}  # images of each group, by the number of heads
MAKERS = {'head': made_head, 'odd': odd_head, 'none': no_brain}
STREAMS = {'head': 1, 'odd': 2, 'none': 3}
FOUND = 0.5  # least Dice of a mask that is on a brain

ProgressCallback = Callable[[int, int], None]  # images that are done, and all


class ScoredMask(NamedTuple):
    """A made image, what its extraction showed, and how good the mask is.

    Attributes
    ----------
    group : str
        ``'head'``, ``'odd'`` or ``'none'``: without a brain.
    kind : str
    evidence : Evidence or None
        None where no brain was found.
    dice : float
        With the true label; 0 without a brain.
    flags : tuple of str
    """

    group: str
    kind: str
    evidence: Evidence | None
    dice: float
    flags: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the mask is on the brain, however roughly."""
        return self.evidence is not None and self.dice >= FOUND


def scored_masks(
    model: Model,
    recipe: Recipe,
    heads: int,
    seed: int,
    *,
    device: str = 'auto',
    threads: int | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> Iterator[ScoredMask]:
    """Draw images of each group, strip them, and compare the masks with the true labels."""
    plan = planned_images(heads)
    for done, (group, index) in enumerate(plan, 1):
        image = MAKERS[group](recipe, derived_seed(seed, STREAMS[group], index))
        yield strip_and_score(model, group, image, device, threads)
        progress(done, len(plan))


def planned_images(heads: int) -> list[tuple[str, int]]:
    """Group and number of every image that goes with so many heads."""
    counts = {group: round(share * heads) for group, share in SHARES.items()}
    return [(group, index) for group, count in counts.items() for index in range(count)]


def strip_and_score(
    model: Model, group: str, image: MadeImage, device: str = 'auto', threads: int | None = None
) -> ScoredMask:
    """Strip a made image, and compare the mask with the label of the border that was drawn."""
    from pumba_pipe.extraction.pipeline import extract

    affine = np.diag([*image.voxel_size, 1.0])
    try:
        result = extract(image.values, model, device, threads, affine=affine)
    except NothingFoundError:
        return ScoredMask(group, image.kind, None, 0.0)
    exclusion = csf_exclusion(result.quality.volume_ml, image.voxel_size)
    truths = [brain[int(exclusion >= 0.5)] for brain in image.brains]
    score = max((dice(result.mask > 0, truth) for truth in truths), default=0.0)
    return ScoredMask(group, image.kind, result.evidence, score, result.quality.flags)
