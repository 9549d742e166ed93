"""Accuracy over samples seen: the snapshots of a training run on cases with reference masks.

``python -m pumba_pipe.evaluation.learning_curve STAGE CASES OUT.tsv [CASE ...]``: STAGE is the folder of one
stage of a run of ``pumba-train --snapshots``, CASES is what ``pumba-evaluate`` reads; CASE limits
it to some of them. A row of OUT.tsv is a snapshot: samples seen, minutes of training, and for
every group of species the cases, their median Dice and the lowest. A case without an answer
counts as zero.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from pumba_pipe.common.errors import InputError
from pumba_pipe.evaluation.cases import Case, chosen_cases, find_cases
from pumba_pipe.evaluation.metrics import GROUPS, as_text, species_group, write_table
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
        Rows of `COLUMNS`, in the order of samples seen.

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
    seen = stages.get(snapshot.parent.name) or list(stages.values())[-1]  # the one that learned
    dice: dict[str, list[float]] = {group: [] for group in (EVERYTHING, *GROUPS)}
    for one in score_cases(cases, make_stripper(snapshot)):
        value = one.score.overlap.dice if one.score.overlap else 0.0
        dice[EVERYTHING].append(value)
        dice.setdefault(species_group(one.score.species), []).append(value)
    when = (str(seen['samples']), f'{seen["seconds"] / 60:.1f}')
    return [
        (*when, group, str(len(values)), f'{statistics.median(values):.4f}', f'{min(values):.4f}')
        for group, values in dice.items()
        if values
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command described at the top of this file."""
    from pumba_pipe.common.cli import guarded

    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) < 3:
        print(
            'usage: python -m pumba_pipe.evaluation.learning_curve STAGE CASES OUT.tsv [CASE ...]',
            file=sys.stderr,
        )
        return 2

    def body() -> int:
        cases = find_cases(Path(words[1]))
        if words[3:]:
            cases = chosen_cases(cases, words[3:])
        rows = curve(Path(words[0]), [case for case in cases if case.mask is not None])
        write_table(Path(words[2]), COLUMNS, rows)
        print(as_text(COLUMNS, rows))
        return 0

    return guarded('pumba_pipe.evaluation.learning_curve', body)


if __name__ == '__main__':
    sys.exit(main())
