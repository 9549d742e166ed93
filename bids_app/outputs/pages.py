"""The page of each participant, written from what lies in the output folder."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from pumba_pipe.bids_app.options.config import RunConfig
from pumba_pipe.bids_app.outputs.boilerplate import plain
from pumba_pipe.workflows.naming import subject_of

from pumba_pipe.common.standard_streams import tell
from pumba_pipe.common.text import one_line
from pumba_pipe.reports.naming import index_path, report_path
from pumba_pipe.reports.records import Failure, RunSummary


class Pages:
    """Writes pages, and counts those that failed.

    Parameters
    ----------
    config : RunConfig
    subjects : iterable of str
        Labels of the participants that are to have a page.
    text : str
        Sentences for a paper, with marks for references.
    weights, sha256, device : str
        What the network ran with; empty when it did not run.
    """

    def __init__(
        self,
        config: RunConfig,
        subjects: Iterable[str],
        text: str,
        weights: str = '',
        sha256: str = '',
        device: str = '',
    ) -> None:
        self.config = config
        self.subjects = list(subjects)
        self.text = text
        self.engine = (weights, sha256, device)
        self.started = datetime.now().astimezone()
        self.clock = time.monotonic()
        self.failures: dict[Path, Failure] = {}
        self.tried: set[str] = set()
        self.failed = 0

    def note(self, failures: Mapping[Path, Failure]) -> None:
        """Keep what went wrong for the pages to come."""
        self.failures.update(failures)

    def write(self, subjects: Iterable[str], ran: bool = True) -> None:
        """Write the pages of some participants; one that fails is one line and no more.

        Parameters
        ----------
        subjects : iterable of str
        ran : bool
            Whether images were stripped for it.
        """
        if not self.config.reports:
            return
        for subject in subjects:
            self.tried.add(subject)
            failures = {
                source.relative_to(self.config.bids_dir).as_posix(): failure
                for source, failure in self.failures.items()
                if subject_of(source) == subject
            }
            try:
                from pumba_pipe.reports.subject import write_subject_report

                write_subject_report(
                    self.config.output_dir, subject, failures, self._run_summary(ran), self._remark
                )
            except Exception as error:  # results must not be lost for a page
                self._failure(f'report of sub-{subject}', error)

    def write_index(self) -> None:
        """Write the page that leads to all others.

        One that is there stays as it is when the run is of some participants only: thousands of
        jobs, a participant each, would read the whole data set thousands of times.
        """
        there = index_path(self.config.output_dir).is_file()
        if not self.config.reports or (self.config.participants and there):
            return
        try:
            from pumba_pipe.reports.findings import find_all
            from pumba_pipe.reports.index import write_index

            write_index(self.config.output_dir, find_all(self.config.output_dir))
        except Exception as error:  # results must not be lost for a page
            self._failure('index', error)

    def _failure(self, page: str, error: Exception) -> None:
        self.failed += 1
        if self.config.verbosity:
            traceback.print_exception(error)
        reason = ' '.join(str(error).split()) or type(error).__name__
        tell(f'pumba: error: {page}: {reason}', sys.stderr)

    def _remark(self, line: str) -> None:
        tell(f'pumba: {one_line(line)}', sys.stderr)

    def outstanding(self) -> list[str]:
        """Participants without a page, or with news since it was written."""
        return [
            subject
            for subject in self.subjects
            if subject not in self.tried and self._is_stale(subject)
        ]

    def _is_stale(self, subject: str) -> bool:
        page = report_path(self.config.output_dir, subject)
        if not page.exists() or any(subject_of(source) == subject for source in self.failures):
            return True
        made = page.stat().st_mtime
        masks = (self.config.output_dir / f'sub-{subject}').rglob('*_mask.json')
        return any(mask.stat().st_mtime > made for mask in masks)

    def _run_summary(self, ran: bool) -> RunSummary:
        from pumba_pipe._version import __version__

        weights, sha256, device = self.engine
        return RunSummary(
            version=__version__,
            command_line=self.config.command,
            started=self.started,
            seconds=time.monotonic() - self.clock if ran else None,
            weights=weights,
            weights_sha256=sha256,
            device=device,
            options=self.config.options,
            boilerplate=plain(self.text),
        )
