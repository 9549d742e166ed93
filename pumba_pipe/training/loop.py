"""Recipe -> weights: one loop, readable from top to bottom.

`set_up` makes what is there before it; `take_step` is what it repeats.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.checkpoint import save_checkpoint
from pumba_pipe.training.constraints import disagreement, hardest_pairs, implausible_shape
from pumba_pipe.training.distributed import broadcast_from_rank0, stopping_together
from pumba_pipe.training.head_cache import HeadCacheSource, cache_folder, filling_cache
from pumba_pipe.training.log import Log
from pumba_pipe.training.losses import dice_and_cross_entropy
from pumba_pipe.training.protocols import Monitor, SampleSource
from pumba_pipe.training.samples import Batch, Curriculum, StreamSource
from pumba_pipe.training.set_up import Learner, set_up
from pumba_pipe.training.stage_run import StageResult, StageRun
from pumba_pipe.training.stage_settings import StageSettings, finished, schedule, share_done
from pumba_pipe.training.validation import SyntheticValidation


@stopping_together()
def train(run: StageRun) -> StageResult:
    """Train a network on synthetic heads (Park et al. 2025, section 2, with our recipe).

    Parameters
    ----------
    run : StageRun

    Returns
    -------
    StageResult
        With the averaged weights; those that did best on held-out cases, where there are some.

    Raises
    ------
    InputError
        The folder already holds a checkpoint, or the size does not fit the network.
    WeightsError
        The checkpoint to resume from is damaged or belongs to other settings.
    """
    learner = set_up(run)
    run, fabric, state = learner.run, learner.fabric, learner.state
    easy_share = run.settings.curriculum_fraction if run.initial is None else 0.0
    curriculum = Curriculum.of(run.recipe, run.settings, easy_share)
    log = Log(run.folder, learner.writes, run.quiet)
    monitor = make_monitor(learner, curriculum, log)
    with heads_made_ahead(learner, curriculum), log:
        fabric.barrier()  # the other ranks wait here for the first heads
        source = make_source(learner, curriculum)
        started = time.monotonic() - state.progress.seconds
        saved = time.monotonic()
        while not finished(state.progress, run.settings):
            if broadcast_from_rank0(fabric, monitor.should_stop(state.average, state.progress)):
                break
            batch = next_batch(learner, source, curriculum)
            logits, loss, norm = take_step(learner, batch)
            state.progress.step += 1
            state.progress.samples += run.settings.batch * fabric.world_size
            state.progress.seconds = broadcast_from_rank0(fabric, time.monotonic() - started)
            log.step(state.progress, run.settings, batch, logits, loss, norm)
            unsaved = broadcast_from_rank0(fabric, time.monotonic() - saved)
            if unsaved > run.settings.checkpoint_minutes * 60:
                monitor.at_checkpoint(state.average, state.progress)
                save(learner)
                if learner.writes:
                    run.keep(learner.result())
                saved = time.monotonic()
        save(learner)
        monitor.finish(state.average, state.progress)
    state.average.cpu().eval()
    return learner.result(monitor.best)


def make_monitor(learner: Learner, curriculum: Curriculum, log: Log) -> Monitor:
    """Who watches the run: labelled cases where there are some, or else heads of its own."""
    run, device = learner.run, learner.fabric.device
    monitor: Monitor = SyntheticValidation(curriculum.full, run.settings, device, log)
    if run.finetuning is not None:
        never_stop = run.initial is None
        monitor = run.finetuning.monitor(run.settings, run.folder, device, log, never_stop)
    if learner.state.progress.step:
        monitor.resume()
    return monitor


def heads_made_ahead(learner: Learner, curriculum: Curriculum) -> AbstractContextManager[None]:
    """Make heads ahead in other processes, where that is asked for and this is rank 0."""
    run = learner.run
    workers = run.settings.cache_workers_on(learner.fabric.device)
    synthetic = run.finetuning is None or run.finetuning.needs_synthetic
    needed = workers > 0 and synthetic and learner.writes
    if not needed or finished(learner.state.progress, run.settings):
        return nullcontext()
    return filling_cache(_cache(run, curriculum), curriculum.full, run.settings, workers)


def make_source(learner: Learner, curriculum: Curriculum) -> SampleSource:
    """Where samples come from."""
    run, device = learner.run, learner.fabric.device
    source: SampleSource = StreamSource(device)
    if run.settings.cache_workers_on(device):
        source = HeadCacheSource(_cache(run, curriculum), run.settings, device)
    if run.finetuning is not None:
        source = run.finetuning.source(source, run.settings, device)
    return source


def next_batch(learner: Learner, source: SampleSource, curriculum: Curriculum) -> Batch:
    """Draw what one step is to learn from, and change what is asked of it."""
    run, fabric, progress = learner.run, learner.fabric, learner.state.progress
    seeds = sample_seeds(run.settings, progress.step, fabric.global_rank)
    generator = curriculum.at(share_done(progress, run.settings))
    batch = source.batch(seeds, generator, progress.samples)
    batch = Batch(*(tensor.to(fabric.device) for tensor in batch))
    if run.settings.consistency:
        batch = hardest_pairs(learner.model, batch, run.settings.renderings)
    if run.teacher is not None:
        batch = run.teacher.targets(batch)
    if run.settings.only_intracranial:
        batch.target[:, :INTRACRANIAL] = torch.nan
    return batch


def take_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Change the weights once; return the logits, the loss, and the norm of its gradient."""
    fabric, model, state = learner.fabric, learner.model, learner.state
    settings = learner.run.settings
    for group in state.optimizer.param_groups:
        group['lr'] = settings.learning_rate * schedule(state.progress, settings)
    logits = model(batch.image)
    loss = training_loss(logits, batch, settings)
    state.optimizer.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        model, state.optimizer, max_norm=settings.clip, error_if_nonfinite=False
    )
    if torch.isfinite(norm):
        state.optimizer.step()
    update_average(state.average, state.network, settings.ema, state.progress.step)
    return logits, loss.detach(), norm


def save(learner: Learner) -> None:
    """Write a checkpoint, if this is the process that writes."""
    if learner.writes:
        run = learner.run
        save_checkpoint(run.checkpoint, learner.state, run.settings, run.recipe.digest)


def _cache(run: StageRun, curriculum: Curriculum) -> Path:
    return cache_folder(run.cache_dir or run.folder / 'head-cache', curriculum.full)


def training_loss(logits: Tensor, batch: Batch, settings: StageSettings) -> Tensor:
    """What a step minimizes: the labels, and what is asked beside them."""
    loss = dice_and_cross_entropy(logits, batch.target, batch.inside)
    if settings.consistency:
        loss = loss + settings.consistency * disagreement(logits, batch.inside)
    if settings.plausible_shape:
        loss = loss + settings.plausible_shape * implausible_shape(logits, batch.inside)
    return loss


def sample_seeds(settings: StageSettings, step: int, rank: int) -> list[int]:
    """Seeds of one process's samples in one step: resumed runs draw what they would have.

    They count through the samples of all ranks, so that what a step draws depends on how many
    samples it has, and not on how many processes share them.
    """
    first = rank * settings.batch
    # the 0 keeps what runs of one process have always drawn
    return [derived_seed(settings.seed, step, 0, first + item) for item in range(settings.batch)]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, memory: float, step: int) -> None:
    """Move the averaged weights towards the present ones; the first steps count less."""
    memory = min(memory, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value.detach(), 1 - memory)
