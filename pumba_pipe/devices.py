"""Which device to compute on, with how many threads, at which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pumba_pipe.errors import InputError


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
    except RuntimeError:
        raise InputError(f'device {name!r}: unknown; use auto, cpu, cuda, cuda:N or mps') from None
    if device.type not in ('cpu', 'cuda', 'mps'):
        raise InputError(f'device {name!r}: unknown; use auto, cpu, cuda, cuda:N or mps')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f'device {name!r}: this machine has no such GPU; use --device cpu')
    if device.type == 'mps' and not torch.backends.mps.is_available():
        raise InputError(f'device {name!r}: not available on this machine; use --device cpu')
    return device


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
    if device.type == 'cuda':
        return torch.autocast('cuda', torch.bfloat16, enabled=torch.cuda.is_bf16_supported())
    if device.type == 'cpu':
        return torch.autocast('cpu', torch.bfloat16, enabled=_cpu_has_bfloat16())
    return contextlib.nullcontext()


def _cpu_has_bfloat16() -> bool:
    check = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    return bool(check()) if check is not None else False
