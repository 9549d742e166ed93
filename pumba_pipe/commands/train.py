"""``pumba-train``: train weights on synthetic heads."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.commands.common import add_version, guarded, positive_float, positive_int
from pumba_pipe.training_run import SIZES, WIDTHS

NAME = 'pumba-train'


def duration(text: str) -> float:
    """Parse ``90``, ``90m`` or ``1.5h`` into minutes."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?)([mh]?)', text)
    if match is None or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not a time such as 90m or 1.5h')
    return float(match[1]) * (60 if match[2] == 'h' else 1)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        NAME,
        description='Train weights on heads made of random shapes. OUT receives '
        'weights.safetensors, its model card, checkpoints and TensorBoard logs.',
        epilog='The coarse stage sees whole heads, the fine stage boxes around brains; the fine '
        'one starts from the coarse one. A killed run goes on with --resume.',
    )
    add_version(parser)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the run')
    parser.add_argument(
        '--recipe', default='default', help='default, paper, or a TOML file (default: default)'
    )
    parser.add_argument('--stage', choices=('both', 'coarse', 'fine'), default='both')
    parser.add_argument('--steps', type=positive_int, default=20_000, help='both stages together')
    parser.add_argument(
        '--time-limit', type=duration, metavar='T', help='90m or 1.5h, both stages together'
    )
    parser.add_argument('--batch', type=positive_int, default=2, help='samples a step and process')
    parser.add_argument(
        '--optimizer', choices=('muon', 'adamw'), default='muon', help='(default: %(default)s)'
    )
    parser.add_argument('--learning-rate', type=positive_float, default=1e-3)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--init', type=Path, metavar='WEIGHTS', help='weights to start from')
    parser.add_argument('--resume', action='store_true', help='go on with the run in OUT')
    parser.add_argument('--checkpoint-minutes', type=positive_float, default=2.0, metavar='M')
    parser.add_argument(
        '--snapshots', action='store_true', help='keep the weights of every checkpoint'
    )
    sizes = parser.add_argument_group('sizes')
    sizes.add_argument('--coarse-size', type=positive_int, default=SIZES['coarse'], metavar='N')
    sizes.add_argument('--fine-size', type=positive_int, default=SIZES['fine'], metavar='N')
    sizes.add_argument(
        '--widths',
        type=positive_int,
        nargs='+',
        default=list(WIDTHS),
        metavar='C',
        help='channels at each level (default: 16 32 64 128)',
    )
    machine = parser.add_argument_group('machine')
    machine.add_argument('--device', choices=('auto', 'cpu', 'cuda', 'mps'), default='auto')
    machine.add_argument(
        '--devices', type=positive_int, default=1, help='processes or GPUs a node'
    )
    machine.add_argument('--nodes', type=positive_int, default=1)
    machine.add_argument('--precision', choices=('bf16-mixed', '32-true'), default='bf16-mixed')
    machine.add_argument('--threads', type=positive_int, help='CPU threads of training')
    machine.add_argument('--compile', action='store_true', help='torch.compile the network')
    pool = parser.add_argument_group('pool of heads (training on a CPU)')
    pool.add_argument(
        '--pool', type=Path, metavar='DIR', help='shared by runs (default: OUT/pool)'
    )
    pool.add_argument('--pool-size', type=positive_int, default=2000, metavar='N')
    pool.add_argument('--generators', type=positive_int, default=1, metavar='N')
    parser.add_argument('-q', '--quiet', action='store_true', help='no progress bar')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-train`` and return its exit code."""
    args = build_parser().parse_args(argv)
    return guarded(NAME, lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Train the stages that were asked for and export the weights."""
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.training import Hardware
    from pumba_pipe.training_run import RunSettings, train_weights

    settings = RunSettings(
        stage=args.stage,
        steps=args.steps,
        minutes=args.time_limit,
        batch=args.batch,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        seed=args.seed,
        coarse_size=args.coarse_size,
        fine_size=args.fine_size,
        widths=tuple(args.widths),
        checkpoint_minutes=args.checkpoint_minutes,
        snapshots=args.snapshots,
        pool_size=args.pool_size,
        generators=args.generators,
    )
    hardware = Hardware(
        accelerator='gpu' if args.device == 'cuda' else args.device,
        devices=args.devices,
        nodes=args.nodes,
        precision=args.precision,
        threads=args.threads,
        compiled=args.compile,
    )
    train_weights(
        args.out,
        load_recipe(args.recipe),
        settings,
        hardware=hardware,
        init=args.init,
        resume=args.resume,
        pool_parent=args.pool,
        quiet=args.quiet,
        written=lambda path, sha256: print(f'{path}: written, sha256 {sha256[:16]}…'),
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
