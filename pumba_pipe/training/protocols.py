"""What training asks of its samples, of those who watch it, and of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from pumba_pipe.network.unet import UNet
    from pumba_pipe.training.log import Log
    from pumba_pipe.training.samples import Batch, SampleGenerator
    from pumba_pipe.training.stage_settings import StageProgress, StageSettings


class SampleSource(Protocol):
    """Where training batches come from."""

    def batch(self, seeds: Sequence[int], generator: SampleGenerator, drawn: int) -> Batch:
        """Make one batch, a sample a seed.

        Parameters
        ----------
        seeds : sequence of int
        generator : SampleGenerator
            How synthetic samples are made at this step.
        drawn : int
            Samples of the run before this step, of all processes.
        """
        ...


class Monitor(Protocol):
    """Watches the averaged weights in the course of a run; may end it and choose its result."""

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and Dice of the weights that are kept, where the monitor chooses them."""
        ...

    def resume(self) -> None:
        """Take up what an earlier piece of the run found."""
        ...

    def should_stop(self, network: UNet, progress: StageProgress) -> bool:
        """Say whether the run is to end before this step."""
        ...

    def at_checkpoint(self, network: UNet, progress: StageProgress) -> None:
        """Do what is done at each checkpoint."""
        ...

    def finish(self, network: UNet, progress: StageProgress) -> None:
        """Bring the weights that are to be kept into `network`."""
        ...


class FineTuning(Protocol):
    """Labelled images that take part in training; `pumba_pipe.finetuning` has them."""

    @property
    def needs_synthetic(self) -> bool:
        """Whether any sample is a synthetic head."""
        ...

    @property
    def digests(self) -> list[str]:
        """Digests of all images that take part, for the model card."""
        ...

    def adapted(self, settings: StageSettings) -> StageSettings:
        """Change the settings of a stage to what suits the images."""
        ...

    def source(
        self, synthetic: SampleSource, settings: StageSettings, device: torch.device
    ) -> SampleSource:
        """Mix samples of the images with synthetic ones."""
        ...

    def monitor(
        self,
        settings: StageSettings,
        folder: Path,
        device: torch.device,
        log: Log,
        never_stop: bool,
    ) -> Monitor:
        """Watch a run by images that it does not train on."""
        ...

    def described(self, best: tuple[int, float] | None) -> dict[str, Any]:
        """Plain values for the model card; `best` as in `Monitor`."""
        ...
