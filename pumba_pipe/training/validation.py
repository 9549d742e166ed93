"""Dice on synthetic heads that training does not see, at every checkpoint."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pumba_pipe.network.devices import half_precision
from pumba_pipe.network.unet import UNet
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.log import Log
from pumba_pipe.training.losses import soft_dice
from pumba_pipe.training.samples import SampleGenerator
from pumba_pipe.training.stage_settings import StageProgress, StageSettings

VALIDATION_STREAM = 2**31
VALIDATION_HEADS = 16


class SyntheticValidation:
    """Logs the mean Dice on a few heads; rank 0 alone does so.

    The label maps are made at the first checkpoint and kept (22 MB in all for cubes of 96^3),
    because they are nine tenths of the work; images are rendered from them each time.

    Parameters
    ----------
    generator : SampleGenerator
    settings : StageSettings
    device : torch.device
    log : Log
    """

    best: tuple[int, float] | None = None  # it chooses nothing

    def __init__(
        self, generator: SampleGenerator, settings: StageSettings, device: torch.device, log: Log
    ) -> None:
        self.generator = replace(generator, renderings=1)
        self.device, self.log = device, log
        self.seeds = [
            derived_seed(settings.seed, VALIDATION_STREAM, index)
            for index in range(VALIDATION_HEADS)
        ]
        self.label_maps: list[Tensor] = []

    def resume(self) -> None:
        """Nothing to take up."""

    def should_stop(self, network: UNet, progress: StageProgress) -> bool:
        """Never."""
        return False

    def at_checkpoint(self, network: UNet, progress: StageProgress) -> None:
        """Log the mean Dice."""
        if self.log.active:
            self.log.validation(progress, self.dice(network))

    def finish(self, network: UNet, progress: StageProgress) -> None:
        """Keep the last weights."""

    @torch.inference_mode()
    def dice(self, network: UNet) -> float:
        """Mean Dice of a network's predictions, over heads and borders."""
        if not self.label_maps:
            self.label_maps = [
                self.generator.make_label_map(seed, self.device) for seed in self.seeds
            ]
        scores = []
        for seed, label_map in zip(self.seeds, self.label_maps, strict=True):
            batch = self.generator.make_sample(label_map, seed)
            with half_precision(self.device):
                logits = network(batch.image)
            predicted = (logits > 0).float()
            dice = soft_dice(predicted * batch.inside, batch.target * batch.inside)
            scores.append(float(dice.mean()))
        return sum(scores) / len(scores)
