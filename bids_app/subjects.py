"""Splitting a data set into jobs: participants with images to strip, a line for each job.

    python -m pumba_pipe.bids_app.subjects BIDS_DIR --per-job 10 > jobs.txt

``docker/slurm/array.sbatch`` takes such a list.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pumba_pipe.bids_app.options.config import RunConfig, check_folders
from pumba_pipe.bids_app.options.definitions import add_selection
from pumba_pipe.bids_app.options.parser import EXIT_USAGE, OneLineParser, config_of
from pumba_pipe.bids_app.selection.dataset import select_images
from pumba_pipe.workflows.naming import (
    brain_path,
    mask_path,
    parse_name,
    preproc_path,
    subject_of,
)

from pumba_pipe.common.cli import guarded
from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.shared_options import add_version, positive_int
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.common.text import one_line

NAME = 'pumba_pipe.bids_app.subjects'


def build_parser() -> OneLineParser:
    """Make the parser."""
    parser = OneLineParser(
        prog=f'python -m {NAME}',
        description='List the participants of a BIDS data set who have images to strip, a line '
        'for each job of a batch system.',
        epilog='Exit codes: 0 done, 1 failed, 2 wrong usage. '
        f'Example: python -m {NAME} bids --per-job 10 > jobs.txt',
        allow_abbrev=False,
    )
    parser.add_argument('bids_dir', type=Path, help='folder of a BIDS data set')
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        '--per-job', type=positive_int, default=1, metavar='N',
        help='participants on a line; default: 1',
    )  # fmt: skip
    split.add_argument(
        '--jobs',
        type=positive_int,
        metavar='N',
        help='lines at most, of about equal length',
    )
    parser.add_argument(
        '--missing-in', type=Path, metavar='OUT_DIR',
        help='only participants of whom a mask or an image is missing there',
    )  # fmt: skip
    add_selection(parser)
    add_version(parser)
    return parser


def list_jobs(
    participants: Sequence[str], per_job: int = 1, jobs: int | None = None
) -> list[list[str]]:
    """Split participants into jobs of equal size, but for one.

    Parameters
    ----------
    participants : sequence of str
    per_job : int
        Participants of a job.
    jobs : int, optional
        Instead: how many jobs at most.

    Examples
    --------
    >>> list_jobs(['01', '02', '03'], per_job=2)
    [['01', '02'], ['03']]
    >>> list_jobs(['01', '02', '03'], jobs=8)
    [['01'], ['02'], ['03']]
    """
    if jobs:
        per_job = max(1, math.ceil(len(participants) / jobs))
    return [
        list(participants[start : start + per_job])
        for start in range(0, len(participants), per_job)
    ]


def unfinished(images: Iterable[Path], output_dir: Path) -> list[Path]:
    """Keep the images of which a file is missing in the results: the mask, or an image."""
    rules = (mask_path, preproc_path, brain_path)
    return [
        image
        for image in images
        if not all((output_dir / rule(parse_name(image))).exists() for rule in rules)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0 listed, which may be nothing with ``--missing-in``; 2 wrong usage.
    """
    try:
        given = build_parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)

    def body() -> int:
        try:
            participants = _participants(given)
        except PumbaError as error:
            tell(f'{NAME}: error: {one_line(str(error))}', sys.stderr)
            return EXIT_USAGE
        for labels in list_jobs(participants, given.per_job, given.jobs):
            tell(' '.join(labels))
        return 0

    return guarded(NAME, body)


def _participants(given: argparse.Namespace) -> list[str]:
    bids_dir = given.bids_dir.resolve()
    config = config_of(
        given,
        # nothing is written: folders that the checks below have nothing against
        output_dir=(given.missing_in or bids_dir / 'derivatives' / 'pumba').resolve(),
        analysis_level='participant',
        work_dir=bids_dir.parent / RunConfig.work_dir,
    )
    check_folders(config)
    selection = select_images(config)
    images = [*selection.images, *selection.broken]
    if given.missing_in:
        images = unfinished(images, config.output_dir)
    return sorted({subject_of(image) for image in images} - {''})


if __name__ == '__main__':
    sys.exit(main())
