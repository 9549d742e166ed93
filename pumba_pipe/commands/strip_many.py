"""Many images by one call of ``pumba-strip``: progress, log and summary."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.files import check_outputs
from pumba_pipe.common.folder_lock import only_run_in
from pumba_pipe.common.progress import ProgressBar, clock
from pumba_pipe.common.shared_options import version
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.common.tables import check_table, write_table
from pumba_pipe.common.text import one_line

if TYPE_CHECKING:
    from pumba_pipe.extraction.many import Task
    from pumba_pipe.extraction.result import BrainExtraction
    from pumba_pipe.results.judgement import Judgement

NAME = 'pumba-strip'
SUMMARY, LOG = 'summary.tsv', 'pumba-strip.log'
STRIPPED, BEFORE, EDITED, FAILED = 'stripped', 'done before', 'edited', 'failed'
COLUMNS = ('image', 'status', 'mask', 'reason')


class Row(NamedTuple):
    """What became of an image."""

    image: Path
    status: str
    mask: Path | None = None
    reason: str = ''
    quality: dict[str, Any] = {}  # noqa: RUF012  # never changed


class Report:
    """What became of each image: a row of the summary, a line of the log, one for the user.

    Parameters
    ----------
    bar : ProgressBar
    log : text file
    quiet : bool
        Print failures only.
    """

    def __init__(self, bar: ProgressBar, log: TextIO, quiet: bool) -> None:
        self.bar, self.log, self.quiet = bar, log, quiet
        self.rows: dict[Path, Row] = {}

    def write(self, line: str) -> None:
        """Add a line to the log."""
        # a full disk below the log is no reason to stop
        with contextlib.suppress(OSError):
            print(f'{time.strftime("%Y-%m-%dT%H:%M:%S")} {one_line(line)}', file=self.log)
            self.log.flush()

    def stripped(self, task: Task, result: BrainExtraction) -> None:
        """Note an image whose results are written."""
        quality = result.quality
        seconds = sum(result.seconds.values())
        said = '; '.join((f'brain of {quality.volume_ml:.4g} mL', *quality.flags))
        self.rows[task.source] = Row(task.source, STRIPPED, task.mask, '', quality.to_dict())
        self.write(f'{task.source}: {said}; {seconds:.1f} s, {task.mask}')
        self._advance(f'{task.source}: {said}')

    def failed(self, task: Task, reason: str) -> None:
        """Note an image that failed."""
        self.lost(task.source, reason)
        self._advance()

    def lost(self, path: Path, reason: str) -> None:
        """Note what was named and cannot be stripped, in one line for the user."""
        reason = one_line(reason).removeprefix(one_line(f'{path}: '))
        self.rows[path] = Row(path, FAILED, None, reason)
        self.write(f'{path}: {FAILED}: {reason}')
        self.bar.say(one_line(f'{NAME}: error: {path}: {reason}'), sys.stderr)

    def left(self, task: Task, found: Judgement, quality: dict[str, Any]) -> None:
        """Note an image that is left as it is."""
        status = BEFORE if found.state == 'done' else EDITED
        self.rows[task.source] = Row(task.source, status, task.mask, found.reason, quality)
        self.write(f'{task.source}: {status}')

    def followed(self, task: Task, quality: dict[str, Any]) -> None:
        """Note an image whose results were made of its edited mask."""
        said = 'results made of its edited mask'
        self.rows[task.source] = Row(task.source, EDITED, task.mask, said, quality)
        self.write(f'{task.source}: {EDITED}: {said}')
        self._advance(f'{task.source}: {said}')

    def _advance(self, line: str = '') -> None:
        self.bar.advance()
        if line and not self.quiet and not self.bar.shown:
            done, total = self.bar.finished, self.bar.total
            left = clock(self.bar.seconds_left)
            self.bar.say(one_line(f'{done}/{total}, about {left} left: {line}'))

    def count(self, status: str) -> int:
        """How many images have a status."""
        return Counter(row.status for row in self.rows.values())[status]

    def save(self, path: Path, order: Sequence[Path]) -> None:
        """Write the summary; what was not come to is not in it."""
        rows = [self.rows[image] for image in order if image in self.rows]
        keys = list(dict.fromkeys(key for row in rows for key in row.quality))
        write_table(
            path,
            (*COLUMNS, *keys),
            ((*row[:4], *map(_plain, map(row.quality.get, keys))) for row in rows),
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def run_many(args: argparse.Namespace) -> int:
    """Strip all images that are named; 1 when one of them failed."""
    from pumba_pipe.extraction.many import tasks_of
    from pumba_pipe.extraction.named_images import STANDARD_INPUT, find_images, read_list

    names = [*args.images, *(read_list(args.from_file) if args.from_file else [])]
    found = find_images(names, args.relative_to, args.out_dir)
    tasks = tasks_of(found.images, args.out_dir, args.write)
    if not tasks and not found.failures:
        raise InputError('no image to strip: all that was named are results of an earlier run')
    listed = [] if args.from_file in (None, STANDARD_INPUT) else [Path(args.from_file)]
    check_outputs([args.out_dir / LOG, args.out_dir / SUMMARY], listed)
    check_table(args.out_dir / SUMMARY, COLUMNS)
    for remark in found.remarks:
        tell(f'{NAME}: {remark}', sys.stderr)
    with only_run_in(args.out_dir), _opened_log(args.out_dir / LOG) as log:
        return _run(args, tasks, found.failures, log)


@contextlib.contextmanager
def _opened_log(path: Path) -> Iterator[TextIO]:
    try:
        file = path.open('a', encoding='utf-8', errors='backslashreplace')
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None
    with file:
        yield file


def _run(
    args: argparse.Namespace,
    tasks: Sequence[Task],
    failures: Sequence[tuple[Path, str]],
    log: TextIO,
) -> int:
    from pumba_pipe.extraction.edited_masks import follow_edits
    from pumba_pipe.extraction.many import (
        UNFOLLOWED,
        judge,
        parameters,
        quality_of,
        remove_leftovers,
        strip_many,
        with_former_kinds,
    )
    from pumba_pipe.extraction.options import ExtractionOptions, check_options
    from pumba_pipe.extraction.strip_file import check_intracranial
    from pumba_pipe.network.devices import choose_device
    from pumba_pipe.network.weights import default_weights, load_weights
    from pumba_pipe.results.judgement import AGAIN

    options = ExtractionOptions(args.border, args.csf, args.device, args.threads)
    check_options(options.border_mm, options.threads)
    choose_device(options.device)
    weights = args.weights or default_weights()
    model = load_weights(weights)
    remove_leftovers(tasks)
    depends = parameters(model, options)
    states = [(task, judge(task, depends)) for task in tasks]
    todo = [with_former_kinds(task) for task, state in states if state.state in AGAIN]
    edited = [with_former_kinds(task) for task, state in states if state.state == UNFOLLOWED]
    check_intracranial(model, [task.path('tiv') for task in todo if 'tiv' in task.kinds])
    with ProgressBar(len(edited) + len(todo), 'image', args.quiet) as bar:
        report = Report(bar, log, args.quiet)
        report.write(f'pumba_pipe {version()}, weights {model.sha256}: {_command()}')
        for path, reason in failures:
            report.lost(path, reason)
        for task, state in states:
            if state.state == 'blocked':
                report.lost(task.source, state.reason)
            elif state.state not in (*AGAIN, UNFOLLOWED):
                report.left(task, state, quality_of(task))
        try:
            follow_edits(
                edited,
                done=lambda task: report.followed(task, quality_of(task)),
                failed=report.failed,
            )
            strip_many(
                todo, model, options, weights=weights, done=report.stripped, failed=report.failed
            )
        finally:
            order = [*(path for path, _ in failures), *(task.source for task in tasks)]
            report.save(args.out_dir / SUMMARY, order)
    line = _in_words(report)
    report.write(line)
    if not args.quiet:
        bar.say(one_line(f'{line}; see {args.out_dir / SUMMARY}'))
    return 1 if report.count(FAILED) else 0


def _in_words(report: Report) -> str:
    counts = [(status, report.count(status)) for status in (STRIPPED, BEFORE, EDITED, FAILED)]
    said = ', '.join(f'{count} {status}' for status, count in counts if count)
    flagged = sum(bool(row.quality.get('flags')) for row in report.rows.values())
    return f'images: {len(report.rows)}; {said}' + (f'; {flagged} to look at' if flagged else '')


def _command() -> str:
    return shlex.join([NAME, *sys.argv[1:]])
