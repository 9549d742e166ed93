"""The Dice that is to be expected of a mask, in which range it lies, and why it is not higher.

What it is computed from was learned from made heads alone, by ``pumba-weights calibrate``, and is
part of the weights file (`pumba_pipe.network.calibration`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.extraction.evidence import AGREEMENTS, LIKENESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.extraction.evidence import Evidence
    from pumba_pipe.network.calibration import BrainModel, Calibration, DiceModel

LARGEST_LOGIT = 50.0
NAMED = 2  # shortfalls that are put into words
LEAST_SHORTFALL = 0.2  # of the logit; smaller ones are not worth a word
SHORTFALLS = {
    'coarse_fine_dice': 'the close look changed the mask',
    'tta_dice': 'two views of the image give different masks',
    'gamma_dice': 'the mask moves when the image is brightened',
    'boundary_certainty': 'the border is unsure',
}
# What a mask is that does not look like one of a brain; the agreements are too good then.
MORE = {
    **dict.fromkeys(AGREEMENTS, 'surer'),
    'compactness': 'rounder',
    'coarse_excess': 'in a larger object',
    'detail': 'busier inside',
    'structure': 'less noisy inside',
}
LESS = {
    **dict.fromkeys(AGREEMENTS, 'less sure'),
    'compactness': 'more ragged',
    'coarse_excess': 'larger at a close look',
    'detail': 'plainer inside',
    'structure': 'plainer inside',
}


class ExpectedDice(NamedTuple):
    """What a calibration says of one mask.

    Attributes
    ----------
    value, low, high : float
        Expected Dice, and the interval that holds the Dice of nine in ten masks; 0..1.
    reasons : tuple of str
        What keeps the expected Dice below that of good masks, the most important first.
    no_brain : str
        Why the mask may show no brain; empty where it looks like one.
    flagged : bool
        Whether a person should look at the mask.
    """

    value: float
    low: float
    high: float
    reasons: tuple[str, ...]
    no_brain: str
    flagged: bool

    def __str__(self) -> str:
        """Say it in a line, as ``expected Dice 0.85 (0.43-0.94): the border is unsure``."""
        numbers = f'expected Dice {self.value:.2f} ({self.low:.2f}-{self.high:.2f})'
        return ': '.join([numbers, *(['; '.join(self.reasons)] if self.reasons else [])])


def expected_dice(calibration: Calibration, evidence: Evidence) -> ExpectedDice:
    """Say how good a mask is, by what its extraction showed.

    Parameters
    ----------
    calibration : Calibration
        Of the weights that were used.
    evidence : Evidence
    """
    model, brain = calibration.dice, calibration.brain
    doubts = np.clip(evidence.doubts(), model.least, model.most)
    logit = predicted_logit(model, doubts)
    value, low, high = map(expit, (logit, *interval(model, logit)))
    strange = strangeness(brain, evidence.likeness())
    no_brain = brain.bias + float(strange.sum()) >= brain.limit
    if no_brain:
        low = 0.0
    flagged = no_brain or value < model.flag_below
    words = _unlike(strange) if no_brain else ''
    return ExpectedDice(value, low, high, _shortfalls(model, doubts), words, flagged)


def expit(logit: float) -> float:
    """Probability of a logit; what a file holds may be far out, and overflow."""
    return 1 / (1 + math.exp(-min(max(logit, -LARGEST_LOGIT), LARGEST_LOGIT)))


def predicted_logit(model: DiceModel, doubts: NDArray[np.float64]) -> float:
    """Logit of the Dice, from `Evidence.doubts` within the range on made heads."""
    scaled = (doubts - np.array(model.mean)) / np.array(model.sd)
    return float(model.bias + scaled @ np.array(model.weight))


def interval(model: DiceModel, logit: float) -> tuple[float, float]:
    """Logits between which the Dice of nine in ten masks lies; wider where predictions are low."""
    spread = float(np.interp(logit, model.spread_at, model.spread))
    low, high = model.residuals
    return logit + low * spread, logit + high * spread


def strangeness(model: BrainModel, likeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each number speaks against a brain, below and above its usual range, (2, 8)."""
    below, above = beyond(likeness, model.low, model.high, model.scale)
    return np.stack([below * np.array(model.below), above * np.array(model.above)])


def beyond(
    values: NDArray[np.float64],
    low: NDArray[np.float64] | tuple[float, ...],
    high: NDArray[np.float64] | tuple[float, ...],
    scale: NDArray[np.float64] | tuple[float, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far values lie below and above their usual ranges, in units of their spread."""
    below = np.maximum(np.asarray(low) - values, 0) / np.asarray(scale)
    above = np.maximum(values - np.asarray(high), 0) / np.asarray(scale)
    return below, above


def _shortfalls(model: DiceModel, doubts: NDArray[np.float64]) -> tuple[str, ...]:
    """The largest differences from good masks, in words."""
    short = (np.array(model.good) - doubts) / np.array(model.sd) * np.array(model.weight)
    worst = np.argsort(-short)[:NAMED]
    return tuple(SHORTFALLS[AGREEMENTS[one]] for one in worst if short[one] > LEAST_SHORTFALL)


def _unlike(strange: NDArray[np.float64]) -> str:
    """What speaks most against a brain, in words."""
    found = []
    for place in np.argsort(-strange, axis=None):
        side, one = np.unravel_index(place, strange.shape)
        word = (LESS, MORE)[side][LIKENESS[one]]
        if strange[side, one] > 0 and word not in found:
            found.append(word)
    return f'may be no brain: {" and ".join(found[:NAMED])} than brains are'
