"""``pumba-train``: train weights on synthetic heads, and adapt them to labelled images."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import check_memory_for_torch
from pumba_pipe.common.shared_options import (
    add_gpu,
    add_threads,
    add_version,
    complete,
    minutes,
    positive_float,
    positive_int,
)
from pumba_pipe.common.standard_streams import remarks_of, tell
from pumba_pipe.finetuning.settings import (
    FINETUNING,
    HELD_OUT_SHARE,
    SYNTHETIC_SHARE,
    finetuning_settings,
)
from pumba_pipe.training.settings import (
    DEFAULT_RECIPE,
    SIZES,
    Hardware,
    TrainingRunSettings,
    check_constraints,
)

if TYPE_CHECKING:
    from pumba_pipe.finetuning.adaptation import Adaptation

MIN_ALLOWED_WORKERS = 64  # processes that make heads, also where there are fewer CPUs
NAME = 'pumba-train'
EPILOG = """
The coarse stage sees whole heads, the fine stage boxes around brains; the fine one starts from the
coarse one. A killed run goes on with --resume.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

examples:
  pumba-train runs/first --time-limit 8h
  pumba-train runs/first --time-limit 8h --resume
  pumba-train runs/mine --finetune cases --init default
"""
DEFAULTS, MACHINE = TrainingRunSettings(), Hardware()


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Train weights on heads made of random shapes. OUT receives '
        'weights.safetensors, its model card, checkpoints and TensorBoard logs.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the run')
    parser.add_argument(
        '--recipe',
        default=DEFAULT_RECIPE,
        help='default, easy, clear, paper, or a TOML file (default: %(default)s)',
    )
    parser.add_argument('--stage', choices=('both', 'coarse', 'fine'), default=DEFAULTS.stage)
    parser.add_argument(
        '--steps',
        type=positive_int,
        help=f'both stages together (default: {DEFAULTS.steps}, with --finetune '
        f'{FINETUNING.steps})',
    )
    parser.add_argument(
        '--time-limit',
        type=minutes,
        metavar='T',
        help='90m or 1.5h, both stages together; a bare number is in minutes',
    )
    parser.add_argument(
        '--batch',
        type=positive_int,
        default=DEFAULTS.batch,
        help='samples a step and process (default: %(default)s)',
    )
    parser.add_argument(
        '--optimizer',
        choices=('muon', 'adamw'),
        help=f'default: {DEFAULTS.optimizer}, with --finetune {FINETUNING.optimizer}',
    )
    parser.add_argument(
        '--learning-rate',
        type=positive_float,
        help=f'at its peak (default: {DEFAULTS.learning_rate:g}, with --finetune and --init '
        f'{FINETUNING.learning_rate:g})',
    )
    parser.add_argument('--seed', type=int, default=DEFAULTS.seed, help='zero or more')
    parser.add_argument(
        '--init', metavar='WEIGHTS', help='weights to start from; default: the shipped ones'
    )
    parser.add_argument('--resume', action='store_true', help='go on with the run in OUT')
    parser.add_argument(
        '--checkpoint-minutes',
        type=positive_float,
        default=DEFAULTS.checkpoint_minutes,
        metavar='M',
        help='time between checkpoints (default: %(default)g)',
    )
    parser.add_argument(
        '--no-calibration',
        action='store_true',
        help='do not learn at the end, from made heads, which Dice to expect of a mask; '
        'pumba-weights calibrate does so later',
    )
    parser.add_argument(
        '--snapshots', action='store_true', help='keep the weights of every checkpoint'
    )
    _add_teachers(parser)
    _add_finetuning(parser)
    sizes = parser.add_argument_group('sizes')
    for stage, size in SIZES.items():
        sizes.add_argument(
            f'--{stage}-size',
            type=positive_int,
            metavar='N',
            help=f'default: as in the weights of --init, or else {size}',
        )
    sizes.add_argument(
        '--widths',
        type=positive_int,
        nargs='+',
        default=list(DEFAULTS.widths),
        metavar='C',
        help=f'channels at each level (default: {" ".join(map(str, DEFAULTS.widths))})',
    )
    sizes.add_argument(
        '--fine-use-size',
        type=positive_int,
        metavar='N',
        help='side of the cube in which the fine network will be used (default: as in training; '
        'the shipped weights were trained at 96 and are used at 128)',
    )
    _add_constraints(parser)
    machine = parser.add_argument_group('machine')
    machine.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda', 'mps'), default=MACHINE.accelerator
    )
    add_gpu(machine)
    machine.add_argument(
        '--devices', type=positive_int, default=MACHINE.devices, help='processes or GPUs a node'
    )
    machine.add_argument('--nodes', type=positive_int, default=MACHINE.nodes)
    machine.add_argument(
        '--precision',
        choices=('auto', 'bf16-mixed', '32-true'),
        default=MACHINE.precision,
        help='auto: bf16-mixed where the device has bfloat16',
    )
    add_threads(machine)
    machine.add_argument('--compile', action='store_true', help='torch.compile the network')
    cache = parser.add_argument_group('head cache: heads made ahead on the CPU')
    cache.add_argument(
        '--cache-dir', type=Path, metavar='DIR', help='shared by runs (default: OUT/head-cache)'
    )
    cache.add_argument(
        '--cache-size',
        type=positive_int,
        default=DEFAULTS.cache_size,
        metavar='N',
        help='how many (default: %(default)s)',
    )
    cache.add_argument(
        '--cache-workers',
        type=_cache_workers,
        metavar='N',
        help='processes that make them (default: one for training on a CPU, none for a GPU: '
        'there every sample is of a head of its own)',
    )
    _add_former_spellings(cache)
    parser.add_argument('-q', '--quiet', action='store_true', help='no progress bar')
    return parser


def _add_former_spellings(group: argparse._ArgumentGroup) -> None:
    """Accept the options of earlier versions; help does not list them."""
    for former, name, kind in (
        ('--pool', 'cache_dir', Path),
        ('--pool-size', 'cache_size', positive_int),
        ('--generators', 'cache_workers', positive_int),
    ):
        group.add_argument(
            former, dest=name, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def _add_teachers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('learning from trained networks')
    group.add_argument(
        '--teachers', type=Path, nargs='+', default=[], metavar='WEIGHTS',
        help='their mean prediction is part of the target',
    )  # fmt: skip
    group.add_argument(
        '--teacher-share', type=float, default=DEFAULTS.teacher_share, metavar='S',
        help='of it in the target, the rest is the true label (default: %(default)g)',
    )  # fmt: skip


def _add_constraints(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('what is asked beside the labels')
    group.add_argument(
        '--consistency', type=float, default=DEFAULTS.consistency, metavar='W',
        help='weight of the disagreement between two images of each head (default: %(default)g, '
        'one image of each head)',
    )  # fmt: skip
    group.add_argument(
        '--renderings', type=positive_int, default=DEFAULTS.renderings, metavar='K',
        help='with --consistency: images drawn of each head, of which the first and the one the '
        'network does worst on are kept (default: %(default)s)',
    )  # fmt: skip
    group.add_argument(
        '--plausible-shape', type=float, default=DEFAULTS.plausible_shape, metavar='W',
        help='weight of what is predicted off the largest piece, or left out within it '
        '(default: %(default)g)',
    )  # fmt: skip
    group.add_argument(
        '--only-intracranial', action='store_true',
        help='learn the intracranial space alone: masks of the brain stay those of --init',
    )  # fmt: skip


def _add_finetuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'fine-tuning on labelled images of your own',
        'The weights are marked as made with real images.',
    )
    group.add_argument(
        '--finetune', type=Path, metavar='DIR', help='of <case>/image.nii.gz and mask.nii.gz'
    )
    group.add_argument(
        '--bids', type=Path, metavar='RAW', help='DIR is a BIDS derivative, RAW its images'
    )
    group.add_argument('--cases', nargs='+', metavar='CASE', help='only these cases')
    group.add_argument(
        '--synthetic-share', type=float, default=SYNTHETIC_SHARE, metavar='S',
        help='share of synthetic heads among the samples; 0: none (default: %(default)g)',
    )  # fmt: skip
    group.add_argument(
        '--hold-out', type=float, default=HELD_OUT_SHARE, metavar='S',
        help='of four or more cases, hold out this share, whole subjects at a time, and keep '
        'the weights that do best on them (default: %(default)g)',
    )  # fmt: skip


def _asks_for_finetuning(args: argparse.Namespace) -> bool:
    shares = (args.synthetic_share, args.hold_out) != (SYNTHETIC_SHARE, HELD_OUT_SHARE)
    return args.bids is not None or bool(args.cases) or shares


def _cache_workers(text: str) -> int:
    workers, most = positive_int(text), max(MIN_ALLOWED_WORKERS, os.cpu_count() or 1)
    if workers > most:
        raise argparse.ArgumentTypeError(f'{text!r} is more than {most} processes')
    return workers


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-train`` and return its exit code."""
    parser = complete(build_parser())
    args = parser.parse_args(argv)
    if args.finetune is None and _asks_for_finetuning(args):
        parser.error('--bids, --cases, --synthetic-share and --hold-out go with --finetune')
    if args.only_intracranial and (args.init is None or args.finetune is not None):
        parser.error('--only-intracranial goes with --init WEIGHTS, and not with --finetune')
    if args.renderings != DEFAULTS.renderings and not args.consistency:
        parser.error('--renderings goes with --consistency')
    try:
        check_constraints(args.consistency, args.renderings, args.plausible_shape)
    except InputError as error:
        parser.error(str(error))
    return guarded(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Train the stages that were asked for and export the weights."""
    check_memory_for_torch()
    from pumba_pipe.common.files import check_outputs
    from pumba_pipe.network.weights import initial_weights
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.training.run import WEIGHTS, train_weights

    initial, recipe = initial_weights(args.init), load_recipe(args.recipe)
    finetuning = _adaptation(args) if args.finetune is not None else None
    check_outputs([args.out / WEIGHTS], [initial, Path(args.recipe), *args.teachers])
    train_weights(
        args.out,
        recipe,
        _settings(args),
        hardware=_hardware(args),
        init=initial,
        resume=args.resume,
        cache_dir=args.cache_dir,
        quiet=args.quiet,
        finetuning=finetuning,
        teachers=args.teachers,
        written=lambda path, sha256: _finish(path, sha256, args),
    )
    return 0


def _finish(path: Path, sha256: str, args: argparse.Namespace) -> None:
    """Calibrate the weights, unless that is not wanted, and say where they are."""
    if not args.no_calibration:
        from pumba_pipe.training.calibration import calibrate_trained

        sha256 = calibrate_trained(
            path,
            sha256,
            lambda line: tell(f'{NAME}: warning: {line}', sys.stderr),
            seed=args.seed,
            device='cpu' if args.device == 'cpu' else 'auto',
            threads=args.threads,
        )
    tell(f'{path}: written, sha256 {sha256[:16]}…')


def _settings(args: argparse.Namespace) -> TrainingRunSettings:
    """Settings of the options; those left open depend on what is trained on."""
    settings = DEFAULTS
    if args.finetune is not None:
        settings = finetuning_settings(from_weights=args.init is not None)
    return replace(
        settings,
        stage=args.stage,
        steps=args.steps or settings.steps,
        minutes=args.time_limit,
        batch=args.batch,
        optimizer=args.optimizer or settings.optimizer,
        learning_rate=args.learning_rate or settings.learning_rate,
        seed=args.seed,
        coarse_size=args.coarse_size,
        fine_size=args.fine_size,
        widths=tuple(args.widths),
        teacher_share=args.teacher_share,
        consistency=args.consistency,
        renderings=args.renderings,
        plausible_shape=args.plausible_shape,
        only_intracranial=args.only_intracranial,
        fine_use_size=args.fine_use_size,
        checkpoint_minutes=args.checkpoint_minutes,
        snapshots=args.snapshots,
        cache_size=args.cache_size,
        cache_workers=args.cache_workers,
    )


def _hardware(args: argparse.Namespace) -> Hardware:
    return Hardware(
        accelerator='gpu' if args.device == 'cuda' else args.device,
        devices=args.devices,
        nodes=args.nodes,
        precision=args.precision,
        threads=args.threads,
        compiled=args.compile,
    )


def _adaptation(args: argparse.Namespace) -> Adaptation:
    """Read the labelled cases, and say how they are used."""
    from pumba_pipe.evaluation.cases import chosen_cases
    from pumba_pipe.finetuning.adaptation import Adaptation, split
    from pumba_pipe.finetuning.labelled import labelled_cases, read_labelled

    cases = labelled_cases(args.finetune, args.bids, remarks_of(NAME))
    if args.cases:
        cases = chosen_cases(cases, args.cases)
    heads, held_out = split(read_labelled(cases), args.hold_out)
    if not args.quiet:
        tell(f'labelled cases: {len(heads)} to train on, {len(held_out)} held out')
    return Adaptation(heads, held_out, args.synthetic_share)


if __name__ == '__main__':
    sys.exit(main())
