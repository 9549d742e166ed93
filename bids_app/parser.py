"""The command line of `pumba`, spelt as users of other BIDS-Apps know it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pumba_pipe.bids_app.config import (
    DEFAULT_MODALITIES,
    MODALITIES,
    RunConfig,
    available_cpus,
    available_memory_gb,
)

from pumba_pipe.commands.common import add_version, positive_int

EXIT_USAGE = 2
MAX_DEFAULT_THREADS = 4  # more speed up one image little; several images side by side do more
MEMORY_UNITS = {'B': 1e-9, 'K': 1e-6, 'M': 1e-3, 'G': 1.0, 'T': 1e3}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(EXIT_USAGE, f'{self.prog}: error: {message} (see {self.prog} --help)\n')


def memory_gb(text: str) -> float:
    """Parse an amount of memory, in MB unless a unit is given.

    Examples
    --------
    >>> memory_gb('8G'), memory_gb('500')
    (8.0, 0.5)
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([BKMGT]?)B?', text.strip().upper())
    if not found or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not an amount of memory such as 8G or 8000')
    return round(float(found[1]) * MEMORY_UNITS[found[2] or 'M'], 9)


def label(prefix: str, text: str) -> str:
    """Take ``sub-`` or ``ses-`` off a label."""
    text = text.removeprefix(prefix)
    if not re.fullmatch(r'[0-9A-Za-z+]+', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not a label (letters and digits)')
    return text


def participant_label(text: str) -> str:
    """Parse a participant label, with or without ``sub-``."""
    return label('sub-', text)


def session_label(text: str) -> str:
    """Parse a session label, with or without ``ses-``."""
    return label('ses-', text)


def border(text: str) -> float:
    """Parse millimetres, negative ones too."""
    try:
        number = float(text)
    except ValueError:
        number = float('nan')
    if not abs(number) <= 100:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of millimetres')
    return number


def build_parser() -> argparse.ArgumentParser:
    """Make the parser; needs nothing that is slow to import."""
    parser = OneLineParser(
        prog='pumba',
        description='Strip the skull from every anatomical image of a BIDS data set.',
        epilog='Exit codes: 0 all done, 1 an image failed, 2 the command cannot be carried out '
        'as given, 70 the workflow could not be built.',
        allow_abbrev=False,
    )
    parser.add_argument('bids_dir', type=Path, help='folder of a BIDS data set; never written to')
    parser.add_argument('output_dir', type=Path, help='folder for the results, a BIDS derivative')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='participant: strip images; group: gather their quality records into tables',
    )
    _add_selection(parser)
    _add_method(parser)
    _add_resources(parser)
    parser.add_argument('-v', '--verbose', action='count', default=0, help='say more; -vv: all')
    add_version(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('which images')
    group.add_argument(
        '--participant-label', '--participant_label', nargs='+', type=participant_label,
        default=[], metavar='LABEL', help='participants, with or without "sub-"; default: all',
    )  # fmt: skip
    group.add_argument(
        '--session-label', '--session_label', nargs='+', type=session_label,
        default=[], metavar='LABEL', help='sessions, with or without "ses-"; default: all',
    )  # fmt: skip
    group.add_argument(
        '--modalities', nargs='+', choices=MODALITIES, default=DEFAULT_MODALITIES,
        metavar='SUFFIX',
        help=f'suffixes of the images; default: {" ".join(DEFAULT_MODALITIES)}; also known: '
        f'{" ".join(MODALITIES[len(DEFAULT_MODALITIES):])}',
    )  # fmt: skip
    group.add_argument(
        '--skip-bids-validation', '--skip_bids_validation', action='store_true',
        help='do not run bids-validator-deno on the input',
    )  # fmt: skip


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how they are stripped')
    group.add_argument(
        '--border-mm', type=border, default=0.0, metavar='MM',
        help='grow masks by so many millimetres, shrink them when negative; default: 0',
    )  # fmt: skip
    group.add_argument('--weights', type=Path, metavar='FILE', help='weights from pumba-train')
    group.add_argument(
        '--device', default='auto',
        help='auto (a GPU if there is one), cpu, cuda, cuda:N or mps; default: auto',
    )  # fmt: skip


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('resources')
    group.add_argument(
        '-w', '--work-dir', type=Path, default=Path('work'), metavar='DIR',
        help='folder for intermediate files; default: ./work',
    )  # fmt: skip
    group.add_argument(
        '--nprocs', '--nthreads', '--n-cpus', type=positive_int, metavar='N',
        help='CPUs to use altogether; default: all',
    )  # fmt: skip
    group.add_argument(
        '--omp-nthreads', type=positive_int, metavar='N',
        help=f'CPUs to use for one image; default: {MAX_DEFAULT_THREADS}, or --nprocs if less',
    )  # fmt: skip
    group.add_argument(
        '--mem', '--mem-mb', type=memory_gb, metavar='SIZE',
        help='memory to use altogether, in MB or with a unit (8G); default: nine tenths of all',
    )  # fmt: skip


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """Turn a command line into options.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the arguments of this process.

    Raises
    ------
    SystemExit
        After ``--help``, ``--version`` or an error, which was printed.
    """
    parser = build_parser()
    given = parser.parse_args(argv)
    nprocs = given.nprocs or available_cpus()
    omp_nthreads = given.omp_nthreads or min(MAX_DEFAULT_THREADS, nprocs)
    if omp_nthreads > nprocs:
        parser.error(f'--omp-nthreads {omp_nthreads} is more than --nprocs {nprocs}')
    return RunConfig(
        bids_dir=given.bids_dir.resolve(),
        output_dir=given.output_dir.resolve(),
        work_dir=given.work_dir.resolve(),
        analysis_level=given.analysis_level,
        participants=tuple(dict.fromkeys(given.participant_label)),
        sessions=tuple(dict.fromkeys(given.session_label)),
        modalities=tuple(dict.fromkeys(given.modalities)),
        nprocs=nprocs,
        omp_nthreads=omp_nthreads,
        mem_gb=given.mem or available_memory_gb(),
        device=given.device,
        weights=given.weights.resolve() if given.weights else None,
        border_mm=given.border_mm,
        skip_bids_validation=given.skip_bids_validation,
        verbosity=given.verbose,
    )
