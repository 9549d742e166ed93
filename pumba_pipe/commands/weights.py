"""``pumba-weights``: look at weights, calibrate, average and export them, write model cards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.progress import ProgressBar
from pumba_pipe.common.shared_options import (
    add_device,
    add_quiet,
    add_threads,
    add_version,
    complete,
    positive_int,
)
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.training.settings import CALIBRATION_HEADS

NAME = 'pumba-weights'
EPILOG = """
Exit codes: 0 done, 1 failed, 2 wrong usage. `pumba-weights TASK --help` explains a task.

examples:
  pumba-weights info runs/first/weights.safetensors
  pumba-weights card runs/first/weights.safetensors evaluation/scores.tsv card.md
  pumba-weights calibrate runs/first/weights.safetensors
  pumba-weights average before.safetensors after.safetensors mean.safetensors 0.5
  pumba-weights export onnx-files
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Look at weights files, calibrate them, write their model cards, average them '
        'and export them for other software.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_quiet(parser)
    add_version(parser)
    tasks = parser.add_subparsers(title='tasks', metavar='TASK', required=True)
    _add_info(tasks)
    _add_card(tasks)
    _add_calibrate(tasks)
    _add_average(tasks)
    _add_export(tasks)
    return parser


Tasks = argparse._SubParsersAction


def _add_info(tasks: Tasks) -> None:
    parser = tasks.add_parser(
        'info',
        help='print what a weights file is and how it was made',
        description='Print what a weights file is and how it was made: size, SHA-256, recipe, '
        'training of each stage, and whether real images took part.',
        epilog='example: pumba-weights info runs/first/weights.safetensors',
    )
    parser.add_argument(
        'weights', type=Path, nargs='?', metavar='WEIGHTS',
        help='default: the file named by PUMBA_WEIGHTS, or else the shipped one',
    )  # fmt: skip
    parser.set_defaults(task=_info)


def _add_card(tasks: Tasks) -> None:
    parser = tasks.add_parser(
        'card',
        help='write the model card of a weights file',
        description='Write the model card of a weights file in Markdown: how the weights were '
        'made, and how they score.',
        epilog='example: pumba-weights card weights.safetensors evaluation/scores.tsv card.md',
    )
    parser.add_argument('weights', type=Path, metavar='WEIGHTS', help='made by pumba-train')
    parser.add_argument(
        'scores', type=Path, metavar='SCORES.tsv',
        help='scores.tsv of pumba-evaluate --weights WEIGHTS',
    )  # fmt: skip
    parser.add_argument('card', type=Path, metavar='CARD.md', help='page to write')
    parser.set_defaults(task=_card)


def _add_calibrate(tasks: Tasks) -> None:
    parser = tasks.add_parser(
        'calibrate',
        help='learn from made heads which Dice to expect of a mask',
        description='Strip made heads, whose true masks are known, odd heads, and images without '
        'a brain; learn from them which Dice is to be expected of a mask, and when it may show '
        'no brain; and write what was learned into WEIGHTS. No real image is involved. '
        'pumba-train does so at its end. The SHA-256 of the file changes.',
        epilog='example: pumba-weights calibrate runs/first/weights.safetensors',
    )
    parser.add_argument('weights', type=Path, metavar='WEIGHTS', help='made by pumba-train')
    parser.add_argument(
        '--heads', type=positive_int, default=CALIBRATION_HEADS, metavar='N',
        help='ordinary heads; as many odd heads and images without a brain come on top as are '
        'two thirds of them (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--seed', type=int, metavar='N',
        help='of the images (default: 1, with --check the one after that of the calibration)',
    )  # fmt: skip
    parser.add_argument(
        '--check', action='store_true',
        help='write nothing: say how well the calibration of WEIGHTS does on fresh images',
    )  # fmt: skip
    add_device(parser)
    add_threads(parser)
    parser.add_argument(
        '-q', '--quiet', action='store_true', default=argparse.SUPPRESS, help='no progress'
    )
    parser.set_defaults(task=_calibrate)


def _add_average(tasks: Tasks) -> None:
    parser = tasks.add_parser(
        'average',
        help='average two weights files of the same networks',
        description='Average two weights files, number by number. This makes sense where the '
        'networks of SECOND were trained on from those of FIRST.',
        epilog='example: pumba-weights average before.safetensors after.safetensors '
        'mean.safetensors 0.25',
    )
    parser.add_argument('first', type=Path, metavar='FIRST', help='weights')
    parser.add_argument(
        'second', type=Path, metavar='SECOND', help='weights of networks of the same shape'
    )
    _add_out(parser)
    parser.add_argument(
        'share', type=float, metavar='SHARE',
        help='how much SECOND counts, 0 to 1; FIRST counts for the rest',
    )  # fmt: skip
    parser.set_defaults(task=_average)


def _add_export(tasks: Tasks) -> None:
    parser = tasks.add_parser(
        'export',
        help='write the networks for other software: ONNX files or a MONAI bundle',
        description='Write the networks for other software, after their logits were compared with '
        'ours. onnx: coarse.onnx and fine.onnx; pipeline.json and README.md, which say what goes '
        'around them; and strip.py, which does so without this package; needs onnx and '
        'onnxruntime (extra `export`). monai: a MONAI bundle, which strips by '
        '`python -m monai.bundle run`.',
        epilog='example: pumba-weights export onnx-files runs/first/weights.safetensors',
    )
    parser.add_argument('folder', type=Path, metavar='DIR', help='folder to write')
    parser.add_argument(
        'weights', type=Path, nargs='?', metavar='WEIGHTS',
        help='default: the file named by PUMBA_WEIGHTS, or else the shipped one',
    )  # fmt: skip
    parser.add_argument(
        '--format', choices=('onnx', 'monai'), default='onnx', help='default: %(default)s'
    )
    parser.set_defaults(task=_export)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('out', type=Path, metavar='OUT', help='file to write, *.safetensors')


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-weights`` and return its exit code."""
    options = complete(build_parser()).parse_args(argv)
    return guarded(NAME, lambda: options.task(options))


def _info(options: argparse.Namespace) -> int:
    from pumba_pipe.network.model_card import describe

    tell('\n'.join(describe(options.weights)))
    return 0


def _card(options: argparse.Namespace) -> int:
    from pumba_pipe.network.model_card import write_card

    write_card(options.weights, options.scores, options.card)
    if not options.quiet:
        tell(f'{options.card}: written')
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from pumba_pipe.training.calibration import SEED, calibrate_file, check_calibration
    from pumba_pipe.training.calibration_scores import planned_images

    if options.seed is not None and options.seed < 0:
        raise InputError(f'--seed {options.seed}: must be zero or more')
    with ProgressBar(len(planned_images(options.heads)), 'image', options.quiet) as bar:
        asked = {
            'device': options.device,
            'threads': options.threads,
            'progress': lambda done, total: _advance(bar, options.quiet),
        }
        if options.check:
            lines = check_calibration(options.weights, options.heads, options.seed, **asked)
            bar.say('\n'.join(lines))
            return 0
        seed = SEED if options.seed is None else options.seed
        digest = calibrate_file(options.weights, options.heads, seed, **asked)
    return _written(options, digest, options.weights)


def _advance(bar: ProgressBar, quiet: bool) -> None:
    """Count an image; a log, which has no bar, gets a line now and then."""
    bar.advance()
    if not (quiet or bar.shown) and (bar.finished % 20 == 0 or bar.finished == bar.total):
        bar.say(f'{NAME}: {bar.finished} of {bar.total} images', sys.stderr)


def _average(options: argparse.Namespace) -> int:
    from pumba_pipe.network.averaging import average_weights

    digest = average_weights(options.first, options.second, options.out, options.share)
    return _written(options, digest)


def _export(options: argparse.Namespace) -> int:
    if options.format == 'monai':
        from pumba_pipe.export.monai_bundle import export_monai as export
    else:
        from pumba_pipe.export.onnx_files import export_onnx as export
    exported = export(options.weights, options.folder)
    if not options.quiet:
        tell(exported.in_words())
        names = ', '.join(str(path.relative_to(options.folder)) for path in exported.files)
        tell(f'{options.folder}: written, {names}')
    return 0


def _written(options: argparse.Namespace, digest: str, path: Path | None = None) -> int:
    if not options.quiet:
        tell(f'{path or options.out}: written, sha256 {digest[:16]}…')
    return 0


if __name__ == '__main__':
    sys.exit(main())
