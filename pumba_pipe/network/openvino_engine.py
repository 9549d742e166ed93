"""Networks on a CPU by OpenVINO, which costs a fraction of torch's time and memory."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from pumba_pipe.common.resources import available_cpus
from pumba_pipe.network.openvino_unet import unet_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.parameters import Parameters

CONVERTER = 'openvino.tools.ovc'
BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16'}
CPU_FLAGS = Path('/proc/cpuinfo')


class OpenVinoEngine:
    """The network of a stage, compiled when it is first asked.

    Parameters
    ----------
    parameters : Parameters
    size : int
        Side of the cube, in voxels.
    limit : float
        Logits are cut to minus and plus this.
    threads : int
        0 is what OpenVINO chooses.
    precision : str
        ``'bf16'`` or ``'f32'``.
    """

    def __init__(
        self, parameters: Parameters, size: int, limit: float, threads: int, precision: str
    ) -> None:
        self._openvino = import_openvino()
        self.size, self.borders = size, parameters.config.borders
        self._parameters = replace(parameters)  # a reference to the key would keep itself
        self._limit = limit
        self._options = {
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': '1',
            'INFERENCE_NUM_THREADS': str(threads),
            # processes side by side would all be pinned to the same first cores
            'ENABLE_CPU_PINNING': 'NO',
            'INFERENCE_PRECISION_HINT': precision,
        }
        self._compiled: Any = None
        self._lock = Lock()

    def predict(self, cube: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits, (borders, size, size, size), of a cube."""
        image = np.ascontiguousarray(cube, np.float32)[None, None]
        logits = np.empty((1, self.borders, *cube.shape), np.float32)
        with self._lock:
            request = self._request()
            # written where the caller will have it, not copied there
            request.set_output_tensor(self._openvino.Tensor(logits, shared_memory=True))
            request.infer([image], share_inputs=True, share_outputs=True)
        return logits[0]

    def prepare(self) -> None:
        """Compile the network now, not when it is first asked."""
        with self._lock:
            self._request()

    def _request(self) -> Any:
        if self._compiled is None:
            model = unet_model(self._openvino, self._parameters, self.size, self._limit)
            compiled = _started(self._openvino).compile_model(model, 'CPU', self._options)
            self._compiled = compiled.create_infer_request()
        return self._compiled


# What was compiled stays as long as the parameters it was made of.
_engines: WeakKeyDictionary[Parameters, dict[tuple, OpenVinoEngine]] = WeakKeyDictionary()
_core: Any = None
_core_process = 0
_lock = Lock()


def is_usable() -> bool:
    """Whether OpenVINO can be used in this process: it is installed, and starts here.

    A forked process lacks the threads that OpenVINO has started in its parent: it may wait for
    them for ever.
    """
    if _core is not None:
        return _core_process == os.getpid()
    try:
        import_openvino()
    except ImportError:
        return False
    return True


def openvino_engine(
    parameters: Parameters, size: int, limit: float, threads: int | None
) -> OpenVinoEngine:
    """Return the engine for a stage, the same at each call; see `is_usable`."""
    precision = 'bf16' if cpu_has_bfloat16() else 'f32'
    options = (size, limit, thread_count(threads), precision)
    with _lock:
        engines = _engines.setdefault(parameters, {})
        if options not in engines:
            engines[options] = OpenVinoEngine(parameters, *options)
        return engines[options]


def import_openvino() -> Any:
    """Import OpenVINO without its converter of models.

    That is not needed, takes longer to import than all the rest, and brings telemetry along.

    Raises
    ------
    ImportError
        It is not installed.
    """
    absent = 'openvino' not in sys.modules and CONVERTER not in sys.modules
    if absent:
        sys.modules[CONVERTER] = None  # type: ignore[assignment]
    try:
        return importlib.import_module('openvino')
    finally:
        if absent:
            del sys.modules[CONVERTER]


def _started(openvino: Any) -> Any:
    global _core, _core_process
    with _lock:
        if _core is None:
            _core, _core_process = openvino.Core(), os.getpid()
        return _core


def thread_count(threads: int | None) -> int:
    """CPU threads to use; 0 is what OpenVINO chooses.

    Without a number, ``OMP_NUM_THREADS`` counts, as for torch, then what container and job allow.
    """
    given = os.environ.get('OMP_NUM_THREADS', '')
    if threads is None and given.isdigit():
        threads = int(given)
    if threads:
        return threads
    allowed = available_cpus()
    return allowed if allowed < (os.cpu_count() or 1) else 0


def cpu_has_bfloat16(flags: Path = CPU_FLAGS) -> bool:
    """Whether the CPU itself computes with bfloat16, as far as the system tells (Linux)."""
    try:
        text = flags.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return False
    line = next((line for line in text.splitlines() if line.startswith('flags')), '')
    return not BFLOAT16_FLAGS.isdisjoint(line.split())
