"""The command line of `pumba`, spelt as users of other BIDS-Apps know it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pumba_pipe.bids_app.options.config import MODALITIES, OptionValue, RunConfig
from pumba_pipe.bids_app.options.config_file import as_words, read_options
from pumba_pipe.bids_app.options.definitions import add_options

from pumba_pipe.common.cli import (
    CommandParser,
    complete,
)
from pumba_pipe.common.errors import InputError

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
    resources = {
        'nprocs': given.nprocs, 'omp_nthreads': given.omp_nthreads, 'mem_gb': given.mem,
    }  # fmt: skip
    everything = MODALITIES if given.analysis_level == 'group' else RunConfig.modalities
    config = RunConfig(
        bids_dir=given.bids_dir.resolve(),
        output_dir=given.output_dir.resolve(),
        analysis_level=given.analysis_level,
        work_dir=given.work_dir.resolve(),
        participants=_unique(given.participant_label),
        sessions=_unique(given.session_label),
        modalities=_unique(given.modalities or everything),
        species=_unique(given.species),
        filter_file=given.bids_filter_file,
        database_dir=given.bids_database_dir.resolve() if given.bids_database_dir else None,
        border_mm=given.border_mm,
        csf=given.csf,
        masks=given.masks.resolve() if given.masks else None,
        discard_edits=given.discard_edits,
        n4=given.n4,
        spaces=_unique(given.output_spaces),
        deformable=given.deformable,
        probability=given.probability,
        reports=not given.no_reports,
        ratings=tuple(given.ratings),
        sloppy=given.sloppy,
        seed=given.random_seed,
        plugin_file=given.use_plugin,
        device=given.device,
        weights=given.weights,
        clean_workdir=given.clean_workdir,
        resource_monitor=given.resource_monitor,
        write_graph=given.write_graph,
        stop_on_first_crash=given.stop_on_first_crash,
        dry_run=given.dry_run,
        reports_only=given.reports_only,
        boilerplate_only=given.boilerplate_only,
        skip_bids_validation=given.skip_bids_validation,
        verbosity=given.verbose,
        quiet=given.quiet,
        command=shlex.join(['pumba', *(sys.argv[1:] if argv is None else argv)]),
        options=_options(given),
        # what depends on the machine: only where it was given
        **{name: value for name, value in resources.items() if value is not None},
    )
    if config.omp_nthreads > config.nprocs:
        parser.error(f'--omp-nthreads {config.omp_nthreads} is more than --nprocs {config.nprocs}')
    return config


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


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
