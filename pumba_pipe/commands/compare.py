"""``pumba-evaluate compare``: scores beside those of other tools, as a page of tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.standard_streams import tell

NAME = 'pumba-evaluate compare'
EPILOG = """
TARGET.md receives three tables: the median Dice of each group of species (with PEERS.md, beside
that of other tools on the same cases), how well the expected Dice finds poor masks, and every
case, the poorest first. A case in which no brain was found counts as Dice 0.

PEERS.md holds a Markdown table like this one; other tables in the file are passed over. An empty
cell means that a tool was not run on a case.

  | case | tool A | tool B |
  |---|---|---|
  | human_T1w_01 | 0.961 | 0.955 |
  | rat_T2w_02 | 0.874 | |

Exit codes: 0 done, 1 failed, 2 wrong usage.

examples:
  pumba-evaluate compare evaluation/scores.tsv page.md
  pumba-evaluate compare evaluation/scores.tsv page.md PEERS.md
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Write a Markdown page that compares scores with those of other tools.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'scores', type=Path, metavar='SCORES.tsv', help='scores.tsv of pumba-evaluate'
    )
    parser.add_argument('target', type=Path, metavar='TARGET.md', help='page to write')
    parser.add_argument(
        'peers', type=Path, metavar='PEERS.md', nargs='?', help="other tools' Dice, see below"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-evaluate compare`` and return its exit code."""
    options = build_parser().parse_args(argv)
    return guarded(NAME, lambda: compare(options))


def compare(options: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from pumba_pipe.evaluation.comparison import write_comparison

    write_comparison(options.scores, options.target, options.peers)
    tell(f'{options.target}: written')
    return 0


if __name__ == '__main__':
    sys.exit(main())
