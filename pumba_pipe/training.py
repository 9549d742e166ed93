"""Recipe -> weights: one loop, readable from top to bottom."""

from __future__ import annotations

import contextlib
import copy
import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pumba_pipe.errors import InputError, PumbaError, WeightsError
from pumba_pipe.feeding import (
    Batch,
    Feed,
    PoolSource,
    StreamSource,
    grow_pool,
    pool_files,
    pool_folder,
)
from pumba_pipe.losses import dice_and_cross_entropy, soft_dice
from pumba_pipe.network import NetworkConfig, UNet
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import Recipe

VALIDATION_STREAM = 2**31
VALIDATION_HEADS = 16


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training run.

    Attributes
    ----------
    size : int
        Side of the training cubes, a multiple of the network's.
    box_share : float
        Share of samples that show a box around the brain: what the fine pass sees.
    batch : int
        Samples per step and process.
    steps : int
        Length of the learning-rate schedule, reached earlier when `minutes` runs out.
    minutes : float or None
        Time limit of training, all resumed pieces together.
    learning_rate, warm_up, weight_decay, clip : float
        Peak rate of AdamW, steps up to it, decay, and the largest gradient norm.
    ema : float
        Memory of the running average of the weights, which is what is exported.
    checkpoint_minutes : float
        Time between checkpoints.
    seed : int
    pool : int
        Heads made ahead when training on a CPU.
    generators : int
        Processes that make them.
    """

    size: int = 96
    box_share: float = 0.5
    batch: int = 2
    steps: int = 20_000
    minutes: float | None = None
    learning_rate: float = 1e-3
    warm_up: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    checkpoint_minutes: float = 2.0
    seed: int = 1
    pool: int = 2000
    generators: int = 1


@dataclass(frozen=True)
class Hardware:
    """Where to train.

    Attributes
    ----------
    accelerator : str
        ``'auto'``, ``'cpu'``, ``'cuda'`` or ``'mps'``, as Lightning Fabric names them.
    devices, nodes : int
    precision : str
        ``'bf16-mixed'`` or ``'32-true'``.
    threads : int or None
        CPU threads of the training process.
    compiled : bool
        Compile the network; needs a C++ compiler on the CPU.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    precision: str = 'bf16-mixed'
    threads: int | None = None
    compiled: bool = False


@dataclass
class Progress:
    """How far a run is; saved in every checkpoint."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingResult:
    """A finished run, as one of its processes sees it; rank 0 writes files."""

    network: UNet
    progress: Progress
    hardware: str
    rank: int


def train(
    recipe: Recipe,
    folder: Path,
    config: TrainingConfig = TrainingConfig(),
    network_config: NetworkConfig = NetworkConfig(),
    hardware: Hardware = Hardware(),
    initial: UNet | None = None,
    resume: bool = False,
    pool_parent: Path | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Train a network on synthetic heads (Park et al. 2025, section 2, with our recipe).

    Parameters
    ----------
    recipe : Recipe
    folder : Path
        Receives ``checkpoint.pt`` and TensorBoard logs; must hold no checkpoint unless `resume`.
    config, network_config, hardware
        Settings; `network_config` is ignored when `initial` is given.
    initial : UNet, optional
        Weights to start from.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    pool_parent : Path, optional
        Folder for pools of heads, which several runs may share; default ``folder/pool``.
    quiet : bool
        No progress bar.

    Returns
    -------
    TrainingResult
        With the averaged weights.

    Raises
    ------
    InputError
        The folder already holds a checkpoint, or the size does not fit the network.
    WeightsError
        The checkpoint to resume from is damaged or belongs to other settings.
    """
    network = UNet(network_config) if initial is None else copy.deepcopy(initial)
    network.requires_grad_(True)
    checkpoint = folder / 'checkpoint.pt'
    _check(config, network, checkpoint, resume)
    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    fabric = _launch(hardware)
    folder.mkdir(parents=True, exist_ok=True)

    if initial is None:
        initialize(network, config.seed)
    average = copy.deepcopy(network).requires_grad_(False).to(fabric.device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    progress = Progress()
    if resume and checkpoint.exists():
        progress = load_checkpoint(checkpoint, network, average, optimizer, config)
    network = network.to(memory_format=torch.channels_last_3d)
    forward = torch.compile(network) if hardware.compiled else network
    model, optimizer = fabric.setup(forward, optimizer)

    feed = Feed(recipe, config.size, config.box_share)
    on_cpu = fabric.device.type == 'cpu'
    pool = pool_folder(pool_parent or folder / 'pool', feed)
    log = Log(folder, fabric.global_rank == 0, quiet)
    needs_pool = on_cpu and not finished(progress, config)
    generators = growing_pool(pool, feed, config, fabric.global_rank) if needs_pool else None
    with generators or contextlib.nullcontext(), log:
        source = PoolSource(feed, pool) if on_cpu else StreamSource(feed, fabric.device)
        started = time.monotonic() - progress.seconds
        saved = time.monotonic()
        while not finished(progress, config):
            for group in optimizer.param_groups:
                group['lr'] = config.learning_rate * schedule(progress, config)
            batch = source.batch(sample_seeds(config, progress.step, fabric.global_rank))
            batch = Batch(*(tensor.to(fabric.device) for tensor in batch))
            logits = model(batch.image)
            loss = dice_and_cross_entropy(logits, batch.target, batch.inside)
            optimizer.zero_grad()
            fabric.backward(loss)
            norm = fabric.clip_gradients(
                model, optimizer, max_norm=config.clip, error_if_nonfinite=False
            )
            if torch.isfinite(norm):
                optimizer.step()
            update_average(average, network, config.ema, progress.step)

            progress.step += 1
            progress.samples += config.batch * fabric.world_size
            progress.seconds = _agreed(fabric, time.monotonic() - started)
            log.step(progress, config, batch, logits, loss.detach(), norm)
            if _agreed(fabric, time.monotonic() - saved) > config.checkpoint_minutes * 60:
                log.validation(progress, validation_dice(average, feed, config, fabric.device))
                if fabric.global_rank == 0:
                    save_checkpoint(checkpoint, network, average, optimizer, progress, config)
                saved = time.monotonic()
        if fabric.global_rank == 0:
            save_checkpoint(checkpoint, network, average, optimizer, progress, config)
    name = torch.cuda.get_device_name() if fabric.device.type == 'cuda' else 'CPU'
    description = f'{fabric.world_size} x {name}'
    return TrainingResult(average.cpu().eval(), progress, description, fabric.global_rank)


def _check(config: TrainingConfig, network: UNet, checkpoint: Path, resume: bool) -> None:
    multiple = network.config.multiple
    # Statistics over fewer than 3x3x3 voxels say nothing, and in bfloat16 the gradient of a
    # convolution on 2x2x2 voxels came out wrong (oneDNN, torch 2.13).
    if config.size % multiple or config.size < 3 * multiple:
        raise InputError(
            f'size {config.size}: must be a multiple of {multiple}, at least {3 * multiple}'
        )
    if checkpoint.exists() and not resume:
        raise InputError(
            f'{checkpoint}: a training already lies here; resume it or choose another folder'
        )


def _launch(hardware: Hardware) -> Any:
    """Set up Lightning Fabric: device, precision, processes."""
    try:
        from lightning.fabric import Fabric
    except ImportError:
        raise PumbaError(
            "training needs Lightning Fabric: pip install 'pumba_pipe[train]'"
        ) from None
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        precision=hardware.precision,
    )
    fabric.launch()
    return fabric


def _agreed(fabric: Any, seconds: float) -> float:
    """Rank 0's clock, so that all ranks stop at the same step."""
    if fabric.world_size == 1:
        return seconds
    return float(fabric.broadcast(seconds))


def initialize(network: nn.Module, seed: int) -> None:
    """Draw He-initialized weights from a seed, leaving global random state alone."""
    rng = torch.Generator().manual_seed(derived_seed(seed, 5))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, math.sqrt(2 / fan_in), generator=rng)
                if module.bias is not None:
                    module.bias.zero_()


def sample_seeds(config: TrainingConfig, step: int, rank: int) -> list[int]:
    """Seeds of one process's samples in one step: resumed runs draw what they would have."""
    return [derived_seed(config.seed, step, rank, item) for item in range(config.batch)]


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


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, memory: float, step: int) -> None:
    """Move the averaged weights towards the present ones; the first steps count less."""
    memory = min(memory, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value.detach(), 1 - memory)


@contextlib.contextmanager
def growing_pool(pool: Path, feed: Feed, config: TrainingConfig, rank: int) -> Iterator[None]:
    """Make heads in other processes while training runs; wait for the first ones."""
    context = multiprocessing.get_context('spawn')
    workers = [
        context.Process(
            target=_generate,
            args=(pool, feed, config.seed, config.pool, worker, config.generators),
            daemon=True,
        )
        for worker in range(config.generators if rank == 0 else 0)
    ]
    for process in workers:
        process.start()
    wanted = min(config.pool, 4 * config.batch)
    try:
        while len(pool_files(pool)) < wanted:
            if workers and all(process.exitcode for process in workers):
                raise PumbaError(f'{pool}: the processes that make heads have stopped')
            time.sleep(0.2)
        yield
    finally:
        for process in workers:
            process.terminate()


def _generate(pool: Path, feed: Feed, seed: int, count: int, worker: int, workers: int) -> None:
    """Body of a process that makes heads: one thread, low priority."""
    torch.set_num_threads(1)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    grow_pool(pool, feed, seed, count, worker, workers)


@torch.inference_mode()
def validation_dice(
    network: UNet, feed: Feed, config: TrainingConfig, device: torch.device
) -> float:
    """Mean Dice on synthetic heads that training never sees."""
    scores = []
    for index in range(VALIDATION_HEADS):
        seed = derived_seed(config.seed, VALIDATION_STREAM, index)
        batch = feed.pair(feed.head(seed, device), seed)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(batch.image)
        found = (logits > 0).float()
        scores.append(float(soft_dice(found * batch.inside, batch.target * batch.inside)))
    return sum(scores) / len(scores)


def save_checkpoint(
    path: Path,
    network: UNet,
    average: UNet,
    optimizer: Any,
    progress: Progress,
    config: TrainingConfig,
) -> None:
    """Write everything a resumed run needs; the file is complete or not there."""
    state = {
        'network': network.state_dict(),
        'average': average.state_dict(),
        'optimizer': optimizer.state_dict(),
        'progress': asdict(progress),
        'config': asdict(config),
        'network_config': network.config.to_dict(),
    }
    partial = path.with_suffix('.tmp')
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(
    path: Path, network: UNet, average: UNet, optimizer: Any, config: TrainingConfig
) -> Progress:
    """Read what `save_checkpoint` wrote.

    Raises
    ------
    WeightsError
        The file is damaged, or belongs to a run with other settings.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        stored = TrainingConfig(**state['config'])
        if _comparable(stored) != _comparable(config):
            raise WeightsError(f'{path}: was made with other settings ({stored})')
        network.load_state_dict(state['network'])
        average.load_state_dict(state['average'])
        optimizer.load_state_dict(state['optimizer'])
        return Progress(**state['progress'])
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f'{path}: cannot resume from this checkpoint ({error})') from None


def _comparable(config: TrainingConfig) -> TrainingConfig:
    """Blank what a resumed run may change: its length and its helpers."""
    return replace(config, steps=0, minutes=None, checkpoint_minutes=0, pool=0, generators=0)


class Log:
    """TensorBoard scalars and pictures, and a progress bar; silent on all ranks but 0."""

    def __init__(self, folder: Path, active: bool, quiet: bool) -> None:
        self.writer: Any = None
        self.bar: Any = None
        if not active:
            return
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard.writer import SummaryWriter

            self.writer = SummaryWriter(str(folder / 'tensorboard'))
        if not quiet:
            from tqdm import tqdm

            self.bar = tqdm(total=100, unit='%', bar_format='{l_bar}{bar}| {postfix}')

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()
        if self.bar is not None:
            self.bar.close()

    def step(
        self,
        progress: Progress,
        config: TrainingConfig,
        batch: Batch,
        logits: Tensor,
        loss: Tensor,
        norm: Tensor,
    ) -> None:
        """Record one step; scalars every tenth, a picture every 500th."""
        if progress.step % 10:
            return
        if self.bar is not None:
            self.bar.n = round(100 * share_done(progress, config), 1)
            rate = progress.samples / max(progress.seconds, 1e-9)
            self.bar.set_postfix_str(
                f'step {progress.step}, loss {float(loss):.3f}, {rate:.1f} samples/s'
            )
        if self.writer is None:
            return
        self.writer.add_scalar('train/loss', float(loss), progress.step)
        self.writer.add_scalar(
            'train/rate', config.learning_rate * schedule(progress, config), progress.step
        )
        self.writer.add_scalar('train/samples', progress.samples, progress.step)
        self.writer.add_scalar('train/gradient_norm', float(norm), progress.step)
        if progress.step % 500 == 0:
            self.writer.add_image('train/sample', picture(batch, logits), progress.step)

    def validation(self, progress: Progress, dice: float) -> None:
        """Record the Dice on unseen synthetic heads."""
        if self.writer is not None:
            self.writer.add_scalar('validation/dice', dice, progress.step)
            self.writer.flush()


def picture(batch: Batch, logits: Tensor) -> Tensor:
    """Image, target and prediction of the first sample side by side, shape (1, x, 3 y)."""
    middle = batch.image.shape[-1] // 2
    panels = (batch.image, batch.target, logits.detach().float().sigmoid())
    return torch.cat([panel[0, 0, :, :, middle] for panel in panels], 1)[None].cpu()
