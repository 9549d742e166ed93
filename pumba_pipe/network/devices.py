"""Which device to compute on, with how many threads, at which precision."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import usable_threads

if TYPE_CHECKING:
    import torch

Result = TypeVar('Result')

CPU = 'cpu'
DEVICE = re.compile(r'(cpu|cuda|mps)(?::(\d+))?')
# What the driver of a GPU makes that torch can use: NVIDIA, AMD, and either within WSL.
LINUX_DRIVERS = ('/dev/nvidiactl', '/dev/nvidia0', '/dev/kfd', '/dev/dxg', '/dev/nvmap')


def choose_device(name: str = 'auto') -> str:
    """Return the name of a device; ``'auto'`` prefers CUDA, then MPS, then the CPU.

    Torch takes long to import, and is asked only where there may be a GPU.

    Raises
    ------
    InputError
        No such device here.
    """
    if name == 'auto':
        return _best_device() if may_have_gpu() else CPU
    found = DEVICE.fullmatch(name) if isinstance(name, str) else None
    if not found:
        raise InputError(f'device {name!r}: unknown; use auto, cpu, cuda, cuda:N or mps')
    kind, index = found[1], int(found[2] or 0)
    if kind == 'cuda' and index >= _cuda_devices():
        raise InputError(f'device {name!r}: this machine has no such GPU; use --device cpu')
    if kind == 'mps' and not _has_mps():
        raise InputError(f'device {name!r}: not available on this machine; use --device cpu')
    return CPU if kind == CPU else name


def may_have_gpu() -> bool:
    """Whether a GPU that torch can use may be here, without importing torch."""
    if sys.platform == 'linux':
        return any(os.path.exists(file) for file in LINUX_DRIVERS)
    if sys.platform == 'win32':
        driver = Path(os.environ.get('SYSTEMROOT', 'C:/Windows')) / 'System32' / 'nvcuda.dll'
        return driver.exists()
    return True


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return 'cuda'
    return 'mps' if torch.backends.mps.is_available() else CPU


def _cuda_devices() -> int:
    if not may_have_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def _has_mps() -> bool:
    if sys.platform != 'darwin':
        return False
    import torch

    return torch.backends.mps.is_available()


def with_fallback(work: Callable[[str], Result], device: str) -> tuple[Result, str | None]:
    """Do work on a device, and on the CPU when a GPU does not start or lacks memory.

    Parameters
    ----------
    work : callable
        Takes the device; what it returns must not lie there.
    device : str
        As `choose_device` returns it.

    Returns
    -------
    result
        What `work` returned.
    str or None
        Why the CPU stood in, in words, when it did.
    """
    failure = None
    try:
        result = work(device)
    except RuntimeError as error:  # also a fault of `work` itself, which the CPU then shows
        if device == CPU:
            raise
        failure = _in_words(error, device)
    # not in the handler: the error holds on to the frames, and so to tensors on the GPU
    _release(device)
    return (result, None) if failure is None else (work(CPU), failure)


def _in_words(error: RuntimeError, device: str) -> str:
    """A note for the user; of torch's message, which may be long, the first sentence."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].split('. ')[0]
    return f'computed on the CPU, because {device} failed: {reason}'


def _release(device: str) -> None:
    """Give a GPU's memory back: torch would keep it, and other processes lack it."""
    if device.startswith('cuda'):
        import torch

        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


@contextlib.contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` CPU threads for a while."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(usable_threads(count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def half_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast of torch to bfloat16 where the hardware has it; elsewhere it only costs time."""
    import torch

    if device.type == 'mps':
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes with bfloat16 itself.

    A CPU that only imitates it is far slower at a convolution than in single precision.
    """
    import torch

    if device.type == 'cuda':
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return device.type == 'cpu' and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    import torch

    check = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    return bool(check()) if check is not None else False
