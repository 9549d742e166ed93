"""Entry point of `pumba`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from pumba_pipe.bids_app.options.config import RunConfig, check_folders
from pumba_pipe.bids_app.options.parser import EXIT_USAGE, parse

from pumba_pipe.common.cli import guarded
from pumba_pipe.common.errors import PumbaError


def log(line: str) -> None:
    """Print a line that can be read at once in a log file."""
    print(f'pumba: {line}', flush=True)


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
    try:
        config = parse(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    with warnings.catch_warnings(), tidy_end():
        if not config.verbosity:
            warnings.simplefilter('ignore')
        return guarded('pumba', lambda: run(config))


def run(config: RunConfig) -> int:
    """Check a run, carry it out, and return the exit code."""
    try:
        check_folders(config)
        from pumba_pipe.bids_app.outputs.description import check_owner

        check_owner(config.output_dir)
        if config.analysis_level == 'group':
            from pumba_pipe.bids_app.group import run_group

            return run_group(config, log)
        from pumba_pipe.bids_app.execution.quiet import configure_nipype

        configure_nipype(config.verbosity, config.stop_on_first_crash, config.resource_record)
        from pumba_pipe.bids_app.participant import run_participants

        work = run_participants(config, log)
    except PumbaError as error:
        print(f'pumba: error: {" ".join(str(error).split())}', file=sys.stderr)
        return EXIT_USAGE
    return work()


@contextlib.contextmanager
def tidy_end() -> Iterator[None]:
    """Treat the end that a batch system announces like Ctrl-C: no file is left half-written."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
