"""``pumba-evaluate``: strip images that have reference masks, and score what was found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.commands import benchmark, compare, learning_curve, study
from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.shared_options import (
    add_device,
    add_quiet,
    add_threads,
    add_version,
    complete,
    positive_int,
)
from pumba_pipe.common.standard_streams import remarks_of, tell
from pumba_pipe.common.text import one_line

if TYPE_CHECKING:
    from pumba_pipe.evaluation.cases import Case
    from pumba_pipe.evaluation.metrics import CaseScore
    from pumba_pipe.evaluation.scoring import MaskSource

NAME = 'pumba-evaluate'
TASKS = {
    'benchmark': benchmark.main,
    'compare': compare.main,
    'learning-curve': learning_curve.main,
    'study': study.main,
}
EPILOG = """
DIR is a folder of <case>/image.nii.gz and <case>/mask.nii.gz. Species and modality come from
its MANIFEST.tsv (columns case, species, modality), or from names <species>_<modality>_<name>.
With --bids DIR is a BIDS derivative: every sub-*_desc-brain_mask.nii.gz (or label-brain) goes
with the images of RAW that have its name without desc and label; space-FLAIR in its name may
stand for the suffix of the image. The species comes from participants.tsv of RAW; without it, it
is human.

Written to --out: scores.tsv (a row per case), summary.tsv, worst.png, and expected.tsv, which
compares the Dice that was expected of each mask with the true one. Distances are in mm.
hd95_mm is the 95th percentile of the distances between the two surfaces, the larger of both
directions. seconds is the time to read and strip a case. peak_mb (MiB) is the highest memory use
of this process while it stripped the case (on Linux; elsewhere since it started).

Exit codes: 0 done, 1 failed (bad input, or a case failed), 2 wrong usage.

further tasks, each with its own --help:
  pumba-evaluate benchmark DIR OUT --tool NAME='COMMAND {in} {out}'
      ours and other programs on the same cases, measured and scored
  pumba-evaluate compare SCORES.tsv TARGET.md [PEERS.md]
      scores beside those of other tools, as a page of tables
  pumba-evaluate learning-curve STAGE CASES OUT.tsv [CASE ...]
      scores of every snapshot of a training run
  pumba-evaluate study DIR OUT
      what fine-tuning on a few labelled cases is worth
A folder with the name of a task is given as ./benchmark, ./compare,
./learning-curve or ./study.

examples:
  pumba-evaluate cases --out scores
  pumba-evaluate cases --predictions masks-of-another-tool --out scores
  pumba-evaluate bids/derivatives/manual --bids bids --out scores
"""


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = CommandParser(
        NAME,
        description='Strip images that have reference masks, and score the masks that result.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', metavar='DIR', type=Path, help='folder of the cases, see below')
    parser.add_argument('--bids', metavar='RAW', type=Path, help='raw BIDS data set of the images')
    parser.add_argument(
        '--out', metavar='DIR', type=Path, default=Path('evaluation'),
        help='folder of the results (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--predictions', metavar='DIR', type=Path,
        help='score these masks instead of stripping: <case>.nii.gz, <case>/mask.nii.gz, '
        'or with --bids the names of the reference masks',
    )  # fmt: skip
    parser.add_argument('--cases', nargs='+', metavar='CASE', help='only these cases')
    parser.add_argument(
        '--all', action='store_true',
        help='strip cases without a reference mask too; they get an expected Dice, and no Dice',
    )  # fmt: skip
    parser.add_argument(
        '--worst', type=positive_int, default=8, metavar='N',
        help='cases in the picture (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--weights', type=Path, metavar='FILE', help='weights file (default: the shipped one)'
    )
    add_device(parser)
    add_threads(parser)
    add_quiet(parser)
    add_version(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-evaluate`` and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in TASKS:
        return TASKS[words[0]](words[1:])
    parser = complete(build_parser())
    options = parser.parse_args(words)
    if options.all and options.predictions is not None:
        parser.error('--all strips images; with --predictions nothing is stripped')
    return guarded(NAME, lambda: evaluate(options))


def evaluate(options: argparse.Namespace) -> int:
    """Score all cases and write the results; 1 when a case failed."""
    from pumba_pipe.common.files import check_outputs
    from pumba_pipe.common.progress import ProgressBar
    from pumba_pipe.common.tables import as_text, check_table
    from pumba_pipe.evaluation.expectations import COLUMNS
    from pumba_pipe.evaluation.metrics import SCORE_COLUMNS, SUMMARY_COLUMNS
    from pumba_pipe.evaluation.scoring import (
        EXPECTED,
        PICTURE,
        SCORES,
        SUMMARY,
        in_words,
        make_stripper,
        read_prediction,
        score_cases,
        write_results,
    )

    cases = _select(options)
    read = [path for case in cases for path in (case.image, case.mask, case.prediction)]
    results = [options.out / name for name in (SCORES, SUMMARY, EXPECTED, PICTURE)]
    check_outputs(results, [*read, options.weights])
    tables = (SCORE_COLUMNS, SUMMARY_COLUMNS, COLUMNS)
    for path, columns in zip(results, tables, strict=False):
        check_table(path, columns[:1])  # those of earlier versions may have had other columns
    find: MaskSource = read_prediction
    if options.predictions is None:
        find = make_stripper(options.weights, options.device, options.threads)
        _warn_of_seen(cases, options.weights)
    with ProgressBar(len(cases), 'case', options.quiet) as bar:

        def done(score: CaseScore) -> None:
            bar.advance()
            if not options.quiet:
                bar.say(one_line(in_words(score)))

        scored = score_cases(
            cases,
            find,
            done=done,
            failed=lambda message: bar.say(f'{NAME}: {one_line(message)}', sys.stderr),
        )
    summary, expected = write_results(options.out, scored, options.worst)
    if not expected:
        (options.out / EXPECTED).unlink(missing_ok=True)  # of an earlier run
    tell('\n' + as_text(SUMMARY_COLUMNS, summary) + '\n' if summary else '')
    if expected:
        tell('expected Dice beside the true one:\n' + as_text(COLUMNS, expected) + '\n')
    failed = sum(one.score.failed for one in scored)
    tell(f'cases: {len(scored)}, failed: {failed}; results in {options.out}')
    return 1 if failed else 0


def _warn_of_seen(cases: list[Case], weights: Path | None) -> None:
    """Say so when weights are scored on images they were fine-tuned on."""
    from pumba_pipe.common.files import file_digest
    from pumba_pipe.network.model_card import real_images
    from pumba_pipe.network.weights import load_weights

    known = set(real_images(load_weights(weights).card))
    seen = sum(file_digest(case.image) in known for case in cases) if known else 0
    if seen:
        tell(
            f'{NAME}: warning: these weights have seen {seen} of these images in training; '
            'scores on them, or on other images of the same subjects, say nothing',
            sys.stderr,
        )


def _select(options: argparse.Namespace) -> list[Case]:
    """List the cases the options ask for, with their ready masks where those are given."""
    from pumba_pipe.evaluation.cases import (
        chosen_cases,
        find_bids_cases,
        find_cases,
        with_predictions,
    )

    if options.bids is not None:
        cases = find_bids_cases(options.folder, options.bids, remarks_of(NAME))
    else:
        cases = find_cases(options.folder, remarks_of(NAME))
    if options.cases:
        cases = chosen_cases(cases, options.cases)
    blind = [case.name for case in cases if case.mask is None]
    if blind and not options.all:
        cases = [case for case in cases if case.mask is not None]
        if not cases:
            raise InputError(
                f'{options.folder}: no mask.nii.gz beside any of the images; '
                'with --all they are stripped nonetheless'
            )
        tell(f'left out, without a reference mask: {len(blind)} (--all strips them too)')
    if options.predictions is not None:
        derivative = options.folder if options.bids is not None else None
        cases = with_predictions(cases, options.predictions, derivative)
    return cases


if __name__ == '__main__':
    sys.exit(main())
