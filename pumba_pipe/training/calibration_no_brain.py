"""Learning what masks look like that are on no brain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.extraction.expected_dice import beyond
from pumba_pipe.network.calibration import AGREEMENTS, BrainModel, as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.training.calibration_scores import ScoredMask

FALSE_ALARMS = 0.005  # of made heads, taken for no brain; with 0.02 no more of those are found
USUAL = 0.05  # share of made heads below and above the usual range
PENALTY = 0.02


def fit_brain_model(with_brain: Sequence[ScoredMask], without: Sequence[ScoredMask]) -> BrainModel:
    """Learn what speaks for "no brain", by logistic regression without negative weights."""
    brains = np.stack(
        [row.evidence.likeness() for row in with_brain if row.evidence and row.found]
    )
    low, high = (np.quantile(brains, share, axis=0) for share in (USUAL, 1 - USUAL))
    scale = np.maximum(brains.std(0), 1e-3)
    fields = [row.evidence.likeness() for row in without if row.evidence is not None]
    images = np.concatenate([brains, np.array(fields).reshape(-1, brains.shape[1])])
    none = np.arange(len(images)) >= len(brains)
    features = np.concatenate(beyond(images, low, high, scale), axis=1)
    # A mask on which predictions do not agree is poor, which the expected Dice says already.
    useful = np.ones(features.shape[1], bool)
    useful[:AGREEMENTS] = False
    weight, bias = _logistic(features * useful, none)
    score = bias + features @ weight
    limit = float(np.quantile(score[~none], 1 - FALSE_ALARMS))
    half = brains.shape[1]
    return BrainModel(
        low=as_numbers(low),
        high=as_numbers(high),
        scale=as_numbers(scale),
        below=as_numbers(weight[:half]),
        above=as_numbers(weight[half:]),
        bias=bias,
        limit=max(limit, bias + 1e-3),
    )


def _logistic(
    features: NDArray[np.float64], label: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Fit weights, not negative, and a bias; both classes count the same."""
    from scipy.optimize import minimize
    from scipy.special import expit

    sign = np.where(label, 1.0, -1.0)
    share = np.where(label, 0.5 / max(1, label.sum()), 0.5 / max(1, (~label).sum()))
    count = features.shape[1]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = parameters[:count], parameters[count]
        margin = sign * (features @ weight + bias)
        slope = -share * sign * expit(-margin)
        value = float(share @ np.logaddexp(0, -margin) + PENALTY / 2 * weight @ weight)
        return value, np.append(features.T @ slope + PENALTY * weight, slope.sum())

    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, np.zeros(count + 1), jac=True, bounds=bounds, method='L-BFGS-B').x
    return found[:count], float(found[count])
