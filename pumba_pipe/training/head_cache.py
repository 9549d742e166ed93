"""A folder of heads that grows while training draws from it.

Which head a sample shows depends on the sample's seed and on how many samples the run has drawn,
and not on how many heads happen to be there: a resumed run draws what an unbroken one would, as
long as the processes that make heads keep pace.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pumba_pipe.common.errors import InputError, OutputError, PumbaError
from pumba_pipe.common.files import atomic_path
from pumba_pipe.common.processes import shielded
from pumba_pipe.common.resources import lacks_memory
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.regions import REGION_COUNT
from pumba_pipe.training.samples import Batch, SampleGenerator, concatenated
from pumba_pipe.training.stage_settings import StageSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_HEADS = 8  # training starts when these are there
# Heads that come into use for each sample drawn. One core makes 0.6 in the time that another
# trains on a sample of the fine stage (docs/training.md).
HEADS_PER_SAMPLE = 0.5


class HeadCacheSource:
    """Draws heads from a growing folder, and renders each anew on the device of training.

    Parameters
    ----------
    folder : Path
        Of the cache.
    settings : StageSettings
    device : torch.device
    """

    def __init__(
        self, folder: Path, settings: StageSettings, device: torch.device | str = 'cpu'
    ) -> None:
        self.folder, self.settings, self.device = folder, settings, device

    def batch(self, seeds: Sequence[int], generator: SampleGenerator, drawn: int) -> Batch:
        """Make one batch, a sample a seed; see `SampleSource`.

        Raises
        ------
        InputError
            The folder holds no head of this run.
        """
        count = heads_in_use(self.settings, drawn)
        pairs = []
        for seed in seeds:
            regions = self._regions(self._head(seed, count), generator)
            pairs.append(generator.make_sample(regions.to(self.device), seed))
        return concatenated(pairs)

    def _regions(self, path: Path, generator: SampleGenerator) -> Tensor:
        """Read a head; one that is damaged is made again, and replaced where that is possible."""
        regions = read_head(path, generator.head_size)
        if regions is None:
            made = generator.make_label_map(derived_seed(self.settings.seed, head_index(path)))
            regions = made.numpy()
            with contextlib.suppress(OutputError):
                write_head(path, regions)
        return torch.from_numpy(regions)

    def _head(self, seed: int, count: int) -> Path:
        """File of one of the first `count` heads; of another, where that one is not made yet."""
        wanted = head_file(self.folder, self.settings.seed, seed % count)
        if wanted.exists():
            return wanted
        files = cached_heads(self.folder, self.settings.seed)
        if not files:
            raise InputError(
                f'{self.folder}: no heads here; the cache must lie where all nodes see it'
            )
        return files[seed % len(files)]


def heads_in_use(settings: StageSettings, drawn: int) -> int:
    """Heads from which a run draws when it has drawn so many samples."""
    return min(settings.cache_size, FIRST_HEADS + int(drawn * HEADS_PER_SAMPLE))


def head_file(folder: Path, seed: int, index: int) -> Path:
    """File of one head of the run with this seed."""
    return folder / f'head-{seed}-{index:06d}.npy'


def head_index(path: Path) -> int:
    """Number of a head, from the name of its file."""
    return int(path.stem.rpartition('-')[2])


def cached_heads(folder: Path, seed: int) -> list[Path]:
    """List the heads of the run with this seed, in the order in which they are made."""
    return sorted(folder.glob(f'head-{seed}-{"[0-9]" * 6}.npy'))


def read_head(path: Path, size: int) -> NDArray[np.uint8] | None:
    """Read the region map of one head, shape (size, size, size).

    Returns
    -------
    ndarray of uint8 or None
        None for a file that is damaged or no such map.
    """
    found = _mapped_head(path, size)
    if found is None:
        return None
    try:
        regions = np.array(found)
    except OSError:
        return None
    return regions if regions.max() < REGION_COUNT else None


def _mapped_head(path: Path, size: int) -> NDArray[np.uint8] | None:
    """Look at a head without reading it: its type, its shape, whether it is all there."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        found = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, EOFError, ValueError, SyntaxError, TypeError, MemoryError, OverflowError):
        return None
    fits = isinstance(found, np.ndarray) and found.dtype == np.uint8
    return found if fits and found.shape == (size,) * 3 else None


def write_head(path: Path, regions: NDArray[np.uint8]) -> None:
    """Write the region map of one head in one piece.

    Raises
    ------
    OutputError
    """
    with atomic_path(path) as partial, partial.open('wb') as file:
        np.save(file, regions)


def cache_folder(parent: Path, generator: SampleGenerator) -> Path:
    """Name the cache of a generator; another recipe, size or view has another cache."""
    recipe = generator.recipe
    name = f'{recipe.name}-{recipe.digest[:8]}-{generator.head_size}-{generator.box_share:g}'
    return parent / name


def fill_cache(
    folder: Path, generator: SampleGenerator, seed: int, count: int, worker: int, workers: int
) -> None:
    """Make heads `worker`, `worker + workers`, ... below `count` that are not there yet.

    Those that are damaged are made again.

    Raises
    ------
    OutputError
        The folder cannot be written to, or the disk is full.
    """
    for index in range(worker, count, workers):
        path = head_file(folder, seed, index)
        if _mapped_head(path, generator.head_size) is None:
            write_head(path, generator.make_label_map(derived_seed(seed, index)).numpy())


@contextlib.contextmanager
def filling_cache(
    cache: Path, generator: SampleGenerator, settings: StageSettings, cache_workers: int
) -> Iterator[None]:
    """Make heads in other processes while training runs; wait for the first ones.

    When the disk is full later, training goes on with the heads there are, and a warning says so.

    Raises
    ------
    PumbaError
        No head can be made.
    """
    context = multiprocessing.get_context('spawn')
    reasons, reason = context.Pipe(duplex=False)
    workers = [
        context.Process(
            target=_generate,
            args=(
                cache,
                generator,
                settings.seed,
                settings.cache_size,
                worker,
                cache_workers,
                reason,
            ),
            daemon=True,
        )
        for worker in range(cache_workers)
    ]
    with shielded():
        for process in workers:
            process.start()
    wanted = heads_in_use(settings, 0)
    try:
        while True:
            working = any(process.is_alive() for process in workers)  # asked before heads count
            if len(cached_heads(cache, settings.seed)) >= wanted:
                break
            if not working:
                told = reasons.recv() if reasons.poll() else 'killed, or out of memory'
                raise PumbaError(f'{cache}: the processes that make heads have stopped ({told})')
            time.sleep(0.2)
        yield
    finally:
        for process in workers:
            process.terminate()
        if reasons.poll() and len(cached_heads(cache, settings.seed)) >= wanted:
            logging.getLogger(__name__).warning(
                'pumba-train: warning: fewer heads were made than asked for (%s)', reasons.recv()
            )


def _generate(
    cache: Path,
    generator: SampleGenerator,
    seed: int,
    count: int,
    worker: int,
    workers: int,
    reason: Connection,
) -> None:
    """Body of a process that makes heads: one thread, low priority; says why it gave up."""
    torch.set_num_threads(1)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        fill_cache(cache, generator, seed, count, worker, workers)
    except (PumbaError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not lacks_memory(error):
            raise
        told = error if isinstance(error, (PumbaError, OSError)) else 'out of memory'
        reason.send(str(told) or type(error).__name__)
        sys.exit(1)


def _end_with_parent(parent: int) -> None:
    """Stop this process soon after its parent, also when that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
