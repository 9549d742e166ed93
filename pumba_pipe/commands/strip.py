"""``pumba-strip``: skull-strip one image."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import add_version, guarded, positive_int
from pumba_pipe.extraction.border import CSF, csf_choice
from pumba_pipe.extraction.options import ExtractionOptions

NAME = 'pumba-strip'


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        NAME,
        description='Find the brain in an MRI scan of any contrast, species and orientation.',
        epilog='At least one of -o, -m, -d, -p, -q is needed. Of a 4D image, the mean of its b0 '
        'volumes (with a .bval file beside it) or of all volumes is looked at; -o masks all '
        'volumes. Exit codes: 0 done, 1 failed (bad input, no brain found), 2 wrong usage.',
    )
    add_version(parser)
    parser.add_argument('-i', '--image', required=True, type=Path, metavar='IN', help='scan')
    parser.add_argument('-o', '--out', type=Path, metavar='BRAIN', help='masked scan')
    parser.add_argument('-m', '--mask', type=Path, help='brain mask, 0 or 1')
    parser.add_argument(
        '-d', '--sdt', type=Path, help='distance to the border in mm, negative inside'
    )
    parser.add_argument('-p', '--prob', type=Path, help='probability of being brain, 0..1')
    parser.add_argument('-q', '--quality', type=Path, help='quality record, JSON')
    parser.add_argument(
        '-b',
        '--border',
        type=float,
        default=ExtractionOptions.border_mm,
        metavar='MM',
        help='grow the mask by this many mm; negative shrinks it (default: %(default)g)',
    )
    parser.add_argument(
        '--csf',
        type=csf_choice,
        choices=CSF,
        default=ExtractionOptions.csf,
        help='a rim of the CSF around the brain: part of the mask or not; auto: not in brains of '
        'human size (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default=ExtractionOptions.device,
        help='auto, cpu, cuda, cuda:N or mps (default: %(default)s)',
    )
    parser.add_argument('--weights', type=Path, help='weights file of your own')
    parser.add_argument('--threads', type=positive_int, metavar='N', help='CPU threads')
    parser.add_argument('-v', '--verbose', action='store_true', help='say where the time went')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-strip`` and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not any((args.out, args.mask, args.sdt, args.prob, args.quality)):
        parser.error('nothing to write: give at least one of -o, -m, -d, -p, -q')
    if not -1000 < args.border < 1000:
        parser.error(f'-b {args.border}: is not a number of millimetres between -1000 and 1000')
    return guarded(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Strip the image and say how it went."""
    import time

    started = time.perf_counter()
    from pumba_pipe.extraction.pipeline import strip_file

    imported = time.perf_counter() - started
    result = strip_file(
        args.image,
        args.out,
        args.mask,
        args.prob,
        args.sdt,
        args.quality,
        border_mm=args.border,
        csf=args.csf,
        device=args.device,
        threads=args.threads,
        weights=args.weights,
    )
    quality = result.quality
    print(f'{args.image}: brain of {quality.volume_ml:.4g} ml, {quality}')
    for line in (*quality.notes, *quality.flags):
        print(f'  {line}', file=sys.stderr)
    if args.verbose:
        parts = {'import': imported, **result.seconds}
        print('  seconds: ' + ', '.join(f'{name} {s:.2f}' for name, s in parts.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
