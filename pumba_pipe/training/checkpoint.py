"""Settings of one stage, its schedule and its checkpoints."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, cast

import torch

from pumba_pipe.common.errors import WeightsError
from pumba_pipe.common.files import atomic_path
from pumba_pipe.network.unet import UNet
from pumba_pipe.training.settings import SIZES, TrainingSettings

FORMER_NAMES = {
    'easy_share': 'curriculum_fraction',
    'generators': 'cache_workers',
    'pool': 'cache_size',
}


@dataclass(frozen=True)
class TrainingConfig:
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
        See `TrainingSettings`, whose defaults they have.
    """

    size: int = SIZES['fine']
    box_share: float = 0.5
    curriculum_fraction: float = TrainingSettings.curriculum_fraction
    batch: int = TrainingSettings.batch
    steps: int = TrainingSettings.steps
    minutes: float | None = TrainingSettings.minutes
    optimizer: Literal['muon', 'adamw'] = TrainingSettings.optimizer
    learning_rate: float = TrainingSettings.learning_rate
    warm_up: int = TrainingSettings.warm_up
    weight_decay: float = TrainingSettings.weight_decay
    clip: float = TrainingSettings.clip
    ema: float = TrainingSettings.ema
    consistency: float = TrainingSettings.consistency
    renderings: int = TrainingSettings.renderings
    plausible_shape: float = TrainingSettings.plausible_shape
    only_intracranial: bool = TrainingSettings.only_intracranial
    checkpoint_minutes: float = TrainingSettings.checkpoint_minutes
    seed: int = TrainingSettings.seed
    cache_size: int = TrainingSettings.cache_size
    cache_workers: int | None = TrainingSettings.cache_workers

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
class Progress:
    """How far a run is; saved in every checkpoint."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def share_done(progress: Progress, config: TrainingConfig) -> float:
    """Share of the run that is done, by steps or by time, whichever is further."""
    by_time = progress.seconds / (config.minutes * 60) if config.minutes else 0.0
    return max(progress.step / config.steps, by_time)


def finished(progress: Progress, config: TrainingConfig) -> bool:
    """Whether the steps or the time are used up."""
    return share_done(progress, config) >= 1


def schedule(progress: Progress, config: TrainingConfig) -> float:
    """Learning rate over its peak: linear warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (progress.step + 1) / config.warm_up)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share_done(progress, config))))
    return warm * (0.02 + 0.98 * cosine)


def save_checkpoint(
    path: Path,
    network: UNet,
    average: UNet,
    optimizer: Any,
    progress: Progress,
    config: TrainingConfig,
    recipe: str = '',
) -> None:
    """Write everything a resumed run needs; the file is complete or not there.

    `recipe` is the digest of the one that is trained on.
    """
    state = {
        'network': network.state_dict(),
        'average': average.state_dict(),
        'optimizer': optimizer.state_dict(),
        'progress': asdict(progress),
        'config': asdict(config),
        'recipe': recipe,
        'network_config': network.config.to_dict(),
    }
    write_state(path, state)


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write what torch can read again; until it is complete, an older file stays.

    Raises
    ------
    OutputError
        It cannot be written, as on a full disk.
    """
    with atomic_path(path) as partial, partial.open('wb') as file:
        watched = _Watched(file)
        try:
            torch.save(state, cast('IO[bytes]', watched))
            file.flush()
            os.fsync(file.fileno())  # not renamed before it is on the disk
        except RuntimeError as error:  # torch's own words for what the disk replied
            raise (watched.failed or error) from None


class _Watched:
    """A file that remembers why it could not be written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.failed: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.failed = error
            raise

    def flush(self) -> None:
        self.file.flush()


def load_checkpoint(
    path: Path,
    network: UNet,
    average: UNet,
    optimizer: Any,
    config: TrainingConfig,
    recipe: str = '',
) -> Progress:
    """Read what `save_checkpoint` wrote.

    Raises
    ------
    WeightsError
        The file is damaged, or belongs to a run with other settings, or on another recipe.
    """
    try:
        check_whole(path)
        state = torch.load(path, map_location='cpu', weights_only=True)
        stored = TrainingConfig(**_present_names(state['config']))
        changed = _differences(asdict(_comparable(stored)), asdict(_comparable(config)))
        changed += _differences(state['network_config'], network.config.to_dict())
        # those of earlier versions do not say it
        if recipe and state.get('recipe', recipe) not in ('', recipe):
            changed.append('another recipe')
        if changed:
            raise WeightsError(
                f'{path}: was made with other settings ({", ".join(changed)}); give the same, or '
                'choose another folder'
            )
        network.load_state_dict(state['network'])
        average.load_state_dict(state['average'])
        optimizer.load_state_dict(state['optimizer'])
        return Progress(**state['progress'])
    except WeightsError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(f'{path}: cannot resume from this checkpoint ({reason})') from None


def check_whole(path: Path) -> None:
    """Compare the parts of a file of `write_state` with their checksums, as torch does not.

    Raises
    ------
    WeightsError
        A part is damaged.
    OSError, zipfile.BadZipFile
        It cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(f'{path}: cannot resume from this checkpoint (damaged: {damaged})')


def _differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    return [
        f'{name} {stored.get(name)}, not {value}'
        for name, value in asked.items()
        if stored.get(name) != value
    ]


def _present_names(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of a checkpoint of an earlier version, under their names of today."""
    return {FORMER_NAMES.get(name, name): value for name, value in config.items()}


def _comparable(config: TrainingConfig) -> TrainingConfig:
    """Blank what a resumed run may change: its length and its helpers."""
    return replace(
        config, steps=0, minutes=None, checkpoint_minutes=0, cache_size=0, cache_workers=0
    )
