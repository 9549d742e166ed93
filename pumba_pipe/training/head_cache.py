"""A folder of heads that grows while training draws from it.

Which head a sample shows depends on the sample's seed and on how many samples the run has drawn,
and not on how many heads happen to be there: a resumed run draws what an unbroken one would, as
long as the processes that make heads keep pace.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.common.processes import shielded
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.samples import Batch, SampleGenerator, concatenated
from pumba_pipe.training.state import TrainingConfig

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
    config : TrainingConfig
    device : torch.device
    """

    def __init__(
        self, folder: Path, config: TrainingConfig, device: torch.device | str = 'cpu'
    ) -> None:
        self.folder, self.config, self.device = folder, config, device

    def batch(self, seeds: Sequence[int], generator: SampleGenerator, drawn: int) -> Batch:
        """Make one batch, a sample a seed; see `SampleSource`.

        Raises
        ------
        InputError
            The folder holds no head of this run.
        """
        count = heads_in_use(self.config, drawn)
        pairs = []
        for seed in seeds:
            regions = torch.from_numpy(np.load(self._head(seed, count))).to(self.device)
            pairs.append(generator.make_sample(regions, seed))
        return concatenated(pairs)

    def _head(self, seed: int, count: int) -> Path:
        """File of one of the first `count` heads; of another, where that one is not made yet."""
        wanted = head_file(self.folder, self.config.seed, seed % count)
        if wanted.exists():
            return wanted
        files = cached_heads(self.folder, self.config.seed)
        if not files:
            raise InputError(
                f'{self.folder}: no heads here; the cache must lie where all nodes see it'
            )
        return files[seed % len(files)]


def heads_in_use(config: TrainingConfig, drawn: int) -> int:
    """Heads from which a run draws when it has drawn so many samples."""
    return min(config.cache_size, FIRST_HEADS + int(drawn * HEADS_PER_SAMPLE))


def head_file(folder: Path, seed: int, index: int) -> Path:
    """File of one head of the run with this seed."""
    return folder / f'head-{seed}-{index:06d}.npy'


def cached_heads(folder: Path, seed: int) -> list[Path]:
    """List the heads of the run with this seed, in the order in which they are made."""
    return sorted(folder.glob(f'head-{seed}-*.npy'))


def cache_folder(parent: Path, generator: SampleGenerator) -> Path:
    """Name the cache of a generator; another recipe, size or view has another cache."""
    recipe = generator.recipe
    name = f'{recipe.name}-{recipe.digest[:8]}-{generator.head_size}-{generator.box_share:g}'
    return parent / name


def fill_cache(
    folder: Path, generator: SampleGenerator, seed: int, count: int, worker: int, workers: int
) -> None:
    """Make heads `worker`, `worker + workers`, ... below `count` that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(worker, count, workers):
        path = head_file(folder, seed, index)
        if path.exists():
            continue
        regions = generator.make_label_map(derived_seed(seed, index)).numpy()
        partial = path.with_suffix(f'.{os.getpid()}.tmp')
        with partial.open('wb') as file:
            np.save(file, regions)
        os.replace(partial, path)


@contextlib.contextmanager
def filling_cache(
    cache: Path, generator: SampleGenerator, config: TrainingConfig, cache_workers: int
) -> Iterator[None]:
    """Make heads in other processes while training runs; wait for the first ones."""
    context = multiprocessing.get_context('spawn')
    workers = [
        context.Process(
            target=_generate,
            args=(cache, generator, config.seed, config.cache_size, worker, cache_workers),
            daemon=True,
        )
        for worker in range(cache_workers)
    ]
    with shielded():
        for process in workers:
            process.start()
    wanted = heads_in_use(config, 0)
    try:
        while len(cached_heads(cache, config.seed)) < wanted:
            if all(process.exitcode for process in workers):
                raise PumbaError(f'{cache}: the processes that make heads have stopped')
            time.sleep(0.2)
        yield
    finally:
        for process in workers:
            process.terminate()


def _generate(
    cache: Path, generator: SampleGenerator, seed: int, count: int, worker: int, workers: int
) -> None:
    """Body of a process that makes heads: one thread, low priority."""
    torch.set_num_threads(1)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    fill_cache(cache, generator, seed, count, worker, workers)


def _end_with_parent(parent: int) -> None:
    """Stop this process soon after its parent, also when that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
