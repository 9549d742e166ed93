"""Check of weights and device before any work, and the start method of worker processes."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.processes import end_workers, shielded, shorten_socket_paths
from pumba_pipe.common.resources import check_memory_for_torch

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from pumba_pipe.bids_app.options.config import RunConfig

PRELOADED = ['numpy', 'nipype.pipeline.engine', 'nipype.pipeline.plugins.multiproc']


@dataclass(frozen=True)
class CheckedWeights:
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


def check_weights(weights: Path | None, device: str) -> CheckedWeights:
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
    return CheckedWeights(path, load_weights(path).sha256, choose_device(device))


def process_context() -> BaseContext:
    """How worker processes are started: never as copies of a process that has used the networks.

    On Linux a fork server imports Nipype once for all workers, and torch where there may be a
    GPU; elsewhere that is not safe.

    Raises
    ------
    PumbaError
        TMPDIR is too long for the fork server's sockets, and there is no other folder for them.
    """
    from pumba_pipe.network.devices import may_have_gpu

    if sys.platform != 'linux':
        return multiprocessing.get_context('spawn')
    shorten_socket_paths()
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([*PRELOADED, *(['torch'] if may_have_gpu() else [])])
    return context


def prepare_weights(config: RunConfig) -> CheckedWeights:
    """Check weights and device, in another process when work will be done there too.

    A parent that has imported torch, to ask for a GPU, would keep its memory for nothing.
    """
    if config.nprocs == 1 or 'torch' in sys.modules:
        return check_weights(config.weights, config.device)
    check_memory_for_torch()
    context = process_context()
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                with shielded():
                    checked = pool.submit(check_weights, config.weights, config.device)
                return checked.result()
            except KeyboardInterrupt:  # the pool would wait for the worker
                end_workers()
                raise
    except (EOFError, ConnectionError, BrokenProcessPool):
        raise PumbaError(
            'a worker process ended before it could do anything, most likely for lack of memory; '
            'use a machine with more, or a higher limit (ulimit -v)'
        ) from None
