"""Checkpoints of a stage: their format, writing and reading them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

import torch

from pumba_pipe.common.errors import WeightsError
from pumba_pipe.common.files import atomic_path
from pumba_pipe.network.unet import UNet
from pumba_pipe.training.stage_settings import StageProgress, StageSettings

FORMER_NAMES = {
    'easy_share': 'curriculum_fraction',
    'generators': 'cache_workers',
    'pool': 'cache_size',
}


@dataclass
class TrainingState:
    """What training changes.

    Attributes
    ----------
    network, average : UNet
        The weights, and their running average.
    optimizer : torch.optim.Optimizer
        Or what Lightning Fabric makes of it.
    progress : StageProgress
    """

    network: UNet
    average: UNet
    optimizer: Any
    progress: StageProgress = field(default_factory=StageProgress)


def save_checkpoint(
    path: Path, state: TrainingState, settings: StageSettings, recipe: str = ''
) -> None:
    """Write everything a resumed run needs; the file is complete or not there.

    `recipe` is the digest of the one that is trained on.
    """
    content = {
        'network': state.network.state_dict(),
        'average': state.average.state_dict(),
        'optimizer': state.optimizer.state_dict(),
        'progress': asdict(state.progress),
        'config': asdict(settings),
        'recipe': recipe,
        'network_config': state.network.config.to_dict(),
    }
    write_state(path, content)


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
    path: Path, state: TrainingState, settings: StageSettings, recipe: str = ''
) -> None:
    """Bring what `save_checkpoint` wrote into `state`.

    Raises
    ------
    WeightsError
        The file is damaged, or belongs to a run with other settings, or on another recipe.
    """
    try:
        check_whole(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
        stored = StageSettings(**_present_names(content['config']))
        changed = _differences(asdict(_comparable(stored)), asdict(_comparable(settings)))
        changed += _differences(content['network_config'], state.network.config.to_dict())
        # those of earlier versions do not say it
        if recipe and content.get('recipe', recipe) not in ('', recipe):
            changed.append('another recipe')
        if changed:
            raise WeightsError(
                f'{path}: was made with other settings ({", ".join(changed)}); give the same, or '
                'choose another folder'
            )
        state.network.load_state_dict(content['network'])
        state.average.load_state_dict(content['average'])
        state.optimizer.load_state_dict(content['optimizer'])
        state.progress = StageProgress(**content['progress'])
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


def _present_names(stored: dict[str, Any]) -> dict[str, Any]:
    """Settings of a checkpoint of an earlier version, under their names of today."""
    return {FORMER_NAMES.get(name, name): value for name, value in stored.items()}


def _comparable(settings: StageSettings) -> StageSettings:
    """Blank what a resumed run may change: its length and its helpers."""
    return replace(
        settings, steps=0, minutes=None, checkpoint_minutes=0, cache_size=0, cache_workers=0
    )
