"""``pumba-strip``: skull-strip one image, or many."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.cli import CommandParser, end_process, guarded
from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.files import all_or_none, check_outputs
from pumba_pipe.common.imports import import_little
from pumba_pipe.common.shared_options import add_device, add_threads, add_version, complete
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.extraction.border import CSF, csf_choice
from pumba_pipe.extraction.options import ExtractionOptions

if TYPE_CHECKING:
    from pumba_pipe.extraction.result import BrainExtraction

NAME = 'pumba-strip'
SINGLE = '-o, -m, -d, -p, -q, --picture, --tiv'
KINDS = ('mask', 'brain', 'prob', 'sdt', 'tiv')
# New objects per search for garbage: imports make many, and hardly any garbage.
FEW_COLLECTIONS = 100_000
EPILOG = """
One image: at least one of -o, -m, -d, -p, -q, --picture, --tiv is needed. Of a 4D image, the mean
of its b0 volumes (with a .bval file beside it) or of all volumes is looked at; -o masks all
volumes.

Many images: DIR receives NAME_mask.nii.gz, NAME_mask.json (quality record, and how it was made),
NAME_brain.nii.gz, ... of each NAME.nii.gz, summary.tsv with a row for each image, and
pumba-strip.log. Folders are looked through, and kept below DIR from the named folder on. What is
done before is left as it is: same image, same options, files unchanged. A killed call goes on when
it is started again. A mask that was edited is kept. An image that fails does not stop the others.

Exit codes: 0 done, 1 failed (bad input, no brain found; of many images, at least one), 2 wrong
usage, 130 interrupted.

examples:
  pumba-strip -i head.nii.gz -o brain.nii.gz -m mask.nii.gz
  pumba-strip -i head.nii.gz -m mask.nii.gz --picture mask.png
  pumba-strip -i head.nii.gz -m wide.nii.gz -b 2 --csf include
  pumba-strip one.nii.gz two.nii.gz --out-dir masks
  pumba-strip scans --out-dir masks --write mask
  pumba-strip 'scans/*/T1.nii.gz' --relative-to scans --out-dir masks
  find scans -name '*T1w.nii.gz' | pumba-strip --from-file - --relative-to scans --out-dir masks
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        usage='%(prog)s -i IN [-o BRAIN] [-m MASK] [-d SDT] [-p PROB] [-q QUALITY]\n'
        '                          [--picture PNG] [--tiv TIV] [options]\n'
        '       %(prog)s FILE|FOLDER|PATTERN ... --out-dir DIR [options]',
        description='Find the brain in MRI scans of any contrast, species and orientation.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_one(parser)
    _add_many(parser)
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
    add_device(parser)
    parser.add_argument('--weights', type=Path, help='weights file of your own')
    add_threads(parser)
    parser.add_argument('-v', '--verbose', action='store_true', help='say where the time went')
    parser.add_argument('--quiet', action='store_true', help='print errors only')
    add_version(parser)
    return parser


def _add_one(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('one image')
    group.add_argument('-i', '--image', type=Path, metavar='IN', help='scan')
    group.add_argument('-o', '--out', type=Path, metavar='BRAIN', help='masked scan')
    group.add_argument('-m', '--mask', type=Path, help='brain mask, 0 or 1')
    group.add_argument(
        '-d', '--sdt', type=Path, help='distance to the border in mm, negative inside'
    )
    group.add_argument('-p', '--prob', type=Path, help='probability of being brain, 0..1')
    group.add_argument(
        '--tiv', type=Path, help='intracranial space, 0 or 1: brain and CSF up to the dura'
    )
    group.add_argument('-q', '--quality', type=Path, help='quality record, JSON')
    group.add_argument(
        '--picture',
        type=Path,
        metavar='PNG',
        help='slices with the outline of the mask, to look at',
    )


def _add_many(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('many images, see below')
    group.add_argument(
        'images', nargs='*', metavar='FILE', help='scans, folders of scans, patterns in quotes'
    )
    group.add_argument('--out-dir', type=Path, metavar='DIR', help='folder of the results')
    group.add_argument(
        '--from-file', metavar='LIST', help='text file of paths, one a line; -: standard input'
    )
    group.add_argument(
        '--write', type=_kinds, default=('mask', 'brain'), metavar='WHAT,...',
        help='of mask, brain, prob, sdt and tiv; the mask always (default: mask,brain)',
    )  # fmt: skip
    group.add_argument(
        '--relative-to', type=Path, metavar='DIR',
        help='keep the folders below DIR in the folder of the results',
    )  # fmt: skip


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip() for word in text.split(',')))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f'{unknown[0]!r} is not one of {", ".join(KINDS)}')
    return kinds


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-strip`` and return its exit code."""
    parser = complete(build_parser())
    args = parser.parse_intermixed_args(argv)  # options and images in any order
    many = _check(parser, args)
    if not -1000 < args.border < 1000:
        parser.error(f'-b {args.border}: is not a number of millimetres between -1000 and 1000')
    if not many:
        return guarded(NAME, lambda: run(args))
    from pumba_pipe.commands.strip_many import run_many

    return guarded(NAME, lambda: run_many(args))


def script(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-strip``: without arguments as a shell does, in a process that ends with it."""
    if argv is not None:
        return main(argv)
    gc.set_threshold(FEW_COLLECTIONS)
    end_process(main())


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> bool:
    """Refuse options that do not go together; tell whether it is about many images."""
    single = _outputs(args)
    if args.image is not None:
        if args.images or args.from_file or args.out_dir or args.relative_to:
            parser.error('-i is for one image; many are named without it, and go with --out-dir')
        if not any(single):
            parser.error(f'nothing to write: give at least one of {SINGLE}')
        return False
    if not args.images and args.from_file is None:
        parser.error('no image: give one with -i, or many with --out-dir')
    if args.out_dir is None:
        parser.error('--out-dir DIR, the folder of the results, is needed for images without -i')
    if any(single):
        parser.error(f'{SINGLE} go with -i; with --out-dir it is --write')
    return True


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Files to write of a single image."""
    named = (args.out, args.mask, args.prob, args.sdt, args.tiv, args.quality, args.picture)
    return [path for path in named if path is not None]


def run(args: argparse.Namespace) -> int:
    """Strip the image and say how it went."""
    import time

    started = time.perf_counter()
    import_little()
    from pumba_pipe.extraction.strip_file import strip_file

    imported = time.perf_counter() - started
    if args.picture is not None:
        _check_picture(args)
    with all_or_none() as together:
        for path in _outputs(args) if args.picture is not None else []:
            together.keep(path)
        result = strip_file(
            args.image,
            args.out,
            args.mask,
            args.prob,
            args.sdt,
            args.quality,
            out_tiv=args.tiv,
            border_mm=args.border,
            csf=args.csf,
            device=args.device,
            threads=args.threads,
            weights=args.weights,
        )
        if args.picture is not None:
            _draw(result, args)
    quality = result.quality
    if args.quiet:
        return 0
    tell(f'{args.image}: brain of {quality.volume_ml:.4g} mL, {quality}')
    if args.tiv is not None:
        tell(f'  intracranial volume {quality.intracranial_ml:.4g} mL')
    for line in (*quality.notes, *quality.flags):
        tell(f'  {line}', sys.stderr)
    if args.verbose:
        parts = {'import': imported, **result.seconds}
        tell('  seconds: ' + ', '.join(f'{name} {s:.2f}' for name, s in parts.items()))
    return 0


def _check_picture(args: argparse.Namespace) -> None:
    """Refuse, before any work, a picture of another format or in place of another file."""
    from pumba_pipe.images.volume import b_value_files
    from pumba_pipe.network.weights import default_weights

    if args.picture.suffix.lower() != '.png':
        raise OutputError(f'{args.picture}: is not the name of a picture; let it end with .png')
    inputs = [args.image, *b_value_files(args.image), args.weights or default_weights()]
    check_outputs(_outputs(args), inputs)


def _draw(result: BrainExtraction, args: argparse.Namespace) -> None:
    """Draw slices in three planes with the outline of the mask."""
    from pumba_pipe.reports.figures import draw_mosaic
    from pumba_pipe.reports.image_and_mask import scan_of

    scan = scan_of(result.volume, result.mask > 0, args.image.name)
    draw_mosaic(scan, args.picture, result.quality.to_dict())


if __name__ == '__main__':
    sys.exit(script())
