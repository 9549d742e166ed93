"""Recipe -> weights: one loop, readable from top to bottom."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pumba_pipe.common.errors import InputError
from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.network.unet import (
    NetworkConfig,
    UNet,
    channels_last,
    with_intracranial_space,
)
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import Recipe, curriculum_recipe
from pumba_pipe.training.checkpoint import load_checkpoint, save_checkpoint
from pumba_pipe.training.constraints import disagreement, hardest_pairs, implausible_shape
from pumba_pipe.training.distributed import (
    broadcast_from_rank0,
    check_same_step,
    launch,
    stopping_together,
)
from pumba_pipe.training.head_cache import HeadCacheSource, cache_folder, filling_cache
from pumba_pipe.training.log import Log
from pumba_pipe.training.losses import dice_and_cross_entropy
from pumba_pipe.training.optimizers import make_optimizer
from pumba_pipe.training.protocols import FineTuning, Monitor, SampleSource
from pumba_pipe.training.samples import Batch, SampleGenerator, StreamSource
from pumba_pipe.training.settings import Hardware, check_constraints
from pumba_pipe.training.stage_settings import (
    StageProgress,
    StageSettings,
    finished,
    schedule,
    share_done,
)
from pumba_pipe.training.teacher import Teacher
from pumba_pipe.training.validation import SyntheticValidation


@dataclass(frozen=True)
class TrainingResult:
    """A finished run, as one of its processes sees it; rank 0 writes files."""

    network: UNet
    progress: StageProgress
    hardware: str
    rank: int
    best: tuple[int, float] | None = None  # step and Dice on held-out cases


@stopping_together()
def train(
    recipe: Recipe,
    folder: Path,
    config: StageSettings = StageSettings(),
    network_config: NetworkConfig = NetworkConfig(),
    hardware: Hardware = Hardware(),
    initial: UNet | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
    kept: Callable[[TrainingResult], None] = lambda result: None,
    finetuning: FineTuning | None = None,
    teacher: Teacher | None = None,
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
    cache_dir : Path, optional
        Folder for head caches, which several runs may share; default ``folder/head-cache``.
    quiet : bool
        No progress bar.
    kept : callable
        Called on rank 0 with what there is so far whenever a checkpoint is written.
    finetuning : FineTuning, optional
        Labelled real images to train on besides.
    teacher : Teacher, optional
        Trained networks to learn from besides.

    Returns
    -------
    TrainingResult
        With the averaged weights; those that did best on held-out cases, where there are some.

    Raises
    ------
    InputError
        The folder already holds a checkpoint, or the size does not fit the network.
    WeightsError
        The checkpoint to resume from is damaged or belongs to other settings.
    """
    network = UNet(network_config) if initial is None else copy.deepcopy(initial)
    network = with_intracranial_space(network)
    network.requires_grad_(True)
    if config.only_intracranial:
        if initial is None:
            raise InputError('the intracranial space alone is learned from initial weights')
        keep_brain(network)
        config = replace(config, weight_decay=0.0)
    checkpoint = folder / 'checkpoint.pt'
    _check(config, network, checkpoint, resume)
    fabric = launch(hardware)
    if hardware.threads:  # after Fabric has shared the cores out among the processes
        torch.set_num_threads(hardware.threads)
    folder.mkdir(parents=True, exist_ok=True)

    if initial is None:
        initialize(network, config.seed)
    # before the optimizer's state is read, which goes where the weights are
    network = network.to(fabric.device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer: Any = make_optimizer(
        config.optimizer, network, config.learning_rate, config.weight_decay
    )
    progress = StageProgress()
    if resume and checkpoint.exists():
        progress = load_checkpoint(checkpoint, network, average, optimizer, config, recipe.digest)
    check_same_step(fabric, progress.step, checkpoint)
    network = channels_last(network)
    forward = torch.compile(network) if hardware.compiled else network
    model, optimizer = fabric.setup(forward, optimizer)
    saved_parts = (checkpoint, network, average, optimizer)

    generator = SampleGenerator(recipe, config.size, config.box_share, config.images_per_head)
    easy = replace(generator, recipe=curriculum_recipe(recipe))
    easy_until = config.curriculum_fraction if initial is None else 0.0
    cache = cache_folder(cache_dir or folder / 'head-cache', generator)
    name = torch.cuda.get_device_name() if fabric.device.type == 'cuda' else 'CPU'
    described = f'{fabric.world_size} x {name}'
    log = Log(folder, fabric.global_rank == 0, quiet)
    monitor: Monitor = SyntheticValidation(generator, config, fabric.device, log)
    if finetuning is not None:
        never_stop = initial is None
        monitor = finetuning.monitor(config, folder, fabric.device, log, never_stop)
    if progress.step:
        monitor.resume()
    synthetic = finetuning is None or finetuning.needs_synthetic
    cache_workers = config.cache_workers_on(fabric.device)
    fills_cache = cache_workers > 0 and synthetic and fabric.global_rank == 0
    fills_cache = fills_cache and not finished(progress, config)
    filling = filling_cache(cache, generator, config, cache_workers) if fills_cache else None
    with filling or contextlib.nullcontext(), log:
        fabric.barrier()  # the other ranks wait here for the first heads
        source: SampleSource = StreamSource(fabric.device)
        if cache_workers:
            source = HeadCacheSource(cache, config, fabric.device)
        if finetuning is not None:
            source = finetuning.source(source, config, fabric.device)
        started = time.monotonic() - progress.seconds
        saved = time.monotonic()
        while not finished(progress, config):
            if broadcast_from_rank0(fabric, monitor.should_stop(average, progress)):
                break
            for group in optimizer.param_groups:
                group['lr'] = config.learning_rate * schedule(progress, config)
            seeds = sample_seeds(config, progress.step, fabric.global_rank)
            shown = easy if share_done(progress, config) < easy_until else generator
            batch = source.batch(seeds, shown, progress.samples)
            batch = Batch(*(tensor.to(fabric.device) for tensor in batch))
            if config.consistency:
                batch = hardest_pairs(model, batch, config.renderings)
            if teacher is not None:
                batch = teacher.targets(batch)
            if config.only_intracranial:
                batch.target[:, :INTRACRANIAL] = torch.nan
            logits = model(batch.image)
            loss = training_loss(logits, batch, config)
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
            progress.seconds = broadcast_from_rank0(fabric, time.monotonic() - started)
            log.step(progress, config, batch, logits, loss.detach(), norm)
            if (
                broadcast_from_rank0(fabric, time.monotonic() - saved)
                > config.checkpoint_minutes * 60
            ):
                monitor.at_checkpoint(average, progress)
                if fabric.global_rank == 0:
                    save_checkpoint(*saved_parts, progress, config, recipe.digest)
                    kept(TrainingResult(average, progress, described, fabric.global_rank))
                saved = time.monotonic()
        if fabric.global_rank == 0:
            save_checkpoint(*saved_parts, progress, config, recipe.digest)
        monitor.finish(average, progress)
    return TrainingResult(
        average.cpu().eval(),
        progress,
        described,
        fabric.global_rank,
        monitor.best,
    )


def keep_brain(network: UNet) -> None:
    """Let a network learn the intracranial space alone, from features that stay as they are.

    Without weight decay its predictions of the brain's borders stay the same to the last bit.
    """
    network.requires_grad_(False)
    cells = network.config.stem**3

    def of_intracranial_space(gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        kept[: INTRACRANIAL * cells] = 0
        return kept

    for parameter in network.head.parameters():
        parameter.requires_grad_(True).register_hook(of_intracranial_space)


def training_loss(logits: Tensor, batch: Batch, config: StageSettings) -> Tensor:
    """What a step minimizes: the labels, and what is asked beside them."""
    loss = dice_and_cross_entropy(logits, batch.target, batch.inside)
    if config.consistency:
        loss = loss + config.consistency * disagreement(logits, batch.inside)
    if config.plausible_shape:
        loss = loss + config.plausible_shape * implausible_shape(logits, batch.inside)
    return loss


def _check(config: StageSettings, network: UNet, checkpoint: Path, resume: bool) -> None:
    check_constraints(config.consistency, config.renderings, config.plausible_shape)
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


def sample_seeds(config: StageSettings, step: int, rank: int) -> list[int]:
    """Seeds of one process's samples in one step: resumed runs draw what they would have.

    They count through the samples of all ranks, so that what a step draws depends on how many
    samples it has, and not on how many processes share them.
    """
    first = rank * config.batch
    # the 0 keeps what runs of one process have always drawn
    return [derived_seed(config.seed, step, 0, first + item) for item in range(config.batch)]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, memory: float, step: int) -> None:
    """Move the averaged weights towards the present ones; the first steps count less."""
    memory = min(memory, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value.detach(), 1 - memory)
