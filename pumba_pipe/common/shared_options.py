"""Options that several commands have, and the types of their values."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_readable
from pumba_pipe.common.standard_streams import tell

THREADS = (
    '--nthreads', '--num-threads', '--num_threads', '--omp-nthreads', '--omp_nthreads',
    '--n-cpus', '--n_cpus', '--nprocs', '--n-procs', '--n_procs',
)  # fmt: skip
UNITS = {'s': 1.0, 'm': 60.0, 'h': 3600.0}  # seconds


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
