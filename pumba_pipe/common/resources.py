"""CPUs and memory that this process may use: the least of what machine, container and job allow.

What is looked at: the CPU affinity and the memory of the machine; the limits of the process's
control group and of all groups above it, in versions 1 and 2 of Linux's cgroups (set by Docker,
Kubernetes, SLURM, systemd); what SLURM says about the job in its environment.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

MEMORY_SHARE = 0.9  # of what there is: some is left to the system and to the main process
MIB = 2**20
ROOT = Path('/')
OUT_OF_MEMORY = 'out of memory; try --device cpu, fewer processes or a machine with more memory'
# How libraries say so that raise no MemoryError: torch, oneDNN, the dynamic linker, C++
NO_MEMORY = (
    'not enough memory', "can't allocate memory", 'cannot allocate memory', 'bad_alloc',
    'could not create a primitive', 'failed to map segment', 'out of memory',
    'failed to allocate', 'resource temporarily unavailable',
)  # fmt: skip
TORCH_BYTES = 700_000_000  # address space of a process that has imported PyTorch


def available_cpus(root: Path = ROOT, environment: Mapping[str, str] | None = None) -> int:
    """CPUs this process may use, which can be fewer than the machine has.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    environment : mapping of str to str, optional
        Default: that of this process.

    Returns
    -------
    int
        At least 1; a share of a CPU is left out.
    """
    limits = [_machine_cpus(), *_cpu_quotas(root), *_slurm_cpus(_environment(environment))]
    return max(1, int(min(limits)))


def usable_threads(asked: int) -> int:
    """As many threads as are asked for, at most one for each CPU of the machine.

    Libraries reserve memory for each, and end the process where there is not so much.

    Examples
    --------
    >>> usable_threads(1), usable_threads(10**9) == os.cpu_count()
    (1, True)
    """
    return min(asked, os.cpu_count() or 1)


def available_memory_gb(root: Path = ROOT, environment: Mapping[str, str] | None = None) -> float:
    """Memory this process should use at most, in GB: `MEMORY_SHARE` of the least limit.

    Parameters
    ----------
    root, environment
        See `available_cpus`.

    Returns
    -------
    float
        Infinite on a system that does not tell.
    """
    limits = [
        _machine_memory(), *_cgroup_memory(root), *_slurm_memory(_environment(environment)),
    ]  # fmt: skip
    return MEMORY_SHARE * min(limits) / 1e9


def one_blas_thread() -> AbstractContextManager[Any]:
    """Let numpy multiply matrices in one thread for a while.

    For products as small as those of sampling more of them only wait for each other: on a busy
    machine they cost many times what they save.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api='blas')


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given


def _machine_cpus() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _machine_memory() -> float:
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # Windows; other systems that do not tell
        return float('inf')


def _cpu_quotas(root: Path) -> Iterator[float]:
    """CPU time for each unit of time that each control group allows."""
    for folder in _cgroup_folders(root, 'cpu'):
        quota, period = _words(folder / 'cpu.max', 2)  # version 2
        if quota is None:
            (quota,), (period,) = (
                _words(folder / f'cpu.cfs_{name}_us', 1) for name in ('quota', 'period')
            )
        if quota and period and quota > 0:  # -1: no limit
            yield quota / period


def _cgroup_memory(root: Path) -> Iterator[int]:
    """Bytes that each control group allows."""
    for folder in _cgroup_folders(root, 'memory'):
        for name in ('memory.max', 'memory.limit_in_bytes'):  # version 2, version 1
            (limit,) = _words(folder / name, 1)
            if limit is not None:
                yield limit


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the process's control group and of those above it, as far as they can be seen.

    A container often sees its own group where the whole tree would be: what is not there is left
    out by whoever reads.
    """
    mounts = root / 'sys' / 'fs' / 'cgroup'
    try:
        lines = (root / 'proc' / 'self' / 'cgroup').read_text().splitlines()
    except OSError:
        lines = ['0::/', f'1:{controller}:/']
    for line in lines:
        number, controllers, place = (line.split(':', 2) + ['', ''])[:3]
        if number == '0' and not controllers:
            mount = mounts
        elif controller in controllers.split(','):
            # version 1; the folder `cpu` is a link to `cpu,cpuacct` where they are one
            mount = mounts / controller
        else:
            continue
        parts = [] if '..' in place else [part for part in place.split('/') if part]
        for depth in range(len(parts), -1, -1):
            yield mount.joinpath(*parts[:depth])


def _words(path: Path, count: int) -> list[int | None]:
    """Whole numbers in a file; None for a missing file, and for ``max``."""
    try:
        words = path.read_text('utf-8').split()
    except OSError:
        words = []
    numbers = [int(word) if word.lstrip('-').isdigit() else None for word in words[:count]]
    return numbers + [None] * (count - len(numbers))


def _slurm_cpus(environment: Mapping[str, str]) -> list[int]:
    """CPUs of the task, and of the job on this node, as far as SLURM names them."""
    found = (environment.get(f'SLURM_CPUS_{name}', '') for name in ('PER_TASK', 'ON_NODE'))
    return [int(text) for text in found if text.isdigit() and int(text)]


def _slurm_memory(environment: Mapping[str, str]) -> Iterator[int]:
    """Bytes of the job on this node; 0 stands for all memory of the node."""
    per_node, per_cpu = (environment.get(f'SLURM_MEM_PER_{name}', '') for name in ('NODE', 'CPU'))
    if per_node.isdigit() and int(per_node):
        yield int(per_node) * MIB
    if per_cpu.isdigit() and int(per_cpu):
        yield int(per_cpu) * MIB * min(_slurm_cpus(environment), default=1)


def check_memory_for_torch() -> None:
    """Refuse to import PyTorch where it gets too little memory: the process would end there.

    Raises
    ------
    MemoryError
    """
    check_memory(TORCH_BYTES)


def check_memory(needed: int) -> None:
    """Ask the system for memory, and give it back.

    Libraries that get none in the middle of their work may crash, or try again for ever.

    Parameters
    ----------
    needed : int
        Bytes, at once.

    Raises
    ------
    MemoryError
        The process may not have so much: its address space is limited (``ulimit -v``), or the
        machine has not got it.
    """
    try:
        if hasattr(mmap, 'MAP_PRIVATE'):
            mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        else:
            mmap.mmap(-1, needed).close()
    except (OSError, ValueError, OverflowError):
        raise MemoryError(
            f'not enough memory: {needed / 1e9:.1f} GB more are needed; use a machine with more, '
            'fewer processes, or a higher limit (ulimit -v)'
        ) from None


def lacks_memory(error: BaseException) -> bool:
    """Whether an error of some library says that there is no memory left."""
    text = str(error).lower()
    return any(words in text for words in NO_MEMORY)
