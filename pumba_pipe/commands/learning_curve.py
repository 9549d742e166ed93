"""``pumba-evaluate learning-curve``: the snapshots of a training run, scored."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.standard_streams import remarks_of, tell

NAME = 'pumba-evaluate learning-curve'
EPILOG = """
OUT.tsv has a row for each snapshot and group of species: samples seen, minutes of training, number
of cases, their median Dice and the lowest. A case in which no brain was found counts as Dice 0.

Exit codes: 0 done, 1 failed, 2 wrong usage.

examples:
  pumba-train run --snapshots
  pumba-evaluate learning-curve run/coarse cases curve.tsv
  pumba-evaluate learning-curve run/fine cases curve.tsv human_T1w_01 rat_T2w_02
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Score every snapshot of a training run: accuracy over samples seen.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'stage', type=Path, metavar='STAGE',
        help='folder of one stage of a run of pumba-train --snapshots: OUT/coarse or OUT/fine',
    )  # fmt: skip
    parser.add_argument(
        'folder', type=Path, metavar='CASES',
        help='folder of <case>/image.nii.gz and <case>/mask.nii.gz',
    )  # fmt: skip
    parser.add_argument('out', type=Path, metavar='OUT.tsv', help='table to write')
    parser.add_argument('cases', nargs='*', metavar='CASE', help='only these cases')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-evaluate learning-curve`` and return its exit code."""
    options = build_parser().parse_args(argv)
    return guarded(NAME, lambda: learning_curve(options))


def learning_curve(options: argparse.Namespace) -> int:
    """Score all snapshots, write the table and print it."""
    from pumba_pipe.common.files import check_outputs
    from pumba_pipe.common.tables import as_text, check_table, write_table
    from pumba_pipe.evaluation.cases import chosen_cases, find_cases, with_masks
    from pumba_pipe.evaluation.learning_curve import COLUMNS, curve

    cases = find_cases(options.folder, remarks_of(NAME))
    if options.cases:
        cases = chosen_cases(cases, options.cases)
    labelled = with_masks(cases, options.folder)
    read = [path for case in labelled for path in (case.image, case.mask)]
    check_outputs([options.out], [*read, *options.stage.glob('*.safetensors')])
    check_table(options.out, COLUMNS)
    rows = curve(options.stage, labelled)
    write_table(options.out, COLUMNS, rows)
    tell(as_text(COLUMNS, rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
