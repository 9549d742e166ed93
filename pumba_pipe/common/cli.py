"""What all commands share: one clear line for errors, exit codes, help formatting."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pumba_pipe.common.errors import INSTALL_MISSING, InputError, PumbaError
from pumba_pipe.common.files import check_current_folder, check_readable
from pumba_pipe.common.resources import OUT_OF_MEMORY, lacks_memory
from pumba_pipe.common.signals import EXIT_INTERRUPTED, ending_in_time, tidy_end

EXIT_FAILURE = 1
MAX_LINE = 2000  # characters
UNSET = 'was a variable of the shell not set?'
THREADS = (
    '--nthreads', '--num-threads', '--num_threads', '--omp-nthreads', '--omp_nthreads',
    '--n-cpus', '--n_cpus', '--nprocs', '--n-procs', '--n_procs',
)  # fmt: skip
UNITS = {'s': 1.0, 'm': 60.0, 'h': 3600.0}  # seconds
_lost: list[OSError] = []  # what stdout, of which a process has one, replied


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


def end_process(code: int) -> NoReturn:
    """End this process at once, without taking apart what libraries have set up in it.

    That takes 0.1 s, a fifteenth of what a mask takes. What was registered for the end is done.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # `all_told` has told of what was lost
            stream.flush()
    os._exit(code)


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


def print_any_name() -> None:
    """Have file names that the terminal's encoding lacks printed escaped, not raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def counted(number: int, noun: str) -> str:
    """Say how many there are.

    Examples
    --------
    >>> counted(1, 'image'), counted(20, 'image')
    ('1 image', '20 images')
    """
    return f'{number} {noun}{"s" * (number != 1)}'


def one_line(message: str) -> str:
    r"""Make one line of a message that can be printed: control characters are escaped.

    Names of files and what a file holds end up in messages, and a terminal obeys some characters.

    Examples
    --------
    >>> one_line('two\n lines, \x1b[31mred')
    'two lines, \\x1b[31mred'
    """
    text = ' '.join(message.split())
    if not text.isprintable():
        text = ''.join(
            char if char.isprintable() else char.encode('unicode_escape').decode('ascii')
            for char in text
        )
    return text if len(text) <= MAX_LINE else f'{text[:MAX_LINE]}…'


def give_home() -> None:
    """Name a home folder when there is none, as for a user that a container does not know.

    PyBIDS cannot be imported without one; nothing of worth is written there.
    """
    try:
        Path.home()
    except RuntimeError:
        import tempfile

        os.environ['HOME'] = tempfile.gettempdir()


def version() -> str:
    """Version of the installed package."""
    from pumba_pipe._version import __version__

    return __version__


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``, which also tells the weights."""
    parser.add_argument(
        '--version', action=_Version, nargs=0, default=argparse.SUPPRESS,
        help='print the version and the checksum of the weights, and stop',
    )  # fmt: skip


class _Version(argparse.Action):
    """Prints the version; weights are read for their checksum only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        tell(f'pumba_pipe {version()}, {weights_in_words()}')
        parser.exit()


def weights_in_words() -> str:
    """Say which weights are used unless others are asked for, with their checksum."""
    from pumba_pipe.common.files import file_digest
    from pumba_pipe.common.weights_file import SHIPPED, default_weights

    path = default_weights()
    try:
        check_readable(path, 'weights file')
        digest = file_digest(path)
    except (InputError, OSError):
        return f'weights {path}, which cannot be read'
    return f'weights {digest}' + ('' if path == SHIPPED else f' ({path})')


def complete(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a shell complete words, where the package argcomplete is installed.

    Returns
    -------
    ArgumentParser
        The same; while a shell asks for completions, the process ends here.
    """
    if '_ARGCOMPLETE' in os.environ:
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    return parser


def add_quiet(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--quiet``, and ``-q``."""
    parser.add_argument('-q', '--quiet', action='store_true', help='print results and errors only')


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--device``, and ``-g``."""
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda, cuda:N or mps (default: %(default)s)'
    )
    add_gpu(parser)


def add_gpu(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``-g``, as neighbouring programs have it, to an option ``--device``."""
    parser.add_argument(
        '-g', '--gpu', dest='device', action='store_const', const='cuda',
        default=argparse.SUPPRESS, help='same as --device cuda',
    )  # fmt: skip


def add_threads(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *spellings: str
) -> None:
    """Add ``--threads``, and the spellings of neighbouring programs, which help does not list.

    Parameters
    ----------
    parser : ArgumentParser or group of options
    *spellings : str
        Further ones, for a parser in which they mean nothing else.
    """
    parser.add_argument('-t', '--threads', type=positive_int, metavar='N', help='CPU threads')
    parser.add_argument(
        *THREADS, *spellings, dest='threads', type=positive_int, default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )  # fmt: skip


def minutes(text: str) -> float:
    """Parse a duration, in minutes unless a unit is given.

    Examples
    --------
    >>> minutes('90'), minutes('1.5h'), minutes('30s')
    (90.0, 90.0, 0.5)
    """
    return _duration(text, 'm') / UNITS['m']


def seconds(text: str) -> float:
    """Parse a duration, in seconds unless a unit is given.

    Examples
    --------
    >>> seconds('90'), seconds('1.5h'), seconds('2m')
    (90.0, 5400.0, 120.0)
    """
    return _duration(text, 's')


def _duration(text: str, unit: str) -> float:
    """Parse a duration into seconds; a bare number is in `unit`."""
    number = text.strip().lower()
    if number[-1:] in UNITS:
        number, unit = number[:-1], number[-1]
    try:
        found = float(number) * UNITS[unit]
    except ValueError:
        found = 0.0
    if not 0 < found < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a time such as 30s, 90m or 1.5h')
    return found


def positive_int(text: str) -> int:
    """Parse a whole number above zero."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number above zero')
    return number


def positive_float(text: str) -> float:
    """Parse a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above zero')
    return number
