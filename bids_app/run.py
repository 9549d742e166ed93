"""Entry point of `pumba`."""

from __future__ import annotations

import atexit
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pumba_pipe.common.cli import guarded
from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.processes import end_workers, why_no_workers
from pumba_pipe.common.standard_streams import open_standard_streams, print_any_name, tell
from pumba_pipe.common.text import one_line

# What takes time to import is imported within `main`, where Ctrl-C is one line.
if TYPE_CHECKING:
    from pumba_pipe.bids_app.options.config import RunConfig

WARNING = 'warning: '


def log(line: str) -> None:
    """Print a line that can be read at once in a log file."""
    tell(f'pumba: {line}')


def log_warning(line: str) -> None:
    """Print a line that is a warning, for ``--quiet``; errors go to stderr in any case."""
    if line.startswith(WARNING):
        log(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS-App.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the arguments of this process.

    Returns
    -------
    int
        0 all done; 1 an image failed; 2 the command cannot be carried out as given; 70 the
        workflow could not be built; 130 interrupted.
    """
    open_standard_streams()
    print_any_name()
    with warnings.catch_warnings():
        return guarded('pumba', lambda: _parse_and_run(argv))


def _parse_and_run(argv: Sequence[str] | None) -> int:
    from pumba_pipe.bids_app.options.parser import parse

    try:
        config = parse(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if not config.verbosity:
        warnings.simplefilter('ignore')
        logging.getLogger('sqlalchemy').setLevel(logging.CRITICAL)  # it logs each interruption
    try:
        return run(config)
    except KeyboardInterrupt:
        end_workers()
        forget_half_of_nipype()
        raise


def forget_half_of_nipype() -> None:
    """Keep Nipype, where its import was broken off, from a traceback at the end of Python.

    A part that was imported asks at the end for the package, which is then imported anew, in part.
    """
    part = sys.modules.get('nipype.utils.config')
    if part is not None and 'nipype' not in sys.modules:
        atexit.unregister(getattr(part, 'free_display', forget_half_of_nipype))


def run(config: RunConfig) -> int:
    """Check a run, carry it out, and return the exit code."""
    from pumba_pipe.bids_app.options.config import check_folders
    from pumba_pipe.bids_app.options.parser import EXIT_USAGE

    # what a dry run would do is its result
    say = log_warning if config.quiet and not config.dry_run else log
    try:
        config = with_workers_that_start(config)
        check_folders(config)
        from pumba_pipe.bids_app.outputs.description import check_owner

        check_owner(config.output_dir, config.analysis_level)
        if config.analysis_level == 'group':
            from pumba_pipe.bids_app.group import run_group

            return run_group(config, say)
        from pumba_pipe.bids_app.execution.nipype_settings import configure_nipype

        configure_nipype(config.verbosity, config.stop_on_first_crash, config.resource_record)
        from pumba_pipe.bids_app.participant import run_participants

        work = run_participants(config, say)
    except PumbaError as error:
        forget_half_of_nipype()
        tell(f'pumba: error: {one_line(str(error))}', sys.stderr)
        return EXIT_USAGE
    return work()


def with_workers_that_start(config: RunConfig) -> RunConfig:
    """Work in one process where others cannot be started, and say so."""
    parallel = config.nprocs > 1 and config.analysis_level == 'participant'
    reason = why_no_workers() if parallel else None
    if reason is None:
        return config
    log(f'warning: {reason}: images are stripped one after the other, in one process')
    return replace(config, nprocs=1)
