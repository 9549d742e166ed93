"""Settings of one stage of a training run, how far it is, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from pumba_pipe.training.settings import SIZES, TrainingRunSettings

if TYPE_CHECKING:
    import torch

BOX_SHARES = {'coarse': 0.3, 'fine': 1.0}
EFFORT = {'coarse': 0.4, 'fine': 0.6}  # share of steps and time when both are trained


@dataclass(frozen=True)
class StageSettings:
    """Settings of one stage of a training run.

    Attributes
    ----------
    size : int
        Side of the training cubes, a multiple of the network's.
    box_share : float
        Share of samples that show a box around the brain: what the fine pass sees.
    steps : int
        Length of the learning-rate schedule, reached earlier when `minutes` runs out.
    minutes : float or None
        Time limit of the stage, all resumed parts together.
    others
        See `TrainingRunSettings`, whose defaults they have.
    """

    size: int = SIZES['fine']
    box_share: float = 0.5
    curriculum_fraction: float = TrainingRunSettings.curriculum_fraction
    batch: int = TrainingRunSettings.batch
    steps: int = TrainingRunSettings.steps
    minutes: float | None = TrainingRunSettings.minutes
    optimizer: Literal['muon', 'adamw'] = TrainingRunSettings.optimizer
    learning_rate: float = TrainingRunSettings.learning_rate
    warm_up: int = TrainingRunSettings.warm_up
    weight_decay: float = TrainingRunSettings.weight_decay
    clip: float = TrainingRunSettings.clip
    ema: float = TrainingRunSettings.ema
    consistency: float = TrainingRunSettings.consistency
    renderings: int = TrainingRunSettings.renderings
    plausible_shape: float = TrainingRunSettings.plausible_shape
    only_intracranial: bool = TrainingRunSettings.only_intracranial
    checkpoint_minutes: float = TrainingRunSettings.checkpoint_minutes
    seed: int = TrainingRunSettings.seed
    cache_size: int = TrainingRunSettings.cache_size
    cache_workers: int | None = TrainingRunSettings.cache_workers

    @classmethod
    def of(cls, run: TrainingRunSettings, stage: str) -> StageSettings:
        """Return what the settings of a run say of one of its stages."""
        effort = EFFORT[stage] if run.stage == 'both' else 1.0
        own: dict[str, Any] = {
            'size': run.size(stage),
            'box_share': BOX_SHARES[stage],
            'steps': max(1, math.floor(run.steps * effort)),
            'minutes': run.minutes * effort if run.minutes else None,
        }
        names = {field.name for field in fields(cls)} - set(own)
        return cls(**own, **{name: getattr(run, name) for name in names})

    @property
    def images_per_head(self) -> int:
        """Images drawn of each head in a step."""
        return self.renderings if self.consistency else 1

    def cache_workers_on(self, device: torch.device) -> int:
        """Processes that make heads ahead for training on `device`."""
        if self.cache_workers is None:
            return int(device.type == 'cpu')
        return self.cache_workers


@dataclass
class StageProgress:
    """How far a run is; saved in every checkpoint."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def share_done(progress: StageProgress, settings: StageSettings) -> float:
    """Share of the run that is done, by steps or by time, whichever is further."""
    by_time = progress.seconds / (settings.minutes * 60) if settings.minutes else 0.0
    return max(progress.step / settings.steps, by_time)


def finished(progress: StageProgress, settings: StageSettings) -> bool:
    """Whether the steps or the time are used up."""
    return share_done(progress, settings) >= 1


def schedule(progress: StageProgress, settings: StageSettings) -> float:
    """Learning rate over its peak: linear warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (progress.step + 1) / settings.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share_done(progress, settings))))
    return warm * (0.02 + 0.98 * cosine)
