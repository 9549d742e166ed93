"""The processes of one training: how they start, agree, and stop when one of them is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.network.devices import choose_device, has_bfloat16
from pumba_pipe.training.settings import Hardware


def launch(hardware: Hardware) -> Any:
    """Set up Lightning Fabric: device, precision, processes.

    Fabric starts the other processes of a node itself, unless torchrun or srun have done so.

    Raises
    ------
    InputError
        Another number of processes was started than asked for.
    PumbaError
        Fabric is not installed, or cannot start on this machine.
    """
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.utilities.exceptions import MisconfigurationException
    except ImportError:
        raise PumbaError(
            "training needs Lightning Fabric: pip install 'pumba_pipe[train]'"
        ) from None
    _check_count(hardware)
    quieten_lightning()
    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            precision=chosen_precision(hardware),
        )
        fabric.launch()
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise PumbaError(
            f'cannot start training: {error} (options: --device, --devices, --nodes)'
        ) from None
    return fabric


def quieten_lightning() -> None:
    """Let Lightning print warnings alone: what it chose was asked for, and files name it.

    It prints to the stream that was stderr when it was imported, which may be closed by now.
    """
    for name in ('lightning', 'lightning.fabric', 'lightning.pytorch'):
        logging.getLogger(name).setLevel(logging.WARNING)
    # where SLURM is installed it advises against training without it
    warnings.filterwarnings('ignore', 'The `srun` command is available', module='lightning')


def chosen_precision(hardware: Hardware) -> Literal['bf16-mixed', '32-true']:
    """Precision to train at, as Lightning Fabric names it."""
    if hardware.precision != 'auto':
        return hardware.precision
    name = {'gpu': 'cuda'}.get(hardware.accelerator, hardware.accelerator)
    device = torch.device(choose_device() if name == 'auto' else name)
    return 'bf16-mixed' if has_bfloat16(device) else '32-true'


def _check_count(hardware: Hardware) -> None:
    """Refuse runs that know nothing of each other and would write the same files."""
    started = int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_STEP_NUM_TASKS') or 1)
    if started > 1 and started != hardware.devices * hardware.nodes:
        raise InputError(
            f'{started} processes were started, but --devices {hardware.devices} and --nodes '
            f'{hardware.nodes} make {hardware.devices * hardware.nodes}; give both options as '
            'torchrun or srun were given them'
        )


def broadcast_from_rank0(fabric: Any, value: float) -> float:
    """Rank 0's value, such as its clock, so that all ranks stop at the same step."""
    if fabric.world_size == 1:
        return value
    return float(fabric.broadcast(value))


def check_same_step(fabric: Any, step: int, checkpoint: Path) -> None:
    """Make sure that all ranks go on from the same place.

    Raises
    ------
    InputError
        A rank has not read the checkpoint that rank 0 has read.
    """
    if step != broadcast_from_rank0(fabric, step):
        raise InputError(
            f'{checkpoint}: not the same for all processes; the folder of a run must lie where '
            'all nodes see it'
        )


def leave_group() -> None:
    """Part from the other processes when all is done.

    Else a process may abort at its end: gloo's threads still run when Python takes them down.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def stopping_together() -> Iterator[None]:
    """Turn the failure of talking to a process that is gone into an error of one line."""
    try:
        yield
    except RuntimeError as error:
        # gloo has no class of errors of its own: it names its source file
        if not isinstance(error, torch.distributed.DistError) and 'gloo' not in str(error):
            raise
        raise PumbaError(
            'another process of this training has stopped, and so does this one; see why, then '
            'go on from the last checkpoint with --resume'
        ) from None
