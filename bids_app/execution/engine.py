"""Check of weights and device before any work, and the start method of worker processes."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from pumba_pipe.bids_app.options.config import RunConfig

PRELOADED = ['numpy', 'nipype.pipeline.engine', 'nipype.pipeline.plugins.multiproc']


@dataclass(frozen=True)
class Engine:
    """Weights and device that are known to work.

    Attributes
    ----------
    weights : Path
    sha256 : str
    device : str
        ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.
    """

    weights: Path
    sha256: str
    device: str


def check_engine(weights: Path | None, device: str) -> Engine:
    """Load the weights and find the device.

    Raises
    ------
    WeightsError
        The file is missing, damaged or foreign.
    InputError
        There is no such device.
    """
    from pumba_pipe.network.devices import choose_device
    from pumba_pipe.network.weights import default_weights, load_weights

    path = (weights or default_weights()).absolute()
    return Engine(path, load_weights(path).sha256, choose_device(device))


def process_context() -> BaseContext:
    """How worker processes are started: never as copies of a process that has used the networks.

    On Linux a fork server imports Nipype once for all workers, and torch where there may be a
    GPU; elsewhere that is not safe.
    """
    from pumba_pipe.network.devices import may_have_gpu

    if sys.platform != 'linux':
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([*PRELOADED, *(['torch'] if may_have_gpu() else [])])
    return context


def prepare_engine(config: RunConfig) -> Engine:
    """Check weights and device, in another process when work will be done there too.

    A parent that has imported torch, to ask for a GPU, would keep its memory for nothing.
    """
    if config.nprocs == 1 or 'torch' in sys.modules:
        return check_engine(config.weights, config.device)
    with ProcessPoolExecutor(1, mp_context=process_context()) as pool:
        return pool.submit(check_engine, config.weights, config.device).result()
