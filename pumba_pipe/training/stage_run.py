"""What the run of one stage is about, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.network.config import NetworkConfig
from pumba_pipe.training.settings import Hardware
from pumba_pipe.training.stage_settings import StageSettings

if TYPE_CHECKING:
    from pumba_pipe.network.unet import UNet
    from pumba_pipe.synthesis.recipe import Recipe
    from pumba_pipe.training.protocols import FineTuning
    from pumba_pipe.training.stage_settings import StageProgress
    from pumba_pipe.training.teacher import Teacher


@dataclass(frozen=True)
class StageResult:
    """A finished run, or one at a checkpoint, as one of its processes sees it."""

    network: UNet
    progress: StageProgress
    hardware: str
    rank: int
    best: tuple[int, float] | None = None  # step and Dice on held-out cases


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """All that the training of one stage is given.

    Attributes
    ----------
    recipe : Recipe
    folder : Path
        Receives ``checkpoint.pt`` and TensorBoard logs; must hold no checkpoint unless `resume`.
    settings, network_config, hardware
        Settings; `network_config` is ignored when `initial` is given.
    initial : UNet, optional
        Weights to start from.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    cache_dir : Path, optional
        Folder for head caches, which several runs may share; default ``folder/head-cache``.
    quiet : bool
        No progress bar.
    keep : callable
        Called on rank 0 with what there is so far whenever a checkpoint is written.
    finetuning : FineTuning, optional
        Labelled real images to train on besides.
    teacher : Teacher, optional
        Trained networks to learn from besides.
    """

    recipe: Recipe
    folder: Path
    settings: StageSettings = field(default_factory=StageSettings)
    network_config: NetworkConfig = field(default_factory=NetworkConfig)
    hardware: Hardware = field(default_factory=Hardware)
    initial: UNet | None = None
    resume: bool = False
    cache_dir: Path | None = None
    quiet: bool = False
    keep: Callable[[StageResult], None] = lambda result: None
    finetuning: FineTuning | None = None
    teacher: Teacher | None = None

    @property
    def checkpoint(self) -> Path:
        """File from which the run goes on."""
        return self.folder / 'checkpoint.pt'
