"""Following a run: a line for each image that is finished, a reason for each that failed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pumba_pipe.workflows.outputs import SINKS

ERROR_LINE = re.compile(r'^\s*(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Exit)): (.+)$')


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss.

    Examples
    --------
    >>> clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{rest:02}'


class Progress:
    """Counts images as Nipype reports what happens to their nodes.

    Parameters
    ----------
    tokens : mapping of str to str
        Name of an image in the workflow to its name for people.
    say : callable
        Takes a line.
    """

    def __init__(self, tokens: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.tokens = dict(tokens)
        self.say = say
        self.written: dict[str, set[str]] = {token: set() for token in tokens}
        self.failed: set[str] = set()
        self.done: set[str] = set()
        self.started = time.monotonic()

    def __call__(self, node: Any, status: str) -> None:
        """Note the end of a node; Nipype calls this with ``'start'`` as well."""
        kind, token = self._parts(node.name)
        # a plugin may say of a node that it failed, and then that it or its followers ended
        if token in self.failed or token in self.done or token not in self.tokens:
            return
        if status == 'exception':
            self.failed.add(token)
            self._report(f'{self.tokens[token]} failed')
        elif status == 'end' and kind in SINKS:
            self.written[token].add(kind)
            if self.written[token] == set(SINKS):
                self.done.add(token)
                self._report(self.tokens[token])

    @staticmethod
    def _parts(node_name: str) -> tuple[str, str]:
        for kind in (*SINKS, 'strip'):
            if node_name.startswith(f'{kind}_'):
                return kind, node_name[len(kind) + 1 :]
        return '', node_name

    def _report(self, what: str) -> None:
        finished, total = len(self.done) + len(self.failed), len(self.tokens)
        elapsed = time.monotonic() - self.started
        left = elapsed / finished * (total - finished)
        self.say(
            f'{len(self.done)}/{total} done, {len(self.failed)} failed, '
            f'{clock(elapsed)} elapsed, about {clock(left)} left: {what}'
        )


def crash_reason(crash_dir: Path, token: str) -> str | None:
    """Read why an image failed from the file that Nipype wrote about it, None without one."""
    files = sorted(crash_dir.glob(f'crash-*_{token}-*.txt'))
    for file in files:
        found = [ERROR_LINE.match(line) for line in _lines(file)]
        errors = [match for match in found if match]
        if errors:
            kind, message = errors[-1].groups()
            ours = kind in ('InputError', 'NothingFoundError', 'OutputError', 'WeightsError')
            return message if ours else f'{kind}: {message}'
    return f'see {files[0]}' if files else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text('utf-8', errors='replace').splitlines()
    except OSError:
        return []
