"""One call, cubes in and logits out, whatever computes: OpenVINO on CPUs, torch on GPUs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from pumba_pipe.common.errors import INSTALL_MISSING, PumbaError
from pumba_pipe.common.resources import available_cpus
from pumba_pipe.network.devices import CPU
from pumba_pipe.network.parameters import torch_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pumba_pipe.network.weights import Stage

LOGIT_LIMIT = 10.0  # logits are cut to minus and plus this
NO_LIBRARY = (
    'the networks need OpenVINO, which computes on CPUs, or PyTorch; neither can be used here; '
    + INSTALL_MISSING
)


class Engine(Protocol):
    """The network of a stage, ready to predict.

    Attributes
    ----------
    size : int
        Side of the cube it looks at, in voxels.
    borders : int
        What it predicts, see `pumba_pipe.network.config.NetworkConfig`.
    """

    size: int
    borders: int

    def predict(self, cube: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a cube.

        Parameters
        ----------
        cube : ndarray of float32, shape (size, size, size)
            Grey values in 0..1.

        Returns
        -------
        ndarray of float32, shape (borders, size, size, size)
            The caller's own.
        """


def library_for(device: str) -> str:
    """Name of the package that computes networks of a file on a device; nothing is imported."""
    return 'openvino' if device == CPU and find_spec('openvino') is not None else 'torch'


def engine_for(stage: Stage, device: str = CPU, threads: int | None = None) -> Engine:
    """Return what computes a stage on a device.

    On a CPU that is OpenVINO, without importing torch, for networks as they were read from a
    file. Torch takes its place where OpenVINO is not installed (there is none for Intel Macs), in
    a process that was forked from one that has used it, and for networks of the caller's own,
    which may be any.

    Parameters
    ----------
    stage : Stage
    device : str
        As `pumba_pipe.network.devices.choose_device` returns it.
    threads : int, optional
        CPU threads; default: what OpenVINO or torch choose.

    Raises
    ------
    PumbaError
        Neither is installed, or torch is not and OpenVINO cannot stand in.
    """
    parameters = stage.parameters
    if parameters is not None and device == CPU:
        from pumba_pipe.network.openvino_engine import is_usable, openvino_engine

        if is_usable():
            return openvino_engine(parameters, stage.size, LOGIT_LIMIT, threads)
    try:
        from pumba_pipe.network.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise PumbaError(NO_LIBRARY) from None

    # of its own: the stage's must not lie on a GPU when the CPU takes over
    network = stage.network if parameters is None else torch_network(parameters)
    return TorchEngine(network, stage.size, LOGIT_LIMIT, device, threads)


@contextlib.contextmanager
def compiled_meanwhile(stages: Sequence[Stage], threads: int | None = None) -> Iterator[None]:
    """Compile the networks of stages for the CPU in a thread, while the block does other work.

    With one CPU thread, and where torch is to compute, nothing is done ahead. What goes wrong is
    told when the networks are used.

    Parameters
    ----------
    stages : sequence of Stage
    threads : int, optional
        See `engine_for`.
    """
    from pumba_pipe.network.openvino_engine import thread_count

    worker = threading.Thread(target=_compile, args=(stages, threads), daemon=True)
    if stages and (thread_count(threads) or available_cpus()) > 1:
        worker.start()
    try:
        yield
    finally:
        if worker.ident is not None:  # Python must not end in the middle of it
            worker.join()


def _compile(stages: Sequence[Stage], threads: int | None) -> None:
    from pumba_pipe.network.openvino_engine import is_usable, openvino_engine

    with contextlib.suppress(Exception):
        for stage in stages:
            if stage.parameters is not None and is_usable():
                openvino_engine(stage.parameters, stage.size, LOGIT_LIMIT, threads).prepare()
