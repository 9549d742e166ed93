"""What a few labelled cases are worth: fine-tuned and trained from scratch, on other subjects.

The subjects are divided in two halves. Networks are trained on a few cases of one half, and scored
on all cases of the other. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import MISSING, format_number, write_table
from pumba_pipe.finetuning.settings import SYNTHETIC_SHARE, finetuning_settings
from pumba_pipe.training.settings import DEFAULT_RECIPE, Hardware, TrainingRunSettings

if TYPE_CHECKING:
    from pumba_pipe.evaluation.cases import Case
    from pumba_pipe.evaluation.metrics import CaseScore

INITIAL, TUNED, HALFWAY, SCRATCH = 'initial', 'fine-tuned', 'half-way', 'from scratch'
TABLES = CASE_TABLE, TABLE = 'cases.tsv', 'study.tsv'
CASE_COLUMNS = ('weights', 'labelled', 'half', 'case', 'dice', 'hd95_mm')
COLUMNS = ('weights', 'labelled', 'n', 'median_dice', 'min_dice', 'median_hd95_mm')


@dataclass(frozen=True)
class StudySettings:
    """What is trained, and how much.

    Attributes
    ----------
    counts : tuple of int
        Numbers of labelled cases to train on.
    halves : int
        1: train on one half of the subjects; 2: on the other half, too.
    steps : int
        Of each training.
    synthetic_share : float
        Share of synthetic heads among the samples of fine-tuning, 0 to 1.
    hold_out : float
        Share of the labelled cases that is kept to choose between checkpoints, 0 to 1.
    seed : int
    cache_size : int
        Synthetic heads that are made ahead.
    threads : int or None
        CPU threads.
    """

    counts: tuple[int, ...] = (1, 2, 4)
    halves: int = 2
    steps: int = 200
    synthetic_share: float = SYNTHETIC_SHARE
    hold_out: float = 0.0
    seed: int = TrainingRunSettings.seed
    cache_size: int = 40
    threads: int | None = None


def run_study(
    cases: Sequence[Case],
    initial: Path,
    out: Path,
    settings: StudySettings | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[tuple[str, ...]]:
    """Train and score everything.

    Parameters
    ----------
    cases : sequence of Case
        With reference masks.
    initial : Path
        Weights that are scored as they are, and fine-tuned.
    out : Path
        Receives ``study.tsv``, ``cases.tsv`` and the runs.
    settings : StudySettings, optional
    report : callable
        Called with a line on each step.

    Returns
    -------
    list of tuple of str
        Rows of ``study.tsv``, in the order of `COLUMNS`.

    Raises
    ------
    InputError
        There are too few subjects or cases.
    """
    settings = settings or StudySettings()
    rows: list[tuple[str, ...]] = []
    for half, (labelled, rest) in zip(range(settings.halves), halves(cases), strict=False):
        score = partial(_scored, cases=rest, threads=settings.threads, report=report)
        report(f'half {half}, scored: {", ".join(case.name for case in rest)}')
        rows += score(initial, (INITIAL, '0', str(half)))
        for count in settings.counts:
            chosen = drawn(labelled, count)
            report(f'half {half}, labelled: {", ".join(case.name for case in chosen)}')
            for way, weights in _trained(chosen, half, initial, out, settings):
                rows += score(weights, (way, str(count), str(half)))
            # Written as it grows: what was scored is not lost with the rest.
            write_table(out / CASE_TABLE, CASE_COLUMNS, rows)
            write_table(out / TABLE, COLUMNS, summary(rows))
    return summary(rows)


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
    chosen: Sequence[Case], half: int, initial: Path, out: Path, settings: StudySettings
) -> Iterator[tuple[str, Path]]:
    """Weights made from a few cases, in each way, with equal steps."""
    from pumba_pipe.network.averaging import average_weights

    folder = out / f'half-{half}' / f'labelled-{len(chosen)}'
    train = partial(_train, chosen=chosen, cache_dir=out / 'head-cache', settings=settings)
    tuned = train(folder / 'tuned', initial=initial)
    yield TUNED, tuned
    halfway = folder / 'halfway.safetensors'
    average_weights(initial, tuned, halfway, 0.5)
    yield HALFWAY, halfway
    yield SCRATCH, train(folder / 'scratch', initial=None)


def _train(
    folder: Path,
    chosen: Sequence[Case],
    initial: Path | None,
    cache_dir: Path,
    settings: StudySettings,
) -> Path:
    """Fine-tune, or train from random values on the labelled cases alone."""
    from pumba_pipe.finetuning.adaptation import Adaptation, split
    from pumba_pipe.finetuning.labelled import read_labelled
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.training.run import WEIGHTS, train_weights

    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    heads, held_out = split(read_labelled(chosen), settings.hold_out)
    share = settings.synthetic_share if initial else 0.0
    return train_weights(
        folder,
        load_recipe(DEFAULT_RECIPE),
        replace(
            finetuning_settings(from_weights=initial is not None),
            steps=settings.steps,
            seed=settings.seed,
            cache_size=settings.cache_size,
        ),
        hardware=Hardware(threads=settings.threads),
        init=initial,
        resume=True,
        cache_dir=cache_dir,
        quiet=True,
        finetuning=Adaptation(heads, held_out, share),
    )


def _scored(
    weights: Path,
    head: tuple[str, str, str],
    cases: Sequence[Case],
    threads: int | None,
    report: Callable[[str], None],
) -> list[tuple[str, ...]]:
    """Rows of ``cases.tsv``; a case in which nothing was found has a Dice of zero."""
    from pumba_pipe.evaluation.scoring import in_words, make_stripper, score_cases

    def done(score: CaseScore) -> None:
        report(f'  {head[0]}, {head[1]} labelled: {in_words(score)}')

    scored = score_cases(cases, make_stripper(weights, 'auto', threads), done=done)
    rows: list[tuple[str, ...]] = []
    for one in scored:
        overlap = one.score.overlap
        dice = f'{overlap.dice:.4f}' if overlap else '0'
        hd95 = format_number(overlap.hd95_mm, 3) if overlap else MISSING
        rows.append((*head, one.score.case, dice, hd95))
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
        hd95 = [float(row[5]) for row in part if row[5] != MISSING]
        table.append(
            (
                *(way, count, str(len(part))),
                *(f'{statistics.median(dice):.3f}', f'{min(dice):.3f}'),
                f'{statistics.median(hd95):.1f}' if hd95 else MISSING,
            )
        )
    return table
