"""What the program said of its masks, beside how good they turned out to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pumba_pipe.common.tables import format_number, parse_number
from pumba_pipe.evaluation.metrics import CaseScore, species_group
from pumba_pipe.network.calibration import GOOD_DICE, POOR_DICE

COLUMNS = (
    *('group', 'n', 'mean_expected_dice', 'mean_dice', 'in_interval'),
    *('flagged', 'poor', 'poor_flagged', 'good', 'good_flagged'),
)


class ExpectedVersusTrue(NamedTuple):
    """One mask: its Dice, and what was expected of it."""

    group: str
    dice: float
    expected: float
    low: float
    high: float
    flagged: bool

    @property
    def held(self) -> bool:
        """Whether the Dice lies in the interval."""
        return self.low <= self.dice <= self.high


def pairs_of_scores(scores: Iterable[CaseScore]) -> list[ExpectedVersusTrue]:
    """Pair the expected with the true Dice of scores in which both are known."""
    return [
        ExpectedVersusTrue(
            species_group(one.species), one.overlap.dice,
            one.expected.dice, one.expected.low, one.expected.high,
            one.expected.flagged == 'yes',
        )
        for one in scores
        if one.overlap is not None and math.isfinite(one.expected.dice)
    ]  # fmt: skip


def pairs_of_rows(rows: Iterable[Mapping[str, str]]) -> list[ExpectedVersusTrue]:
    """Pair them in the rows of ``scores.tsv`` in which both are known."""
    keys = ('dice', 'expected_dice', 'expected_dice_low', 'expected_dice_high')
    pairs = []
    for row in rows:
        numbers = [parse_number(row.get(key)) for key in keys]
        if all(map(math.isfinite, numbers)):
            group, flagged = species_group(row['species']), row.get('flagged') == 'yes'
            dice, expected, low, high = numbers
            pairs.append(ExpectedVersusTrue(group, dice, expected, low, high, flagged))
    return pairs


def expectation_rows(pairs: Sequence[ExpectedVersusTrue]) -> list[tuple[str, ...]]:
    """Rows of ``expected.tsv``: all masks, then each group.

    Returns
    -------
    list of tuple of str
        Columns as in `COLUMNS`: `in_interval` is the share of masks whose Dice lies in the 90 %
        interval; poor masks have a Dice below `POOR_DICE`, good ones of at least `GOOD_DICE`.
    """
    groups: dict[str, list[ExpectedVersusTrue]] = {'all': list(pairs)}
    for one in pairs:
        groups.setdefault(one.group, []).append(one)
    return [_row(name, part) for name, part in groups.items() if part]


def _row(name: str, part: Sequence[ExpectedVersusTrue]) -> tuple[str, ...]:
    poor = [one for one in part if one.dice < POOR_DICE]
    good = [one for one in part if one.dice >= GOOD_DICE]
    count = len(part)
    return (
        name,
        str(count),
        format_number(sum(one.expected for one in part) / count, 3),
        format_number(sum(one.dice for one in part) / count, 3),
        format_number(sum(one.held for one in part) / count, 3),
        *(
            str(number)
            for number in (
                sum(one.flagged for one in part),
                *(len(poor), sum(one.flagged for one in poor)),
                *(len(good), sum(one.flagged for one in good)),
            )
        ),
    )
