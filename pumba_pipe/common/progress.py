"""Progress of work on many things: a bar on a terminal, lines in a file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from pumba_pipe.common.standard_streams import tell


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss.

    Examples
    --------
    >>> clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{rest:02}'


class ProgressBar:
    """How many of some things are finished, how fast it goes, and how long it will yet take.

    On a terminal it is a bar below the lines that are printed; elsewhere there is none. Nobody
    has to read what is printed: work goes on when a pipe is closed.

    Parameters
    ----------
    total : int
    unit : str
        What is counted, in the singular.
    quiet : bool
        No bar, on whatever.

    Examples
    --------
    >>> with ProgressBar(2, 'image') as bar:
    ...     bar.advance()
    ...     bar.say('head.nii.gz: done')
    head.nii.gz: done
    >>> bar.finished, bar.total
    (1, 2)
    """

    def __init__(self, total: int, unit: str, quiet: bool = False) -> None:
        self.total, self.finished = total, 0
        self.started = time.monotonic()
        self._bar: Any = None
        if total and not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            # the rate of the whole run: images differ in size, the last one says little
            self._bar = tqdm(
                total=total, unit=unit, smoothing=0, dynamic_ncols=True, file=sys.stderr
            )

    @property
    def shown(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    @property
    def seconds_left(self) -> float:
        """About how long the rest will take; not a number before the first is finished."""
        if not self.finished:
            return float('nan')
        elapsed = time.monotonic() - self.started
        return elapsed / self.finished * (self.total - self.finished)

    def advance(self) -> None:
        """Count one more that is finished."""
        self.finished += 1
        if self._bar is not None:
            self._bar.update()

    def say(self, line: str, stream: TextIO | None = None) -> None:
        """Print a line, above the bar if there is one; default: to stdout."""
        if self._bar is None:
            tell(line, stream)
            return
        with self._bar.external_write_mode(stream):
            tell(line, stream)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
