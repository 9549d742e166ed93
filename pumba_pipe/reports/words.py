"""What the figures of a quality record mean, for tables and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

PLACES = 3  # of ratios in tables
MARK = 0.02  # width of the mark on the scale


@dataclass(frozen=True)
class QualityMeasure:
    """One entry of a quality record.

    Attributes
    ----------
    key : str
        As in the record.
    label : str
        Its name on a page.
    meaning : str
        A sentence that explains it.
    units : str
        As BIDS wants them; empty for ratios and words.
    worse : str
        Which values are suspicious when they are rare: ``'low'``, ``'high'`` or ``'both'``;
        empty for what is not compared between images.
    tolerance : float
        Differences from the usual value up to this one never matter.
    """

    key: str
    label: str
    meaning: str
    units: str = ''
    worse: str = ''
    tolerance: float = 0.0


MEASURES = (
    QualityMeasure(
        'expected_dice',
        'Expected Dice',
        'Dice with a mask drawn with care that is to be expected, 0..1',
        worse='low',
        tolerance=0.02,
    ),
    QualityMeasure(
        'expected_dice_low', 'Lower end', 'Lower end of the 90 % interval of the Dice, 0..1'
    ),
    QualityMeasure(
        'expected_dice_high', 'Upper end', 'Upper end of the 90 % interval of the Dice, 0..1'
    ),
    QualityMeasure('reasons', 'Because', 'What keeps the expected Dice below that of good masks'),
    QualityMeasure('volume_ml', 'Volume', 'Volume of the mask', 'mL', worse='both'),
    QualityMeasure(
        'intracranial_ml',
        'Intracranial volume',
        'Volume of the brain and all CSF around it, up to the dura',
        'mL',
        worse='both',
    ),
    QualityMeasure(
        'edge_contact',
        'On the edge',
        "Share of the mask's surface on the edge of the field of view, 0..1",
        worse='high',
        tolerance=0.02,
    ),
    QualityMeasure(
        'coarse_fine_dice',
        'Agreement of passes',
        'Dice overlap of the coarse and the fine pass, 0..1',
        worse='low',
        tolerance=0.02,
    ),
    QualityMeasure(
        'tta_dice',
        'Agreement of views',
        'Mean Dice overlap of the predictions for two views, the image and the '
        'mirrored, brightened one, with their mean, 0..1',
        worse='low',
        tolerance=0.01,
    ),
    QualityMeasure(
        'gamma_dice',
        'Agreement of brightened image',
        'Dice overlap of the predictions of the mirrored, brightened image and the image, 0..1',
        worse='low',
        tolerance=0.01,
    ),
    QualityMeasure(
        'boundary_certainty',
        'Certainty',
        'How certain the prediction is near the border, 0..1',
        worse='low',
        tolerance=0.05,
    ),
    QualityMeasure(
        'components',
        'Components',
        'Connected components of the prediction, of which the largest was kept',
        worse='high',
        tolerance=3,
    ),
    QualityMeasure(
        'already_stripped', 'Stripped before', 'Whether the image was skull-stripped before'
    ),
    QualityMeasure(
        'manual',
        'Manual mask',
        'Whether the mask was edited by hand or given with --masks; all figures but the volume '
        "are then those of the network's own mask",
    ),
    QualityMeasure(
        'network_dice',
        'Agreement with the network',
        "Dice overlap of a manual mask with the network's own, 0..1",
    ),
    QualityMeasure(
        'network_flags', 'Flags of the network', "Flags of the network's own mask, in words"
    ),
    QualityMeasure('flags', 'To look at', 'What a person should look at, in words'),
    QualityMeasure(
        'notes', 'Notes', 'What was done to read the image, and if a GPU failed, in words'
    ),
)
COMPARED = tuple(one for one in MEASURES if one.worse)
FORMER = ('confidence',)  # entries of a record that are copies of others, for older readers


OF_THE_MASK = ('volume_ml', 'manual', 'network_dice', 'network_flags', 'flags')


def is_manual(record: Mapping[str, Any]) -> bool:
    """Whether a mask is a manual one; all of its record but `OF_THE_MASK` is the network's."""
    return record.get('manual') is True


class ExpectedInterval(NamedTuple):
    """The Dice that is to be expected of a mask, and the ends of its interval; 0..1.

    Examples
    --------
    >>> str(ExpectedInterval(0.85, 0.43, 0.94)), str(ExpectedInterval(0.85))
    ('expected Dice 0.85 (0.43–0.94)', 'expected Dice 0.85')
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """Say it in words."""
        within = ''
        if self.low is not None and self.high is not None:
            within = f' ({self.low:.2f}–{self.high:.2f})'
        return f'expected Dice {self.value:.2f}{within}'

    @property
    def bars(self) -> list[tuple[float, float]]:
        """Start and width, as shares of the scale: the interval, and a mark at its value."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        value, low, high = (min(max(one, 0.0), 1.0) for one in (self.value, low, high))
        return [(low, max(0.0, high - low)), (max(0.0, value - MARK / 2), MARK)]


def expected_quality(record: Mapping[str, Any]) -> ExpectedInterval | None:
    """How good a mask is expected to be, by its quality record; None where that is unknown.

    Nothing is known of manual masks.

    Examples
    --------
    >>> expected_quality({'expected_dice': 0.9}), expected_quality({'expected_dice': 'high'})
    (ExpectedInterval(value=0.9, low=None, high=None), None)
    """
    keys = ('expected_dice', 'expected_dice_low', 'expected_dice_high')
    value, low, high = (number(record.get(key)) for key in keys)
    return None if value is None or is_manual(record) else ExpectedInterval(value, low, high)


def number(value: Any) -> float | None:
    """Return a finite number as it is, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    return found if math.isfinite(found) else None


def in_words(value: Any, units: str = '', places: int | None = None) -> str:
    """Write a value for people.

    Parameters
    ----------
    value : plain value
    units : str
    places : int, optional
        Decimal places of a ratio; whole numbers and numbers with units do without.

    Examples
    --------
    >>> in_words(1307.22, 'mL'), in_words(0.92, places=3), in_words(True), in_words(['a', 'b'])
    ('1307 mL', '0.920', 'yes', 'a; b')
    """
    if value is None or value in ([], {}, ''):
        return '–'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    found = number(value)
    if found is not None:
        if units:
            return f'{found:.4g} {units}'
        if places is None or isinstance(value, int):
            return str(value)
        return f'{found:.{places}f}'
    if isinstance(value, list | tuple):
        return '; '.join(in_words(item) for item in value)
    if isinstance(value, dict):
        return '; '.join(f'{key}: {in_words(item)}' for key, item in value.items())
    return str(value)


def minutes(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> minutes(7.25), minutes(75), minutes(7300)
    ('7.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f'{seconds:.1f} s'
    if seconds < 3600:
        return f'{seconds // 60:.0f} min {seconds % 60:.0f} s'
    return f'{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min'
