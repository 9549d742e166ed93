"""Learning the Dice to expect of a mask, its interval, and from which value on to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.common.statistics import MAD_TO_SD
from pumba_pipe.network.calibration import GOOD_DICE, POOR_DICE, DiceModel, as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.training.calibration_scores import ScoredMask

CONFIDENCE = 0.9  # of the interval
DICE_RANGE = (0.02, 0.995)  # whose logits are learned; what lies beyond is as bad or as good
ALARMS = 0.1  # share of good masks that is flagged
GOOD_SHARE = 0.5  # of heads, those with the best masks, count as good
PENALTY = 30.0  # of the ridge, in heads: agreements that say the same share their weight
HUBER = 1.5  # residuals beyond so many of their medians count less
FOLDS = 10
KNOTS = 6  # of the spread


def fit_dice_model(rows: Sequence[ScoredMask]) -> DiceModel:
    """Learn the Dice from heads; the interval and the limit from ordinary heads alone."""
    from scipy.special import expit

    doubts = np.stack([row.evidence.doubts() for row in rows if row.evidence is not None])
    truth = np.array([row.dice for row in rows])
    ordinary = np.array([row.group == 'head' for row in rows])
    target = _logit(truth)
    least, most = (np.quantile(doubts, share, axis=0) for share in (0.005, 0.995))
    doubts = np.clip(doubts, least, most)
    line = _line(doubts, target)
    predicted = _cross_validated(doubts, target)[ordinary]
    residual = target[ordinary] - predicted
    at, spread = _spread(predicted, residual)
    scaled = residual / np.interp(predicted, at, spread)
    good = doubts[ordinary][truth[ordinary] >= np.quantile(truth[ordinary], 1 - GOOD_SHARE)]
    return DiceModel(
        mean=as_numbers(line.mean),
        sd=as_numbers(line.sd),
        weight=as_numbers(line.weight),
        bias=line.bias,
        least=as_numbers(least),
        most=as_numbers(most),
        good=as_numbers(np.median(good, axis=0)),
        residuals=_ends(scaled),
        spread_at=as_numbers(at),
        spread=as_numbers(spread),
        flag_below=_flag_limit(expit(predicted), truth[ordinary]),
    )


class _Line(NamedTuple):
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float

    def __call__(self, doubts: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.bias + (doubts - self.mean) / self.sd @ self.weight


def _line(doubts: NDArray[np.float64], target: NDArray[np.float64]) -> _Line:
    """Ridge regression without negative weights; a few odd heads must not tilt it (Huber)."""
    from scipy.optimize import nnls

    mean, sd = doubts.mean(0), np.maximum(doubts.std(0), 1e-3)
    scaled = (doubts - mean) / sd
    trust = np.ones(len(target))
    for _ in range(8):
        centre, middle = np.average(scaled, 0, trust), float(np.average(target, weights=trust))
        root = np.sqrt(trust)[:, None]
        rows = np.concatenate([root * (scaled - centre), PENALTY**0.5 * np.eye(doubts.shape[1])])
        aims = np.concatenate([root[:, 0] * (target - middle), np.zeros(doubts.shape[1])])
        weight = nnls(rows, aims)[0]
        bias = middle - float(centre @ weight)
        away = np.abs(target - bias - scaled @ weight)
        limit = HUBER * MAD_TO_SD * float(np.median(away)) + 1e-9
        trust = np.minimum(1.0, limit / np.maximum(away, 1e-9))
    return _Line(mean, sd, weight, bias)


def _cross_validated(
    doubts: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predict each head from the others."""
    fold = np.arange(len(target)) % FOLDS
    predicted = np.zeros(len(target))
    for one in range(FOLDS):
        predicted[fold == one] = _line(doubts[fold != one], target[fold != one])(
            doubts[fold == one]
        )
    return predicted


def _spread(
    predicted: NDArray[np.float64], residual: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distance from the prediction, which grows as predictions fall, at a few knots."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(predicted)
    parts = np.array_split(order, KNOTS)
    at = np.array([predicted[part].mean() for part in parts])
    sizes = np.array([len(part) for part in parts])
    away = np.array([np.abs(residual[part]).mean() for part in parts])
    at, keep = np.unique(at, return_index=True)
    falling = isotonic_regression(away[keep], weights=sizes[keep], increasing=False)
    return at, np.maximum(falling.x, 0.05)


def _ends(scaled: NDArray[np.float64]) -> tuple[float, float]:
    """Quantiles of residuals between which a further one lies with the wanted chance."""
    count = len(scaled)
    tail = (1 - CONFIDENCE) / 2
    low = max(0.0, (count + 1) * tail - 1) / (count - 1)
    ends = np.quantile(scaled, [low, 1 - low])
    return float(min(ends[0], 0)), float(max(ends[1], 0))


def _flag_limit(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Expected Dice below which few good masks of made heads lie.

    Not the one that finds most poor masks: many of those, on heads made to be hard, look good, and
    people who are shown every second mask look at none.
    """
    good = predicted[truth >= GOOD_DICE]
    return float(np.quantile(good, ALARMS)) if len(good) else POOR_DICE


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = np.clip(values, *DICE_RANGE)
    return np.asarray(np.log(inner / (1 - inner)))
