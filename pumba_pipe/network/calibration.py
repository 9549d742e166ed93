"""What a weights file says of how good its masks are: numbers learned from made heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from pumba_pipe.common.documents import brief

Numbers = tuple[float, ...]
AGREEMENTS, LIKENESS = 4, 8  # numbers of `pumba_pipe.extraction.evidence.Evidence`
MAX_KNOTS = 64
LARGEST = 1e6  # of any number: what is learned is far below
# Dice below which a mask should be flagged, and from which on it should not
POOR_DICE, GOOD_DICE = 0.85, 0.93


@dataclass(frozen=True)
class DiceModel:
    """Logit of the Dice from how far predictions agree; a straight line in each agreement.

    Attributes
    ----------
    mean, sd, weight : tuple of 4 floats
        Of the four agreements on the scale of `Evidence.doubts`; weights are not negative.
    bias : float
        Logit of the Dice where all agreements are at their mean.
    least, most : tuple of 4 floats
        Range on made heads; beyond it nothing is learned, and values are cut to it.
    good : tuple of 4 floats
        Medians on made heads with good masks.
    residuals : tuple of 2 floats
        Ends of the interval, in units of the spread; the first is negative.
    spread_at, spread : tuple of float, of one length
        Spread of the logit around its prediction, at predictions that increase.
    flag_below : float
        Expected Dice below which a mask is flagged.
    """

    mean: Numbers
    sd: Numbers
    weight: Numbers
    bias: float
    least: Numbers
    most: Numbers
    good: Numbers
    residuals: Numbers
    spread_at: Numbers
    spread: Numbers
    flag_below: float


@dataclass(frozen=True)
class BrainModel:
    """Whether a mask may show no brain: what is beyond the usual on made heads speaks for it.

    Attributes
    ----------
    low, high : tuple of 8 floats
        Usual range on made heads of each number of `Evidence.likeness`.
    scale : tuple of 8 floats
        Their spread, above zero.
    below, above : tuple of 8 floats
        Weights of what lies below and above that range, in units of the spread; not negative.
    bias : float
        Logit of "no brain" where nothing lies beyond.
    limit : float
        Logit from which on an image is flagged.
    """

    low: Numbers
    high: Numbers
    scale: Numbers
    below: Numbers
    above: Numbers
    bias: float
    limit: float


@dataclass(frozen=True)
class Calibration:
    """How to read what an extraction shows of its own quality, for one file of weights.

    Attributes
    ----------
    dice : DiceModel
    brain : BrainModel
    origin : dict
        What it was learned from, in plain values: seed, recipe, numbers of images.
    """

    dice: DiceModel
    brain: BrainModel
    origin: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded, for the weights file."""
        return {
            'dice': _rounded(asdict(self.dice)),
            'brain': _rounded(asdict(self.brain)),
            'origin': self.origin,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Calibration:
        """Read what `to_dict` returned, and check it: a weights file may come from anywhere.

        Raises
        ------
        ValueError
            It has another form.
        """
        unknown = set(content) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f'calibration: {brief(min(unknown))} is unknown')
        dice = DiceModel(**_read(content, 'dice', DiceModel, AGREEMENTS))
        brain = BrainModel(**_read(content, 'brain', BrainModel, LIKENESS))
        origin = content.get('origin')
        if not isinstance(origin, dict):
            raise ValueError('calibration: origin is no object')
        _require(all(value > 0 for value in (*dice.sd, *dice.spread, *brain.scale)), 'spreads')
        weights = (*dice.weight, *brain.below, *brain.above)
        _require(all(value >= 0 for value in weights), 'weights')
        _require(_ordered(dice.least, dice.most) and _ordered(brain.low, brain.high), 'ranges')
        _require(len(dice.residuals) == 2 and dice.residuals[0] <= 0 <= dice.residuals[1], 'ends')
        knots = dice.spread_at
        _require(0 < len(knots) == len(dice.spread) <= MAX_KNOTS, 'knots')
        _require(all(a < b for a, b in pairwise(knots)), 'knots')
        _require(0 <= dice.flag_below <= 1, 'flag_below')
        return cls(dice, brain, origin)


FREE = ('residuals', 'spread_at', 'spread')  # whose length is not the number of features


def as_numbers(values: Iterable[float]) -> Numbers:
    """Return values, as those of an array, in the form that the classes here hold."""
    return tuple(float(value) for value in values)


def _read(content: dict[str, Any], name: str, kind: type, count: int) -> dict[str, Any]:
    """Numbers of a part, each in the form that its class has."""
    part = content.get(name)
    if not isinstance(part, dict):
        raise ValueError(f'calibration: {name} is no object')
    found: dict[str, Any] = {}
    for field in fields(kind):
        value = part.get(field.name)
        if field.type == 'float':
            found[field.name] = _number(value, field.name)
            continue
        if not isinstance(value, list) or not 0 < len(value) <= MAX_KNOTS:
            raise ValueError(f'calibration: {field.name} is no list of numbers')
        if field.name not in FREE and len(value) != count:
            raise ValueError(f'calibration: {field.name} has {len(value)} numbers, not {count}')
        found[field.name] = tuple(_number(one, field.name) for one in value)
    return found


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST:
        raise ValueError(f'calibration: {name} holds {brief(value)}, which is no usable number')
    return float(value)


def _ordered(low: Numbers, high: Numbers) -> bool:
    return all(a <= b for a, b in zip(low, high, strict=True))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f'calibration: {what} are out of order')


def _rounded(part: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [round(one, 5) for one in value] if isinstance(value, tuple) else round(value, 5)
        for key, value in part.items()
    }
