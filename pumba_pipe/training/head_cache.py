"""A folder of heads that grows while training draws from it."""

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
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.training.samples import Batch, SampleGenerator, concatenated
from pumba_pipe.training.state import TrainingConfig


class HeadCacheSource:
    """Draws heads from a growing folder, and renders each anew on the device of training."""

    def __init__(
        self, feed: SampleGenerator, folder: Path, device: torch.device | str = 'cpu'
    ) -> None:
        self.feed, self.folder, self.device = feed, folder, device

    def batch(self, seeds: Sequence[int]) -> Batch:
        """Make one batch from heads that are in the folder by now."""
        files = cached_heads(self.folder)
        if not files:
            raise InputError(
                f'{self.folder}: no heads here; the cache must lie where all nodes see it'
            )
        pairs = []
        for seed in seeds:
            regions = np.load(files[seed % len(files)])
            pairs.append(self.feed.make_sample(torch.from_numpy(regions).to(self.device), seed))
        return concatenated(pairs)


def cached_heads(folder: Path) -> list[Path]:
    """List the heads of a cache in a stable order."""
    return sorted(folder.glob('head-*.npy'))


def cache_folder(parent: Path, feed: SampleGenerator) -> Path:
    """Name the cache of a feed; another recipe, size or view has another cache."""
    name = f'{feed.recipe.name}-{feed.recipe.digest[:8]}-{feed.head_size}-{feed.box_share:g}'
    return parent / name


def fill_cache(
    folder: Path, feed: SampleGenerator, seed: int, count: int, worker: int, workers: int
) -> None:
    """Make heads `worker`, `worker + workers`, ... below `count` that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(worker, count, workers):
        path = folder / f'head-{seed}-{index:06d}.npy'
        if path.exists():
            continue
        regions = feed.make_label_map(derived_seed(seed, index)).numpy()
        partial = path.with_suffix(f'.{os.getpid()}.tmp')
        with partial.open('wb') as file:
            np.save(file, regions)
        os.replace(partial, path)


@contextlib.contextmanager
def filling_cache(
    cache: Path, feed: SampleGenerator, config: TrainingConfig, cache_workers: int
) -> Iterator[None]:
    """Make heads in other processes while training runs; wait for the first ones."""
    context = multiprocessing.get_context('spawn')
    workers = [
        context.Process(
            target=_generate,
            args=(cache, feed, config.seed, config.cache_size, worker, cache_workers),
            daemon=True,
        )
        for worker in range(cache_workers)
    ]
    for process in workers:
        process.start()
    wanted = min(config.cache_size, 4 * config.batch)
    try:
        while len(cached_heads(cache)) < wanted:
            if all(process.exitcode for process in workers):
                raise PumbaError(f'{cache}: the processes that make heads have stopped')
            time.sleep(0.2)
        yield
    finally:
        for process in workers:
            process.terminate()


def _generate(
    cache: Path, feed: SampleGenerator, seed: int, count: int, worker: int, workers: int
) -> None:
    """Body of a process that makes heads: one thread, low priority."""
    torch.set_num_threads(1)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    fill_cache(cache, feed, seed, count, worker, workers)


def _end_with_parent(parent: int) -> None:
    """Stop this process soon after its parent, also when that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
