"""What a command prints: stdout and stderr that may be closed, full, or not read any more."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

from pumba_pipe.common.text import one_line

EXIT_FAILURE = 1
_lost: list[OSError] = []  # what stdout, of which a process has one, replied


def open_standard_streams() -> None:
    """Open what of stdin, stdout and stderr is closed, as a daemon's, onto nothing.

    Libraries write to streams that Python has as None, and a file that is opened would take the
    number of a closed stream, and with it all that is printed.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = 'w' if number else 'r'
            setattr(sys, name, open(number, mode, encoding='utf-8', closefd=False))  # noqa: SIM115


def print_any_name() -> None:
    """Have file names that the terminal's encoding lacks printed escaped, not raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def tell(line: str, stream: TextIO | None = None, end: str = '\n') -> None:
    """Print a line at once, for work that goes on whether or not somebody reads it.

    A reader that left (``pumba ... | head``) or a full disk below a log is no reason to stop:
    all that is still printed goes nowhere. Of the disk, `all_told` tells at the end.

    Parameters
    ----------
    line : str
    stream : text file, optional
        Default: stdout.
    end : str
    """
    stream = sys.stdout if stream is None else stream
    try:
        print(line, file=stream, end=end, flush=True)
    except OSError as error:
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            _lost.append(error)
        mute(stream)


def remarks_of(name: str) -> Callable[[str], None]:
    """Return a function that prints a line for the user, beside the results of a command."""
    return lambda line: tell(f'{name}: {one_line(line)}', sys.stderr)


def mute(stream: TextIO) -> None:
    """Let all that is still printed to a stream go nowhere."""
    with contextlib.suppress(OSError, ValueError):  # no stream of the system's
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def all_told(name: str, code: int) -> int:
    """Say so at the end of a command when stdout, on a full disk, took not all that was printed.

    Returns
    -------
    int
        The exit code: 1 instead of 0 then.
    """
    tell('', end='')
    if not _lost:
        return code
    reason = _lost[0].strerror
    _lost.clear()
    tell(f'{name}: error: standard output: cannot write here ({reason})', sys.stderr)
    return code or EXIT_FAILURE
