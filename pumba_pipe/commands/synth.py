"""``pumba-synth``: write synthetic heads as a BIDS data set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.resources import check_memory_for_torch
from pumba_pipe.common.shared_options import (
    add_quiet,
    add_version,
    complete,
    positive_float,
    positive_int,
)
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.synthesis.dataset_names import MAX_HEADS, MAX_VOXEL_MM, MIN_VOXEL_MM
from pumba_pipe.synthesis.dataset_options import LEAST_SIZE, MOST_SIZE, SynthesisOptions

NAME = 'pumba-synth'
DEFAULTS = SynthesisOptions()
SUFFIXES = ('T1w', 'T2w', 'T2starw', 'PDw', 'FLAIR')
EPILOG = """
Written to OUT: images (sub-001/anat/sub-001_T1w.nii.gz, ...), brain masks as a derivative
(derivatives/labels), participants.tsv with the seed of every head, and heads.png, a picture of
the first 24. The same options give the same files. A folder that holds anything but an earlier
data set of this command is refused; that is replaced, unless something in it was added or changed.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

examples:
  pumba-synth heads
  pumba-synth heads -n 24 --size 128 --seed 7
  pumba-synth heads --recipe paper --suffixes T1w --voxel-mm 1
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Write heads made of random shapes, with brain masks, as a BIDS data set.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_quiet(parser)
    add_version(parser)
    parser.add_argument('out', metavar='OUT', type=Path, help='folder of the data set')
    parser.add_argument(
        '-n', type=_count, default=DEFAULTS.count, metavar='N',
        help='number of heads (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--recipe', default='default', metavar='NAME|FILE',
        help='default, paper, or a TOML file that changes one of these (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--seed', type=_seed, default=DEFAULTS.seed, help='default: %(default)s')
    parser.add_argument(
        '--size', type=_size, default=DEFAULTS.size, metavar='VOXELS',
        help='side of the cube heads are made in (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--suffixes', nargs='+', choices=SUFFIXES, default=list(DEFAULTS.suffixes),
        metavar='SUFFIX',
        help=f'given to the images in turn: {", ".join(SUFFIXES)} '
        f'(default: {" ".join(DEFAULTS.suffixes)})',
    )  # fmt: skip
    parser.add_argument(
        '--voxel-mm', type=_voxel_mm, default=DEFAULTS.voxel_mm, metavar='MM',
        help='voxel size (default: %(default)s)',
    )  # fmt: skip
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 0 to 2^63 - 1')
    return int(text)


def _size(text: str) -> int:
    size = positive_int(text)
    if not LEAST_SIZE <= size <= MOST_SIZE:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a whole number from {LEAST_SIZE} to {MOST_SIZE}'
        )
    return size


def _count(text: str) -> int:
    count = positive_int(text)
    if count > MAX_HEADS:
        raise argparse.ArgumentTypeError(
            f'{text!r} is more than {MAX_HEADS}; make several data sets, with another --seed each'
        )
    return count


def _voxel_mm(text: str) -> float:
    size = positive_float(text)
    if not MIN_VOXEL_MM <= size <= MAX_VOXEL_MM:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number of millimetres from {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g}'
        )
    return size


def main(argv: list[str] | None = None) -> int:
    """Run ``pumba-synth`` and return its exit code."""
    options = complete(build_parser()).parse_args(argv)
    return guarded(NAME, lambda: synthesize_dataset(options))


def synthesize_dataset(options: argparse.Namespace) -> int:
    """Write the data set and say where it is."""
    check_memory_for_torch()
    from pumba_pipe.common.progress import ProgressBar
    from pumba_pipe.synthesis.dataset import MASKS, PICTURE, write_heads
    from pumba_pipe.synthesis.recipe import load_recipe

    with ProgressBar(options.n, 'head', options.quiet) as bar:

        def written(name: str) -> None:
            bar.advance()
            if not options.quiet:
                bar.say(name)

        write_heads(
            options.out,
            load_recipe(options.recipe),
            SynthesisOptions(
                count=options.n,
                seed=options.seed,
                size=options.size,
                suffixes=options.suffixes,
                voxel_mm=options.voxel_mm,
            ),
            progress=written,
        )
    out = options.out
    if options.quiet:
        return 0
    tell(f'images: {out}\nbrain masks: {out / MASKS}\npicture: {out / PICTURE}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
