"""How a command runs: its parser, its exit code, and one clear line for an error."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pumba_pipe.common.errors import INSTALL_MISSING, PumbaError
from pumba_pipe.common.files import check_current_folder
from pumba_pipe.common.resources import OUT_OF_MEMORY, lacks_memory
from pumba_pipe.common.signals import EXIT_INTERRUPTED, ending_in_time, tidy_end
from pumba_pipe.common.standard_streams import (
    EXIT_FAILURE,
    all_told,
    mute,
    open_standard_streams,
    print_any_name,
    tell,
)
from pumba_pipe.common.text import one_line

UNSET = 'was a variable of the shell not set?'


class CommandParser(argparse.ArgumentParser):
    """A parser that fails where its help cannot be printed."""

    def _print_message(self, message: str, file: Any = None) -> None:
        tell(message, file or sys.stderr, end='')

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuse an empty path, which Python takes for the current folder."""
        if action.type is Path and not arg_string:
            raise argparse.ArgumentError(action, f'is empty; {UNSET}')
        return super()._get_value(action, arg_string)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process; with 1 instead of 0 when stdout took not all that was printed."""
        super().exit(all_told(self.prog, status), message)


def guarded(name: str, body: Callable[[], int]) -> int:
    """Run a command's body; print an error a user can act on as one line.

    Parameters
    ----------
    name : str
        The command, as it stands before the message.
    body : callable
        Returns the exit code.

    Returns
    -------
    int
        The exit code: the body's, 1 after an error, also when stdout took
        not all that was printed, 130 when interrupted, by Ctrl-C or by a signal to end.
    """
    open_standard_streams()
    print_any_name()
    return all_told(name, _guarded(name, body))


def _guarded(name: str, body: Callable[[], int]) -> int:
    try:
        with tidy_end(), ending_in_time():
            check_current_folder()
            give_home()
            return body()
    except PumbaError as error:
        message = str(error)
    except MemoryError as error:
        message = str(error) or OUT_OF_MEMORY
    except (RuntimeError, ImportError) as error:
        message = OUT_OF_MEMORY if lacks_memory(error) else what_is_missing(error)
        if not message:
            raise
    except KeyboardInterrupt:
        tell(f'{name}: interrupted', sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        mute(sys.stdout)
        return EXIT_FAILURE
    except OSError as error:
        where = f'{error.filename}: ' if error.filename else ''
        message = f'{where}{error.strerror or error}'
    tell(f'{name}: error: {one_line(message)}', sys.stderr)
    return EXIT_FAILURE


def what_is_missing(error: BaseException) -> str:
    """Say which package an import lacks, and what to do; empty when the error is another.

    An installation without PyTorch strips on CPUs, but cannot train. A module of our own that is
    not there is a fault of ours, and is shown as such.
    """
    package = (getattr(error, 'name', None) or '').partition('.')[0]
    ours = package == 'pumba_pipe' or package in sys.stdlib_module_names
    if not isinstance(error, ModuleNotFoundError) or not package or ours:
        return ''
    return f'this needs {package}, which is not installed; {INSTALL_MISSING}'


def end_process(code: int) -> NoReturn:
    """End this process at once, without taking apart what libraries have set up in it.

    A short command would spend much of its time on that. What was registered for the end is done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # `all_told` has told of what was lost
            stream.flush()
    os._exit(code)


def give_home() -> None:
    """Name a home folder when there is none, as for a user that a container does not know.

    PyBIDS cannot be imported without one; nothing of worth is written there.
    """
    try:
        Path.home()
    except RuntimeError:
        import tempfile

        os.environ['HOME'] = tempfile.gettempdir()
