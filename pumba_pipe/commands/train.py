"""``pumba-train``: train weights on synthetic heads."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.commands.common import add_version, guarded, positive_float, positive_int

if TYPE_CHECKING:
    from pumba_pipe.training import TrainingConfig
    from pumba_pipe.weights import Model, Stage

NAME = 'pumba-train'
SIZES = {'coarse': 64, 'fine': 96}
BOX_SHARES = {'coarse': 0.3, 'fine': 1.0}
EFFORT = {'coarse': 0.4, 'fine': 0.6}  # share of steps and time when both are trained


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
    parser.add_argument('--learning-rate', type=positive_float, default=1e-3)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--init', type=Path, metavar='WEIGHTS', help='weights to start from')
    parser.add_argument('--resume', action='store_true', help='go on with the run in OUT')
    parser.add_argument('--checkpoint-minutes', type=positive_float, default=2.0, metavar='M')
    sizes = parser.add_argument_group('sizes')
    sizes.add_argument('--coarse-size', type=positive_int, default=SIZES['coarse'], metavar='N')
    sizes.add_argument('--fine-size', type=positive_int, default=SIZES['fine'], metavar='N')
    sizes.add_argument(
        '--widths',
        type=positive_int,
        nargs='+',
        default=[16, 32, 64, 128],
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
    from pumba_pipe.model_card import training_card
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.weights import STAGES, Stage, load_weights, save_weights

    recipe = load_recipe(args.recipe)
    start = load_weights(args.init) if args.init else None
    stages, history = _kept(start)
    wanted = ('coarse', 'fine') if args.stage == 'both' else (args.stage,)
    for name in wanted:
        initial, origin = _initial(name, stages, start, args.init)
        result = _train(args, recipe, name, initial)
        size = args.coarse_size if name == 'coarse' else args.fine_size
        stages[name] = Stage(result.network, size)
        history[name] = _described(result, size, origin)
    if result.rank > 0:
        return 0
    target = args.out / 'weights.safetensors'
    ordered = {name: history[name] for name in STAGES if name in history}
    digest = save_weights(stages, training_card(recipe, args.seed, ordered), target)
    print(f'{target}: written, sha256 {digest[:16]}…')
    return 0


def _kept(start: Model | None) -> tuple[dict[str, Stage], dict[str, Any]]:
    """Stages of the initial weights; those that are not trained stay as they are."""
    if start is None:
        return {}, {}
    history = dict(start.card.get('stages', {}))
    stages = {'coarse': start.coarse, 'fine': start.fine}
    return {name: stages[name] for name in history if name in stages}, history


def _initial(
    name: str, stages: dict[str, Stage], start: Model | None, file: Path | None
) -> tuple[Any, str]:
    """Network a stage starts from, and its origin in words."""
    if name == 'fine' and 'coarse' in stages and (start is None or 'fine' not in stages):
        return stages['coarse'].network, 'coarse stage'
    if name in stages:
        return stages[name].network, f'{name} stage of {file.name if file else "weights"}'
    return None, 'random values'


def _train(args: argparse.Namespace, recipe: Any, name: str, initial: Any) -> Any:
    from pumba_pipe.network import NetworkConfig
    from pumba_pipe.training import Hardware, train

    hardware = Hardware(
        accelerator='gpu' if args.device == 'cuda' else args.device,
        devices=args.devices,
        nodes=args.nodes,
        precision=args.precision,
        threads=args.threads,
        compiled=args.compile,
    )
    return train(
        recipe,
        args.out / name,
        _config(args, name),
        NetworkConfig(tuple(args.widths)),
        hardware=hardware,
        initial=initial,
        resume=args.resume,
        pool_parent=args.pool or args.out / 'pool',
        quiet=args.quiet,
    )


def _config(args: argparse.Namespace, name: str) -> TrainingConfig:
    from pumba_pipe.training import TrainingConfig

    effort = EFFORT[name] if args.stage == 'both' else 1.0
    config = TrainingConfig(
        size=args.coarse_size if name == 'coarse' else args.fine_size,
        box_share=BOX_SHARES[name],
        batch=args.batch,
        steps=max(1, math.floor(args.steps * effort)),
        learning_rate=args.learning_rate,
        checkpoint_minutes=args.checkpoint_minutes,
        seed=args.seed,
        pool=args.pool_size,
        generators=args.generators,
    )
    return replace(config, minutes=args.time_limit * effort if args.time_limit else None)


def _described(result: Any, size: int, origin: str) -> dict[str, Any]:
    """Plain values for the model card."""
    from pumba_pipe.network import parameter_count

    return {
        'size': size,
        'parameters': parameter_count(result.network),
        'steps': result.progress.step,
        'samples': result.progress.samples,
        'seconds': round(result.progress.seconds),
        'hardware': result.hardware,
        'initial': origin,
    }


if __name__ == '__main__':
    sys.exit(main())
