"""The command line of `pumba`, spelt as users of other BIDS-Apps know it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from pumba_pipe.bids_app.options.config import MODALITIES, OptionValue, RunConfig
from pumba_pipe.bids_app.options.config_file import as_words, read_options
from pumba_pipe.bids_app.options.definitions import add_options

from pumba_pipe.common.cli import CommandParser
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.shared_options import complete

EXIT_USAGE = 2
EPILOG = """
Exit codes: 0 all done, 1 an image or a report failed, 2 the command cannot be carried out as
given, 70 the workflow could not be built, 130 interrupted.

examples:
  pumba bids out participant
  pumba bids out participant --participant-label 01 02 --nprocs 4 --mem 16G
  pumba bids out participant --output-spaces MNI152NLin2009cAsym:res-2 --dry-run
  pumba bids out group
"""
# What is asked for on the command line alone: a saved configuration leaves these out.
NOT_SAVED = (
    'help', 'version', 'config_file', 'verbose', 'quiet', 'notrack', 'dry_run', 'reports_only',
    'boilerplate_only', 'clean_workdir', 'ratings', 'discard_edits',
)  # fmt: skip
# Fields of `RunConfig` whose options have other names.
OTHER_NAMES = {
    'participants': 'participant_label',
    'sessions': 'session_label',
    'filter_file': 'bids_filter_file',
    'database_dir': 'bids_database_dir',
    'spaces': 'output_spaces',
    'reports': 'no_reports',
    'seed': 'random_seed',
    'mem_gb': 'mem',
    'plugin_file': 'use_plugin',
    'verbosity': 'verbose',
}
FOLDERS = ('bids_dir', 'output_dir', 'work_dir', 'database_dir', 'masks')  # made absolute
SWITCHED_OFF = ('reports',)  # by their options


class OneLineParser(CommandParser):
    """A parser whose errors are one line."""

    source = ''  # where the words come from, when not from the command line

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        where = f'{self.source}: ' if self.source else ''
        line = ' '.join(f'{where}{message} (see {self.prog} --help)'.split())
        self.exit(EXIT_USAGE, f'{self.prog}: error: {line}\n')


def build_parser() -> OneLineParser:
    """Make the parser; needs nothing that is slow to import."""
    parser = OneLineParser(
        prog='pumba',
        description='Strip the skull from every anatomical image of a BIDS data set.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('bids_dir', type=Path, help='folder of a BIDS data set; never written to')
    parser.add_argument('output_dir', type=Path, help='folder for the results, a BIDS derivative')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='participant: strip images; group: gather their quality records into tables',
    )
    add_options(parser)
    return parser


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
    given = complete(parser).parse_args(argv)
    if given.config_file:
        given = parser.parse_args(argv, _from_file(parser, given.config_file))
    if given.deformable and not given.output_spaces:
        parser.error('--deformable: name a template to register to with --output-spaces')
    if given.discard_edits and given.analysis_level == 'group':
        parser.error('--discard-edits: goes with the participant level, which makes masks')
    if given.ratings and given.analysis_level != 'group':
        parser.error('--ratings: only the group level reads ratings')
    more: dict[str, Any] = {}
    if given.analysis_level == 'group' and not given.modalities:
        more['modalities'] = MODALITIES
    words = sys.argv[1:] if argv is None else argv
    config = config_of(
        given, command=shlex.join(['pumba', *words]), options=_options(given), **more
    )
    if config.omp_nthreads > config.nprocs:
        parser.error(f'--omp-nthreads {config.omp_nthreads} is more than --nprocs {config.nprocs}')
    return config


def config_of(given: argparse.Namespace, **more: Any) -> RunConfig:
    """Fill in the fields that have the name of an option, or one in `OTHER_NAMES`.

    A field without an option here, or whose option was left to the program, keeps its default.

    Parameters
    ----------
    given : Namespace
        Of a parser that has all options, or some of them.
    **more
        Further fields; they go before those of options.
    """
    values = {}
    for field in fields(RunConfig):
        value = getattr(given, OTHER_NAMES.get(field.name, field.name), None)
        if value is not None:
            values[field.name] = _converted(field.name, value)
    return RunConfig(**{**values, **more})


def _converted(field: str, value: Any) -> Any:
    """Value of a field, made of that of its option."""
    if field in FOLDERS:
        return value.resolve()
    if field in SWITCHED_OFF:
        return not value
    return tuple(dict.fromkeys(value)) if isinstance(value, list) else value


def _from_file(parser: OneLineParser, path: Path) -> argparse.Namespace:
    """Read a configuration as if its options had been typed."""
    parser.source = f'config file {path}'
    try:
        words = as_words(read_options(path), NOT_SAVED)
    except InputError as error:
        parser.error(str(error))
    # the positional arguments are those of the command line, which is read afterwards
    given = parser.parse_args(['.', '.', 'participant', *words])
    parser.source = ''
    return given


def _options(given: argparse.Namespace) -> dict[str, OptionValue]:
    """Write options the way `_from_file` reads them."""
    options: dict[str, OptionValue] = {}
    for name, value in vars(given).items():
        if name in ('bids_dir', 'output_dir', 'analysis_level', *NOT_SAVED) or value is None:
            continue
        if name == 'mem':
            value = f'{value:g}G'
        elif isinstance(value, Path):
            value = str(value.resolve())
        options[name.replace('_', '-')] = value
    return options
