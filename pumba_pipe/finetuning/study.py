"""What a few labelled cases are worth: fine-tuned and trained from scratch, on other subjects.

``python -m pumba_pipe.finetuning.study DIR OUT --group 'monkey and ape' --counts 1 2 4`` divides
the subjects of a group in two halves, trains on one to four cases of each half, and scores all
cases of the other. ``--help`` lists the options. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.cli import guarded, positive_int
from pumba_pipe.common.errors import InputError
from pumba_pipe.training.run import FINETUNE_RATE

if TYPE_CHECKING:
    from pumba_pipe.evaluation.cases import Case
    from pumba_pipe.evaluation.metrics import CaseScore

SCRATCH_RATE = 1e-3
INITIAL, TUNED, HALFWAY, SCRATCH = 'initial', 'fine-tuned', 'half-way', 'from scratch'
CASE_COLUMNS = ('weights', 'labelled', 'half', 'case', 'dice', 'hd95_mm')
COLUMNS = ('weights', 'labelled', 'n', 'median_dice', 'min_dice', 'median_hd95_mm')


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        'pumba_pipe.finetuning.study',
        description='Fine-tune on a few labelled cases of a group and score the other subjects.',
        epilog='OUT receives study.tsv (the table that is printed), cases.tsv, and the runs.',
    )
    parser.add_argument('folder', type=Path, metavar='DIR', help='cases, as of pumba-evaluate')
    parser.add_argument('out', type=Path, metavar='OUT')
    parser.add_argument('--group', help='human, monkey and ape, rodent or other; default: all')
    parser.add_argument('--cases', nargs='+', metavar='CASE', help='only these')
    parser.add_argument('--counts', type=positive_int, nargs='+', default=[1, 2, 4], metavar='K')
    parser.add_argument('--halves', type=int, choices=(1, 2), default=2, help='how many are run')
    parser.add_argument('--init', default='default', metavar='WEIGHTS')
    parser.add_argument('--steps', type=positive_int, default=200, help='of each training')
    parser.add_argument('--synthetic-share', type=float, default=0.5, metavar='S')
    parser.add_argument('--hold-out', type=float, default=0.0, metavar='S')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--cache-size', type=positive_int, default=40, metavar='N')
    parser.add_argument('--threads', type=positive_int, metavar='N')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command described at the top of this file."""
    args = build_parser().parse_args(argv)
    return guarded('pumba_pipe.finetuning.study', lambda: study(args))


def study(args: argparse.Namespace) -> int:
    """Train and score everything, and write the tables."""
    from pumba_pipe.commands.train import initial_weights
    from pumba_pipe.evaluation.cases import chosen_cases
    from pumba_pipe.evaluation.metrics import as_text, species_group, write_table
    from pumba_pipe.finetuning.labelled import labelled_cases

    cases = labelled_cases(args.folder)
    if args.cases:
        cases = chosen_cases(cases, args.cases)
    if args.group:
        cases = [case for case in cases if species_group(case.species) == args.group]
    initial = initial_weights(args.init)
    assert initial is not None
    rows: list[tuple[str, ...]] = []
    for half, (pool, rest) in zip(range(args.halves), halves(cases), strict=False):
        print(f'half {half}, scored: {", ".join(case.name for case in rest)}', flush=True)
        rows += _scored(initial, rest, (INITIAL, '0', str(half)), args.threads)
        for count in args.counts:
            chosen = drawn(pool, count)
            print(f'half {half}, labelled: {", ".join(case.name for case in chosen)}', flush=True)
            for way, weights in _trained(chosen, half, initial, args):
                rows += _scored(weights, rest, (way, str(count), str(half)), args.threads)
            # Written as it grows: what was scored is not lost with the rest.
            write_table(args.out / 'cases.tsv', CASE_COLUMNS, rows)
            write_table(args.out / 'study.tsv', COLUMNS, summary(rows))
    print('\n' + as_text(COLUMNS, summary(rows)))
    return 0


def halves(cases: Sequence[Case]) -> Iterator[tuple[list[Case], list[Case]]]:
    """Divide cases in two by their subjects, dealt out in the order of their names.

    Yields
    ------
    labelled, rest : list of Case
        Each half once as the labelled one; no subject is in both.

    Raises
    ------
    InputError
        There are fewer than two subjects.
    """
    from pumba_pipe.finetuning.labelled import subject_of

    subjects = sorted({subject_of(case) for case in cases})
    if len(subjects) < 2:
        raise InputError(
            f'{len(cases)} cases of {len(subjects)} subjects: at least two subjects are needed, '
            'one to learn from and one to score'
        )
    for half in (0, 1):
        ours = set(subjects[half::2])
        yield (
            [case for case in cases if subject_of(case) in ours],
            [case for case in cases if subject_of(case) not in ours],
        )


def drawn(cases: Sequence[Case], count: int) -> list[Case]:
    """Take cases, one of each subject in turn.

    Raises
    ------
    InputError
        There are fewer.
    """
    from pumba_pipe.finetuning.labelled import subject_of

    turns: dict[str, int] = defaultdict(int)
    order = []
    for case in cases:
        subject = subject_of(case)
        order.append((turns[subject], subject, case))
        turns[subject] += 1
    if count > len(order):
        raise InputError(f'{count} labelled cases: a half of the group has {len(order)}')
    return [case for _, _, case in sorted(order, key=lambda item: item[:2])[:count]]


def _trained(
    chosen: Sequence[Case], half: int, initial: Path, args: argparse.Namespace
) -> Iterator[tuple[str, Path]]:
    """Weights made from a few cases, in each way, with equal steps."""
    from pumba_pipe.network.averaging import average_weights

    folder = args.out / f'half-{half}' / f'labelled-{len(chosen)}'
    tuned = _train(folder / 'tuned', chosen, initial, args)
    yield TUNED, tuned
    halfway = folder / 'halfway.safetensors'
    average_weights(initial, tuned, halfway, 0.5)
    yield HALFWAY, halfway
    yield SCRATCH, _train(folder / 'scratch', chosen, None, args)


def _train(
    folder: Path, chosen: Sequence[Case], initial: Path | None, args: argparse.Namespace
) -> Path:
    """Fine-tune, or train from random values on the labelled cases alone."""
    from pumba_pipe.finetuning.labelled import read_labelled
    from pumba_pipe.finetuning.views import Adaptation, split
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.training.loop import Hardware
    from pumba_pipe.training.run import WEIGHTS, RunSettings, train_weights

    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    heads, held_out = split(read_labelled(chosen), args.hold_out)
    share = args.synthetic_share if initial else 0.0
    return train_weights(
        folder,
        load_recipe('default'),
        RunSettings(
            steps=args.steps,
            optimizer='adamw',
            learning_rate=FINETUNE_RATE if initial else SCRATCH_RATE,
            seed=args.seed,
            cache_size=args.cache_size,
        ),
        hardware=Hardware(threads=args.threads),
        init=initial,
        resume=True,
        cache_dir=args.out / 'head-cache',
        quiet=True,
        adaptation=Adaptation(heads, held_out, share),
    )


def _scored(
    weights: Path, cases: Sequence[Case], head: tuple[str, str, str], threads: int | None
) -> list[tuple[str, ...]]:
    """Rows of ``cases.tsv``; a case in which nothing was found has a Dice of zero."""
    from pumba_pipe.evaluation.scoring import in_words, make_stripper, score_cases

    def done(score: CaseScore) -> None:
        print(f'  {head[0]}, {head[1]} labelled: {in_words(score)}', flush=True)

    scored = score_cases(cases, make_stripper(weights, 'auto', threads), done=done)
    rows: list[tuple[str, ...]] = []
    for one in scored:
        overlap = one.score.overlap
        numbers = (f'{overlap.dice:.4f}', f'{overlap.hd95_mm:.3f}') if overlap else ('0', 'n/a')
        rows.append((*head, one.score.case, *numbers))
    return rows


def summary(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows of ``study.tsv``: of each kind of weights, over the cases of both halves."""
    kinds: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
    for row in rows:
        kinds[row[0], row[1]].append(row)
    order = (INITIAL, TUNED, HALFWAY, SCRATCH)
    table: list[tuple[str, ...]] = []
    for way, count in sorted(kinds, key=lambda kind: (int(kind[1]), order.index(kind[0]))):
        part = kinds[way, count]
        dice = [float(row[4]) for row in part]
        hd95 = [float(row[5]) for row in part if row[5] != 'n/a']
        table.append(
            (
                *(way, count, str(len(part))),
                *(f'{statistics.median(dice):.3f}', f'{min(dice):.3f}'),
                f'{statistics.median(hd95):.1f}' if hd95 else 'n/a',
            )
        )
    return table


if __name__ == '__main__':
    sys.exit(main())
