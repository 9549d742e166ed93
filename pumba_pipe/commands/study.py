"""``pumba-evaluate study``: what fine-tuning on a few labelled cases is worth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.shared_options import positive_int
from pumba_pipe.common.standard_streams import remarks_of, tell
from pumba_pipe.finetuning.study import StudySettings

NAME = 'pumba-evaluate study'
EPILOG = """
The subjects of DIR are divided in two halves, so that no subject is both trained on and scored.
For each number K of --counts, networks are trained on K cases of a half: fine-tuned from the
weights of --init, and from scratch on the labelled cases alone. These, their average with the
weights of --init (half-way) and the weights of --init themselves are scored on all cases of the
other half.

Written to OUT: study.tsv (the table that is printed), cases.tsv (a row per case) and the runs.
A run that was killed goes on where it stopped. Exit codes: 0 done, 1 failed, 2 wrong usage.

examples:
  pumba-evaluate study cases study
  pumba-evaluate study cases study --group 'monkey and ape' --counts 1 2 --halves 1
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    default = StudySettings()
    parser = CommandParser(
        NAME,
        description='Fine-tune on a few labelled cases, and score the cases of other subjects.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'folder', type=Path, metavar='DIR',
        help='folder of <case>/image.nii.gz and <case>/mask.nii.gz',
    )  # fmt: skip
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the results')
    parser.add_argument(
        '--group', help='only these species: human, "monkey and ape", rodent or other'
    )
    parser.add_argument('--cases', nargs='+', metavar='CASE', help='only these cases')
    parser.add_argument(
        '--counts', type=positive_int, nargs='+', default=list(default.counts), metavar='K',
        help='numbers of labelled cases to train on '
        f'(default: {" ".join(map(str, default.counts))})',
    )  # fmt: skip
    parser.add_argument(
        '--halves', type=int, choices=(1, 2), default=default.halves,
        help='1: train on one half of the subjects; 2: then on the other (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--init', default='default', metavar='WEIGHTS',
        help='weights to start from (default: the shipped ones)',
    )  # fmt: skip
    parser.add_argument(
        '--steps', type=positive_int, default=default.steps, metavar='N',
        help='of each training (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--synthetic-share', type=_share, default=default.synthetic_share, metavar='S',
        help='share of synthetic heads among the samples of fine-tuning (default: %(default)g)',
    )  # fmt: skip
    parser.add_argument(
        '--hold-out', type=_share, default=default.hold_out, metavar='S',
        help='share of the labelled cases kept to choose between checkpoints '
        '(default: %(default)g)',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=default.seed, help='default: %(default)s')
    parser.add_argument(
        '--cache-size', type=positive_int, default=default.cache_size, metavar='N',
        help='synthetic heads made ahead (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--threads', type=positive_int, metavar='N', help='CPU threads')
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to 1')
    return share


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-evaluate study`` and return its exit code."""
    options = build_parser().parse_args(argv)
    return guarded(NAME, lambda: study(options))


def study(options: argparse.Namespace) -> int:
    """Train and score everything, and print the table."""
    from pumba_pipe.common.files import check_outputs
    from pumba_pipe.common.tables import as_text, check_table
    from pumba_pipe.evaluation.cases import chosen_cases
    from pumba_pipe.evaluation.metrics import species_group
    from pumba_pipe.finetuning.labelled import labelled_cases
    from pumba_pipe.finetuning.study import CASE_COLUMNS, COLUMNS, TABLES, halves, run_study
    from pumba_pipe.network.weights import initial_weights

    cases = labelled_cases(options.folder, remark=remarks_of(NAME))
    if options.cases:
        cases = chosen_cases(cases, options.cases)
    if options.group:
        cases = [case for case in cases if species_group(case.species) == options.group]
    list(halves(cases))  # too few subjects are refused before anything is written
    initial = initial_weights(options.init)
    assert initial is not None
    read = [path for case in cases for path in (case.image, case.mask)]
    check_outputs([options.out / name for name in TABLES], [*read, initial])
    for name, columns in zip(TABLES, (CASE_COLUMNS, COLUMNS), strict=True):
        check_table(options.out / name, columns)
    settings = StudySettings(
        counts=tuple(options.counts),
        halves=options.halves,
        steps=options.steps,
        synthetic_share=options.synthetic_share,
        hold_out=options.hold_out,
        seed=options.seed,
        cache_size=options.cache_size,
        threads=options.threads,
    )
    rows = run_study(cases, initial, options.out, settings, tell)
    tell('\n' + as_text(COLUMNS, rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
