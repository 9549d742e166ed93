"""Accuracy over samples seen: the snapshots of a training run on cases with reference masks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.errors import InputError
from pumba_pipe.evaluation.cases import Case
from pumba_pipe.evaluation.metrics import GROUPS, species_group
from pumba_pipe.evaluation.scoring import make_stripper, score_cases

COLUMNS = ('samples', 'minutes', 'group', 'n', 'median_dice', 'min_dice')
EVERYTHING = 'all'


def curve(stage: Path, cases: Sequence[Case]) -> list[tuple[str, ...]]:
    """Score every snapshot of a stage.

    Parameters
    ----------
    stage : Path
        Folder with ``weights-<samples>.safetensors``.
    cases : sequence of Case
        With reference masks.

    Returns
    -------
    list of tuple of str
        Rows of `COLUMNS`, in the order of samples seen: one for each snapshot and group of
        species. A case in which no brain was found counts as zero.

    Raises
    ------
    InputError
        There are no snapshots.
    WeightsError
    """
    snapshots = sorted(stage.glob('weights-*.safetensors'))
    if not snapshots:
        raise InputError(f'{stage}: no snapshots here; train with --snapshots')
    return [row for snapshot in snapshots for row in _rows(snapshot, cases)]


def _rows(snapshot: Path, cases: Sequence[Case]) -> list[tuple[str, ...]]:
    from pumba_pipe.network.weights import load_weights

    stages = load_weights(snapshot).card['stages']
    try:
        seen = (
            stages.get(snapshot.parent.name) or list(stages.values())[-1]
        )  # the one that learned
        when = (str(seen['samples']), f'{seen["seconds"] / 60:.1f}')
    except (LookupError, TypeError):
        raise InputError(f'{snapshot}: its card does not say how long it was trained') from None
    dice: dict[str, list[float]] = {group: [] for group in (EVERYTHING, *GROUPS)}
    for one in score_cases(cases, make_stripper(snapshot)):
        value = one.score.overlap.dice if one.score.overlap else 0.0
        dice[EVERYTHING].append(value)
        dice.setdefault(species_group(one.score.species), []).append(value)
    return [
        (*when, group, str(len(values)), f'{statistics.median(values):.4f}', f'{min(values):.4f}')
        for group, values in dice.items()
        if values
    ]
