"""``pumba-synthstrip``: the command line of SynthStrip (``mri_synthstrip``), with our network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, end_process, guarded
from pumba_pipe.common.shared_options import add_quiet, add_threads, add_version, complete
from pumba_pipe.common.standard_streams import EXIT_FAILURE, tell

NAME = 'pumba-synthstrip'
DEFAULT_BORDER = 1.0  # mm, as of SynthStrip
NO_OUTPUT = 'nothing to write: give at least one of -o, -m, -d'
NO_CSF_MODEL = 'nocsf'  # in the name of SynthStrip's model without CSF
OURS = '.safetensors'
EPILOG = """
The mask is where the distance map is below the border. The distance is 0 at the surface of the
brain with the CSF around it, with --no-csf at that of the brain without it, and negative inside;
so the default mask is that of pumba-strip --csf include, 1 mm wider. -b 0 gives it as it is.
Of a 4D image, each volume is stripped for itself, and mask and distance map are 4D.

Programs that call mri_synthstrip, nipreps-synthstrip or synthstrip run this one when DIR of
--install-shim comes first in PATH. To go back, remove these files.

Exit codes: 0 done, 1 failed (bad input, no brain found, nothing to write), 2 wrong usage.

examples:
  pumba-synthstrip -i head.nii.gz -o brain.nii.gz -m mask.nii.gz
  pumba-synthstrip -i head.nii.gz -m mask.nii.gz --no-csf -t 4
  pumba-synthstrip --install-shim shims
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Strip an image by the command line of mri_synthstrip, with the network of '
        'pumba_pipe: for programs that call SynthStrip. The masks are not those of SynthStrip.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('-i', '--image', type=Path, metavar='FILE', help='image to strip')
    parser.add_argument('-o', '--out', type=Path, metavar='FILE', help='stripped image')
    parser.add_argument('-m', '--mask', type=Path, metavar='FILE', help='brain mask, 0 or 1')
    parser.add_argument('-d', '--sdt', type=Path, metavar='FILE', help='distance map in mm')
    parser.add_argument('-g', '--gpu', action='store_true', help='use the GPU (default: the CPU)')
    parser.add_argument(
        '-b', '--border', type=float, default=DEFAULT_BORDER, metavar='MM',
        help='where the mask ends, see below (default: %(default)g)',
    )  # fmt: skip
    add_threads(parser, '-n')
    parser.add_argument('--no-csf', action='store_true', help='leave out the CSF around the brain')
    parser.add_argument(
        '--model', type=Path, metavar='FILE',
        help='weights file of pumba-train (*.safetensors); a model file of SynthStrip, which some '
        'programs name always, is passed over, and a line says so',
    )  # fmt: skip
    parser.add_argument(
        '--install-shim', type=Path, metavar='DIR',
        help='write commands of the names that other programs call into DIR, and stop',
    )  # fmt: skip
    add_quiet(parser)
    add_version(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-synthstrip`` and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = complete(build_parser())
    if not words:  # as SynthStrip does
        parser.print_help()
        return EXIT_FAILURE
    args = parser.parse_args(words)
    if args.install_shim is not None:
        return guarded(NAME, lambda: install(args.install_shim))
    if args.image is None:
        parser.error('the following arguments are required: -i/--image')
    if not abs(args.border) < 1000:
        parser.error(f'-b {args.border}: is not a number of millimetres between -1000 and 1000')
    return guarded(NAME, lambda: run(args))


def script(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-synthstrip``: without arguments as a shell does, in a process of its own."""
    if argv is not None:
        return main(argv)
    end_process(main())


def run(args: argparse.Namespace) -> int:
    """Strip the image, and say what was written."""
    from pumba_pipe.common.errors import InputError
    from pumba_pipe.extraction.volumewise import strip_volumes

    outputs = {path for path in (args.out, args.mask, args.sdt) if path is not None}
    if not outputs:
        raise InputError(NO_OUTPUT)
    weights = args.model
    no_csf = args.no_csf
    if weights is not None and weights.suffix.lower() != OURS:
        # also where it is not there: as of a FreeSurfer that is not installed
        tell(f'{NAME}: {weights}: is a model of SynthStrip and is not used', sys.stderr)
        no_csf = no_csf or NO_CSF_MODEL in weights.name.lower()
        weights = None
    flags = strip_volumes(
        args.image,
        args.out,
        args.mask,
        args.sdt,
        border_mm=args.border,
        csf='exclude' if no_csf else 'include',
        device='cuda' if args.gpu else 'cpu',
        threads=args.threads,
        weights=weights,
    )
    if args.quiet:
        return 0
    for line in flags:
        tell(f'{NAME}: {args.image}: {line}', sys.stderr)
    for what, path in (
        ('stripped image', args.out),
        ('brain mask', args.mask),
        ('distance map', args.sdt),
    ):
        if path is not None:
            tell(f'{what}: {path}')
    return 0


def install(folder: Path) -> int:
    """Write the shims and say what to do with them."""
    from pumba_pipe.commands.shims import write_shims

    for path in write_shims(folder):
        tell(f'{path}: written')
    tell(f'to have them used: export PATH="{folder.resolve()}:$PATH"')
    return 0


if __name__ == '__main__':
    sys.exit(script())
