"""Labelled cases that training does not see: they choose the weights that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pumba_pipe.common.errors import WeightsError
from pumba_pipe.finetuning.augmentation import LabelledHead, inference_view
from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.network.devices import half_precision
from pumba_pipe.network.unet import UNet
from pumba_pipe.training.checkpoint import check_whole, write_state
from pumba_pipe.training.log import Log
from pumba_pipe.training.losses import soft_dice
from pumba_pipe.training.stage_settings import StageProgress, StageSettings, share_done

N_VALIDATIONS = 8  # looks at the held-out cases in a run, after the one before its first step
PATIENCE = 4  # looks without a better score after which a run is given up


class EarlyStopping:
    """Looks at held-out cases in the course of a run and keeps the weights that did best.

    Without such cases it does nothing.

    Parameters
    ----------
    heads : sequence of LabelledHead
    settings : StageSettings
    folder : Path
        Of the stage; receives the best weights so far, so that a resumed run knows them.
    device : torch.device
    log : Log
    never_stop : bool
        Never give up: a network that starts from random values may predict nothing for long.
    """

    def __init__(
        self,
        heads: Sequence[LabelledHead],
        settings: StageSettings,
        folder: Path,
        device: torch.device,
        log: Log,
        never_stop: bool,
    ) -> None:
        self.settings, self.device, self.log, self.never_stop = settings, device, log, never_stop
        self.file = folder / 'best.pt'
        box = settings.box_share == 1
        cubes = [head.box(settings.size) if box else head.whole(settings.size) for head in heads]
        self.views = [
            inference_view(head, cube, box) for head, cube in zip(heads, cubes, strict=True)
        ]
        self.scores: list[tuple[int, float]] = []
        self.kept: dict[str, torch.Tensor] = {}

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and Dice of the weights that are kept; the earlier of equals."""
        return max(self.scores, key=lambda score: score[1], default=None)

    def resume(self) -> None:
        """Take up what an earlier piece of the run found.

        Raises
        ------
        WeightsError
            The file is damaged.
        """
        if not self.views or not self.file.exists():
            return
        try:
            check_whole(self.file)
            state = torch.load(self.file, map_location='cpu', weights_only=True)
            self.scores = [(int(step), float(dice)) for step, dice in state['scores']]
            self.kept = state['network']
        except WeightsError:
            raise
        except Exception as error:
            raise WeightsError(f'{self.file}: cannot resume from this file ({error})') from None

    def should_stop(self, network: UNet, progress: StageProgress) -> bool:
        """Look, when it is time to; say whether the last looks were all worse than an earlier."""
        if not self.views:
            return False
        if share_done(progress, self.settings) * N_VALIDATIONS >= len(self.scores):
            self._look(network, progress)
        best = max(range(len(self.scores)), key=lambda index: self.scores[index][1])
        return len(self.scores) - 1 - best >= PATIENCE and not self.never_stop

    def at_checkpoint(self, network: UNet, progress: StageProgress) -> None:
        """Nothing: looks come at even shares of the run."""

    def finish(self, network: UNet, progress: StageProgress) -> None:
        """Look a last time and load the weights that did best."""
        if not self.views:
            return
        if not self.scores or self.scores[-1][0] < progress.step:
            self._look(network, progress)
        network.load_state_dict(self.kept)

    def _look(self, network: UNet, progress: StageProgress) -> None:
        """Score a network on the held-out cases, and keep it if none was better."""
        dice = self._dice(network)
        if self.best is None or dice > self.best[1]:
            state = network.state_dict()
            self.kept = {name: value.detach().cpu().clone() for name, value in state.items()}
        self.scores.append((progress.step, dice))
        self.log.validation(progress, dice)
        if self.log.active:
            write_state(self.file, {'scores': self.scores, 'network': self.kept})

    @torch.inference_mode()
    def _dice(self, network: UNet) -> float:
        """Mean Dice over the held-out cases, in the cubes that extraction would show."""
        scores = []
        for view in self.views:
            with half_precision(self.device):
                logits = network(view.image.to(self.device)).cpu()
            predicted = (logits > 0).float() * view.inside
            scores.append(
                float(soft_dice(predicted, view.target * view.inside)[:, :INTRACRANIAL].mean())
            )
        return sum(scores) / len(scores)
