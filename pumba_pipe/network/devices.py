"""Which device to compute on, with how many threads, at which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from pumba_pipe.common.errors import InputError

Result = TypeVar('Result')


def choose_device(name: str = 'auto') -> torch.device:
    """Return the device called `name`; ``'auto'`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    InputError
        No such device here.
    """
    if name == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(f'device {name!r}: unknown; use auto, cpu, cuda, cuda:N or mps') from None
    if device.type not in ('cpu', 'cuda', 'mps'):
        raise InputError(f'device {name!r}: unknown; use auto, cpu, cuda, cuda:N or mps')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f'device {name!r}: this machine has no such GPU; use --device cpu')
    if device.type == 'mps' and not torch.backends.mps.is_available():
        raise InputError(f'device {name!r}: not available on this machine; use --device cpu')
    return device


def with_fallback(
    work: Callable[[torch.device], Result], device: torch.device
) -> tuple[Result, str | None]:
    """Do work on a device, and on the CPU when a GPU does not start or lacks memory.

    Parameters
    ----------
    work : callable
        Takes the device; what it returns must not lie there.
    device : torch.device

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
        if device.type == 'cpu':
            raise
        failure = _in_words(error, device)
    # not in the handler: the error holds on to the frames, and so to tensors on the GPU
    _release(device)
    return (result, None) if failure is None else (work(torch.device('cpu')), failure)


def _in_words(error: RuntimeError, device: torch.device) -> str:
    """A note for the user; of torch's message, which may be long, the first sentence."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].split('. ')[0]
    return f'computed on the CPU, because {device} failed: {reason}'


def _release(device: torch.device) -> None:
    """Give a GPU's memory back: torch would keep it, and other processes lack it."""
    if device.type == 'cuda':
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


@contextlib.contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` CPU threads for a while."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def half_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 where the hardware has it; elsewhere it would only cost time."""
    if device.type == 'mps':
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes with bfloat16 itself.

    A CPU that only imitates it is far slower at a convolution than in single precision.
    """
    if device.type == 'cuda':
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return device.type == 'cpu' and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    check = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    return bool(check()) if check is not None else False
