"""What a training run shows of itself: TensorBoard, and a progress bar."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.training.settings import SIZES
from pumba_pipe.training.stage_settings import StageProgress, StageSettings, schedule, share_done

if TYPE_CHECKING:
    from torch import Tensor

    from pumba_pipe.training.samples import Batch

LOG_COLUMNS = ('stage', 'quantity', 'step', 'value')

BAR = '{l_bar}{bar}| {elapsed}, about {remaining} left{postfix}'


class Log:
    """TensorBoard scalars and pictures, and a progress bar; silent on all ranks but 0.

    Both begin where a ``with`` block does, and end with it.
    """

    def __init__(self, folder: Path, active: bool, quiet: bool) -> None:
        self.folder, self.active, self.quiet = folder, active, quiet
        self.writer: Any = None
        self.bar: Any = None
        self.told = False
        self.hook = threading.excepthook

    def __enter__(self) -> Log:
        self.hook = threading.excepthook
        if not self.active:
            return self
        threading.excepthook = without_tensorboard(self.hook)
        with contextlib.suppress(ImportError), self._tolerant():
            from torch.utils.tensorboard.writer import SummaryWriter

            self.writer = SummaryWriter(str(self.folder / 'tensorboard'))
        if not self.quiet:
            from tqdm import tqdm

            self.bar = tqdm(total=100, unit='%', bar_format=BAR)
        return self

    def __exit__(self, *_: object) -> None:
        with self._tolerant():
            if self.writer is not None:
                self.writer.close()
        threading.excepthook = self.hook
        if self.bar is not None:
            self.bar.close()

    def step(
        self,
        progress: StageProgress,
        settings: StageSettings,
        batch: Batch,
        logits: Tensor,
        loss: Tensor,
        norm: Tensor,
    ) -> None:
        """Record one step; scalars every tenth, a picture every 500th."""
        if progress.step % 10:
            return
        if self.bar is not None:
            self.bar.n = round(100 * share_done(progress, settings), 1)
            if self.bar.postfix is None:
                self.bar.initial = self.bar.n  # what an earlier run did says nothing of the rate
            rate = progress.samples / max(progress.seconds, 1e-9)
            self.bar.set_postfix_str(
                f'step {progress.step}, loss {float(loss):.3f}, {rate:.1f} samples/s'
            )
        if self.writer is None:
            return
        rate = settings.learning_rate * schedule(progress, settings)
        with self._tolerant():
            self.writer.add_scalar('train/loss', float(loss), progress.step)
            self.writer.add_scalar('train/rate', rate, progress.step)
            self.writer.add_scalar('train/samples', progress.samples, progress.step)
            self.writer.add_scalar('train/gradient_norm', float(norm), progress.step)
            if progress.step % 500 == 0:
                self.writer.add_image('train/sample', picture(batch, logits), progress.step)

    def validation(self, progress: StageProgress, dice: float) -> None:
        """Record the Dice on heads that training does not see."""
        if self.writer is not None:
            with self._tolerant():
                self.writer.add_scalar('validation/dice', dice, progress.step)
                self.writer.flush()

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Go on without TensorBoard when the disk takes no more of it, and say so once."""
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: its file was closed by the first one
            if not self.told:
                logging.getLogger(__name__).warning(
                    'pumba-train: warning: no more is logged for TensorBoard (%s)', error
                )
            self.told, self.writer = True, None


def without_tensorboard(
    report: Callable[[threading.ExceptHookArgs], object],
) -> Callable[[threading.ExceptHookArgs], None]:
    """Report why threads end, but for the one that writes TensorBoard's file.

    It hands its error to whoever logs next, and raises it for all to see as well.
    """

    def hook(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith('tensorboard.'):
            report(args)

    return hook


def picture(batch: Batch, logits: Tensor) -> Tensor:
    """Image, target and prediction of the first sample side by side, shape (1, x, 3 y)."""
    import torch

    middle = batch.image.shape[-1] // 2
    panels = (batch.image, batch.target.nan_to_num(), logits.detach().float().sigmoid())
    return torch.cat([panel[0, 0, :, :, middle] for panel in panels], 1)[None].cpu()


def log_rows(folder: Path) -> list[tuple[str, ...]]:
    """Read what a run logged: stage, quantity, step and value as text, in the order of steps.

    Empty where TensorBoard is not installed: then nothing was logged.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        return []
    rows: list[tuple[str, ...]] = []
    for stage in SIZES:
        events = EventAccumulator(str(folder / stage / 'tensorboard'), {'scalars': 0})
        if not (folder / stage / 'tensorboard').is_dir():
            continue
        events.Reload()
        for quantity in events.Tags()['scalars']:
            rows += [
                (stage, quantity, str(event.step), f'{event.value:.6g}')
                for event in events.Scalars(quantity)
            ]
    return rows
