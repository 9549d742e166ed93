"""All that is there before the first step: network, optimizer, device and processes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import usable_threads
from pumba_pipe.network.config import INTRACRANIAL
from pumba_pipe.network.unet import UNet, channels_last, with_intracranial_space
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.checkpoint import TrainingState, load_checkpoint
from pumba_pipe.training.distributed import check_same_step, launch
from pumba_pipe.training.optimizers import make_optimizer
from pumba_pipe.training.settings import check_constraints
from pumba_pipe.training.stage_run import StageResult, StageRun


@dataclass(frozen=True)
class Learner:
    """One process of a training: what it is to do, and what it does it with.

    Attributes
    ----------
    run : StageRun
    fabric : lightning.fabric.Fabric
    model : torch.nn.Module
        The network as Fabric runs it, on its device and at its precision.
    state : TrainingState
        What training changes; its network shares its weights with `model`.
    """

    run: StageRun
    fabric: Any
    model: Any
    state: TrainingState

    @property
    def writes(self) -> bool:
        """Whether this is rank 0, the one process that writes files."""
        return bool(self.fabric.global_rank == 0)

    def result(self, best: tuple[int, float] | None = None) -> StageResult:
        """What there is by now: the averaged weights."""
        device, count = self.fabric.device, self.fabric.world_size
        name = torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'
        return StageResult(
            network=self.state.average,
            progress=self.state.progress,
            hardware=f'{count} x {name}',
            rank=self.fabric.global_rank,
            best=best,
        )


def set_up(run: StageRun) -> Learner:
    """Make a network, or take up what a checkpoint holds, and bring it to the device.

    Raises
    ------
    InputError, PumbaError, WeightsError
        See `pumba_pipe.training.loop.train`.
    """
    network = _network(run)
    if run.settings.only_intracranial:
        run = replace(run, settings=replace(run.settings, weight_decay=0.0))
    _check(run, network)
    fabric = launch(run.hardware)
    if run.hardware.threads:  # after Fabric has shared the cores out among the processes
        torch.set_num_threads(usable_threads(run.hardware.threads))
    run.folder.mkdir(parents=True, exist_ok=True)
    if run.initial is None:
        initialize(network, run.settings.seed)
    state = _state(run, network.to(fabric.device))
    check_same_step(fabric, state.progress.step, run.checkpoint)
    state.network = channels_last(state.network)
    forward = torch.compile(state.network) if run.hardware.compiled else state.network
    model, state.optimizer = fabric.setup(forward, state.optimizer)
    return Learner(run, fabric, model, state)


def _network(run: StageRun) -> UNet:
    """The network to train; without initial weights its own are not drawn yet."""
    start = UNet(run.network_config) if run.initial is None else copy.deepcopy(run.initial)
    network = with_intracranial_space(start)
    network.requires_grad_(True)
    if run.settings.only_intracranial:
        if run.initial is None:
            raise InputError('the intracranial space alone is learned from initial weights')
        keep_brain(network)
    return network


def _check(run: StageRun, network: UNet) -> None:
    settings = run.settings
    check_constraints(settings.consistency, settings.renderings, settings.plausible_shape)
    multiple = network.config.multiple
    # Statistics over fewer than 3x3x3 voxels say nothing, and in bfloat16 the gradient of a
    # convolution on 2x2x2 voxels came out wrong (oneDNN, torch 2.13).
    if settings.size % multiple or settings.size < 3 * multiple:
        raise InputError(
            f'size {settings.size}: must be a multiple of {multiple}, at least {3 * multiple}'
        )
    if run.checkpoint.exists() and not run.resume:
        raise InputError(
            f'{run.checkpoint}: a training already lies here; resume it or choose another folder'
        )


def _state(run: StageRun, network: UNet) -> TrainingState:
    """The state to go on from; the optimizer's goes where the weights are."""
    settings = run.settings
    optimizer = make_optimizer(
        settings.optimizer, network, settings.learning_rate, settings.weight_decay
    )
    state = TrainingState(network, copy.deepcopy(network).requires_grad_(False), optimizer)
    if run.resume and run.checkpoint.exists():
        load_checkpoint(run.checkpoint, state, settings, run.recipe.digest)
    return state


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
