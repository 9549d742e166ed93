"""Progress of a run: a line for each finished image, a reason for each that failed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumba_pipe.workflows.naming import node_name, parse_name
from pumba_pipe.workflows.outputs import BrainOutputs

from pumba_pipe.common.progress import clock
from pumba_pipe.common.resources import OUT_OF_MEMORY
from pumba_pipe.reports.records import Failure

SINK = 'ds_'  # how the names of nodes begin that write results
# of parts of a workflow; the folder of a participant, sub_01_wf, is none
IMAGE_ID = re.compile(r'^(?!sub_)(?:[^_]+_)*?(sub[^_]+_.+?)(?:_wf)?$')
ERROR_LINE = re.compile(
    r'^\s*(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Exit)): (.+)$|^\s*(MemoryError)$'
)
NODE_LINE = re.compile(r'^Node: (\S+)')
# What Nipype lets through where it writes its own files: it names none.
FULL_DISK = re.compile(r'^\[Errno \d+\] (No space left on device|Disk quota exceeded)$')
OURS = ('InputError', 'NothingFoundError', 'OutputError', 'WeightsError')


def image_id(full_name: str) -> str | None:
    """Find the image that a node works on, None for a node of no image.

    Examples
    --------
    >>> image_id('pumba_1_1_wf.sub_01_ses_a_wf.ds_sub01_sesa_T1w_wf.ds_mask')
    'sub01_sesa_T1w'
    """
    for part in full_name.split('.'):
        found = IMAGE_ID.search(part)
        if found:
            return found[1]
    return None


def node_image(node: Any) -> str:
    """Image that a node works on, empty for a node of no image."""
    return image_id(node.fullname or node.name) or ''


def failure_in(lines: Sequence[str], file: Path | None = None) -> Failure | None:
    """Find the last error in a traceback, None without one."""
    errors = [match for match in map(ERROR_LINE.match, lines) if match]
    if not errors:
        return None
    kind, message, bare = errors[-1].groups()
    if bare or kind == 'MemoryError':
        return Failure(message or OUT_OF_MEMORY, file)
    if disk := FULL_DISK.match(message):
        where = 'most likely below the work directory (-w)'
        return Failure(f'{disk[1]}, {where}; make room there, or choose another', file)
    return Failure(message if kind in OURS else f'{kind}: {message}', file)


class ImageProgress:
    """Counts images as Nipype reports what happens to their nodes.

    Parameters
    ----------
    images : sequence of BrainOutputs
    log : callable
        Takes a line.
    """

    def __init__(self, images: Sequence[BrainOutputs], log: Callable[[str], None]) -> None:
        self.images: Mapping[str, BrainOutputs] = {
            node_name(parse_name(outputs.source)): outputs for outputs in images
        }
        self.log = log
        self.failed: set[str] = set()
        self.done: set[str] = set()
        self.written: set[str] = set()  # of which this run has put something into its place
        self.reasons: dict[str, Failure] = {}
        self.started = time.monotonic()

    def explain(self, node: Any, lines: Iterable[str]) -> None:
        """Keep why a node failed, should there be no room for a file about it."""
        image = image_id(node.fullname or node.name)
        failure = failure_in(''.join(lines).splitlines())
        if image is not None and failure is not None:
            self.reasons.setdefault(image, failure)

    def __call__(self, node: Any, status: str) -> None:
        """Note the end of a node; Nipype calls this with ``'start'`` as well."""
        full_name = node.fullname or node.name
        image = image_id(full_name)
        # a plugin may say of a node that it failed, and then that it or its followers ended
        if image is None or image not in self.images or image in self.failed | self.done:
            return
        if status == 'exception':
            self.failed.add(image)
            self._report(f'{self._name(image)} failed')
        elif status == 'end' and full_name.split('.')[-1].startswith(SINK):
            self.written.add(image)
            self.settle(image)

    def settle(self, image: str, state: str | None = None) -> bool:
        """Note that an image is done, when all its results are there.

        Parameters
        ----------
        image : str
        state : str, optional
            Of its results, where that is known.
        """
        if image in self.done:
            return True
        if image in self.failed or (state or self.images[image].state()) != 'done':
            return False
        self.done.add(image)
        self._report(self._name(image))
        return True

    def _name(self, image: str) -> str:
        return parse_name(self.images[image].source).stem

    def _report(self, what: str) -> None:
        finished, total = len(self.done) + len(self.failed), len(self.images)
        elapsed = time.monotonic() - self.started
        left = elapsed / finished * (total - finished)
        self.log(
            f'{len(self.done)}/{total} done, {len(self.failed)} failed, '
            f'{clock(elapsed)} elapsed, about {clock(left)} left: {what}'
        )


def crash_of(crash_dir: Path, image: str) -> Failure | None:
    """Read why an image failed from the file that Nipype wrote about it, None without one."""
    fallback = None
    for file in sorted(crash_dir.glob('crash-*.txt')):
        lines = _lines(file)
        nodes = [match[1] for match in map(NODE_LINE.match, lines) if match]
        if not nodes or image_id(nodes[0]) != image:
            continue
        failure = failure_in(lines, file)
        if failure is not None:
            return failure
        fallback = fallback or Failure(f'see {file}', file)
    return fallback


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text('utf-8', errors='replace').splitlines()
    except OSError:
        return []
