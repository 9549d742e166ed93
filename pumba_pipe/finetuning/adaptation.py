"""What a network is adapted to: labelled images, mixed with synthetic heads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.finetuning.augmentation import LabelledHead, augmented_view
from pumba_pipe.finetuning.early_stopping import EarlyStopping
from pumba_pipe.finetuning.settings import HELD_OUT_SHARE, SYNTHETIC_SHARE
from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import curriculum_recipe, load_recipe
from pumba_pipe.training.log import Log
from pumba_pipe.training.protocols import SampleSource
from pumba_pipe.training.samples import (
    MIN_CONTRAST,
    MIN_VISIBLE,
    Batch,
    SampleGenerator,
    concatenated,
)
from pumba_pipe.training.stage_settings import StageSettings

MIN_TO_HOLD_OUT = 4  # cases; of fewer, none can be spared
WARM_UP = 20  # steps


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

    def adapted(self, settings: StageSettings) -> StageSettings:
        """Shorten the warm-up to what suits a run of few steps."""
        return replace(settings, warm_up=WARM_UP)

    def source(
        self, synthetic: SampleSource, settings: StageSettings, device: torch.device
    ) -> MixedSource:
        """Mix samples of the images with synthetic ones."""
        return MixedSource(self, settings, synthetic, device)

    def monitor(
        self,
        settings: StageSettings,
        folder: Path,
        device: torch.device,
        log: Log,
        never_stop: bool,
    ) -> EarlyStopping:
        """Choose the best weights by the cases that are held out."""
        return EarlyStopping(self.held_out, settings, folder, device, log, never_stop)

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


class MixedSource:
    """Draws samples from labelled heads, and from another source what is left to synthetic ones.

    Parameters
    ----------
    adaptation : Adaptation
    settings : StageSettings
    synthetic : SampleSource
        Of synthetic heads.
    device : torch.device
    """

    def __init__(
        self,
        adaptation: Adaptation,
        settings: StageSettings,
        synthetic: SampleSource,
        device: torch.device,
    ) -> None:
        self.adaptation, self.settings = adaptation, settings
        self.synthetic, self.device = synthetic, device
        # The images have artefacts of their own: few are added.
        self.recipe = curriculum_recipe(load_recipe('default'))

    def batch(self, seeds: Sequence[int], generator: SampleGenerator, drawn: int) -> Batch:
        """Make one batch, a sample a seed; see `SampleSource`."""
        return concatenated([self._draw_sample(seed, generator, drawn) for seed in seeds])

    def _draw_sample(self, seed: int, generator: SampleGenerator, drawn: int) -> Batch:
        rng = draw.seeded(derived_seed(seed, 30))
        if draw.chance(rng, self.adaptation.synthetic_share):
            return self.synthetic.batch([seed], generator, drawn)
        heads, box = self.adaptation.heads, draw.chance(rng, self.settings.box_share)
        head = heads[draw.integer(rng, 0, len(heads) - 1)]
        for attempt in range(8):
            batch = augmented_view(
                head, self.settings.size, box, self.recipe, derived_seed(seed, attempt)
            )
            visible = (batch.target[:, :INTRACRANIAL] * batch.inside).mean()
            if visible > MIN_VISIBLE and batch.image.std() > MIN_CONTRAST:
                break
        return Batch(*(part.to(self.device) for part in batch))
