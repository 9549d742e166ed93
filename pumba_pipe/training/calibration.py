"""Learning from made heads how good the masks of some weights are, by what their extraction shows.

Made heads have a true label, so the Dice of each mask is known. From a hundred of them the
expected Dice of any mask is learned, an interval around it, and from which value on masks are to
be looked at; from images without a brain, what such masks look like. No real image is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.common.files import check_outputs
from pumba_pipe.extraction.border import csf_exclusion
from pumba_pipe.extraction.evidence import Evidence
from pumba_pipe.extraction.expected_dice import beyond, expected_dice
from pumba_pipe.extraction.plausibility import NOISE, SECOND, UNIFORM
from pumba_pipe.images.masks import dice
from pumba_pipe.network.calibration import BrainModel, Calibration, DiceModel
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training.calibration_images import MadeImage, made_head, no_brain, odd_head
from pumba_pipe.training.settings import CALIBRATION_HEADS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.weights import Model
    from pumba_pipe.synthesis.recipe import Recipe

SEED = 1
RECIPE = 'default'  # whatever the weights were trained on
SHARES = {'head': 1.0, 'odd': 0.15, 'none': 0.5}  # images of each group, by the number of heads
GROUPS = {'head': 'ordinary heads', 'odd': 'odd heads', 'none': 'images without a brain'}
MAKERS = {'head': made_head, 'odd': odd_head, 'none': no_brain}
PLAIN_FLAGS = {UNIFORM, NOISE, SECOND}
LEAST_HEADS = 20
FOUND = 0.5  # least Dice of a mask that is on a brain
STREAMS = {'head': 1, 'odd': 2, 'none': 3}
CONFIDENCE = 0.9  # of the interval
DICE_RANGE = (0.02, 0.995)  # whose logits are learned; what lies beyond is as bad or as good
GOOD, ALARMS = 0.93, 0.1  # Dice of good masks, and the share of them that is flagged
POOR = 0.85  # Dice of masks that should be flagged
FALSE_ALARMS = 0.005  # of made heads, taken for no brain; with 0.02 no more of those are found
GOOD_SHARE = 0.5  # of heads, those with the best masks, count as good
PENALTY = 30.0  # of the ridge, in heads: agreements that say the same share their weight
BRAIN_PENALTY = 0.02
HUBER = 1.5  # residuals beyond so many of their medians count less
FOLDS = 10
USUAL = 0.05  # share of made heads below and above the usual range
KNOTS = 6  # of the spread


Progress = Callable[[int, int], None]


class Judged(NamedTuple):
    """A made image, what its extraction showed, and how good the mask is.

    Attributes
    ----------
    group : str
        ``'head'``, ``'odd'`` or ``'none'``: without a brain.
    kind : str
    evidence : Evidence or None
        None where no brain was found.
    dice : float
        With the true label; 0 without a brain.
    flags : tuple of str
    """

    group: str
    kind: str
    evidence: Evidence | None
    dice: float
    flags: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the mask is on the brain, however roughly."""
        return self.evidence is not None and self.dice >= FOUND


def calibrate(
    model: Model,
    heads: int = CALIBRATION_HEADS,
    seed: int = SEED,
    *,
    device: str = 'auto',
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Draw made images, strip them, and learn from the masks.

    Parameters
    ----------
    model : Model
        A calibration that it has is not used.
    heads : int
        Ordinary heads, of the default recipe; odd ones and images without a brain come on top.
    seed : int
    device, threads
        See `pumba_pipe.extract`.
    progress : callable
        Called with the number of images that are done, and of all.

    Raises
    ------
    InputError
        Too few heads, or these weights find no brain in most of them.
    """
    if heads < LEAST_HEADS:
        raise InputError(f'{heads} heads: at least {LEAST_HEADS} are needed to learn from')
    recipe, rows = load_recipe(RECIPE), list[Judged]()
    model = replace(model, calibration=None)
    for row in judged_images(model, recipe, heads, seed, device, threads, progress):
        rows.append(row)
        if len(rows) == LEAST_HEADS:  # not after all that work
            _check_found(rows, LEAST_HEADS // 2)
    origin = {
        'seed': seed,
        'recipe': recipe.name,
        'recipe_sha256': recipe.digest,
        'code_version': __version__,
    }
    return learned(rows, origin)


def calibrate_file(
    path: Path, heads: int = CALIBRATION_HEADS, seed: int = SEED, **options: Any
) -> str:
    """Calibrate a weights file, write what was learned into it, and return its SHA-256.

    Parameters
    ----------
    path : Path
    heads, seed, options
        See `calibrate`.

    Raises
    ------
    InputError, WeightsError, OutputError
    """
    from pumba_pipe.network.weights import load_weights, store_calibration

    model = load_weights(path)
    check_outputs([path])  # not after all that work
    return store_calibration(path, calibrate(model, heads, seed, **options))


def calibrate_trained(path: Path, sha256: str, warn: Callable[[str], None], **options: Any) -> str:
    """Calibrate weights that were just trained; those that find no brains stay as they are.

    Parameters
    ----------
    path : Path
    sha256 : str
        Of the file.
    warn : callable
        Called with a line where there is nothing to learn from.
    options
        See `calibrate`.

    Returns
    -------
    str
        SHA-256 of the file, another one where it was calibrated.
    """
    try:
        return calibrate_file(path, **options)
    except InputError as error:
        warn(f'{path}: not calibrated ({error})')
        return sha256


def check_calibration(
    path: Path, heads: int = CALIBRATION_HEADS, seed: int | None = None, **options: Any
) -> list[str]:
    """Say how well a stored calibration does on fresh made images.

    Parameters
    ----------
    path : Path
        Weights with a calibration.
    heads : int
    seed : int, optional
        Another than that of the images it was learned from; default: the next one.
    options
        See `calibrate`.

    Returns
    -------
    list of str
        Lines to print.

    Raises
    ------
    InputError, WeightsError
    """
    from pumba_pipe.network.weights import load_weights

    model = load_weights(path)
    if model.calibration is None:
        raise InputError(f'{path}: has no calibration to check')
    learned_from = model.calibration.origin.get('seed')
    if seed is None:
        seed = learned_from + 1 if isinstance(learned_from, int) else SEED
    if seed == learned_from:
        raise InputError(f'seed {seed}: the calibration was learned from these very images')
    recipe = load_recipe(RECIPE)
    rows = list(judged_images(model, recipe, heads, seed, **options))
    return [_report(name, rows, model.calibration) for name in GROUPS]


def _report(group: str, rows: Sequence[Judged], calibration: Calibration) -> str:
    """Say in a line how a calibration does on one group of made images."""
    part = [row for row in rows if row.group == group]
    found = [row for row in part if row.evidence is not None]
    told = [expected_dice(calibration, row.evidence) for row in found if row.evidence]
    # flags that need no calibration count as well
    flagged = [one.flagged or bool(set(row.flags) & PLAIN_FLAGS)
               for row, one in zip(found, told, strict=True)]  # fmt: skip
    line = f'{GROUPS[group]}: {len(part)}, a brain was found in {len(found)}'
    if group == 'none':
        return f'{line}, {sum(flagged)} of these flagged'
    held = sum(one.low <= row.dice <= one.high for row, one in zip(found, told, strict=True))
    poor = [flag for row, flag in zip(found, flagged, strict=True) if row.dice < POOR]
    good = [flag for row, flag in zip(found, flagged, strict=True) if row.dice >= GOOD]
    share = held / len(found) if found else 0.0
    return (
        f'{line}; Dice in the interval: {share:.0%}; flagged: {sum(poor)} of {len(poor)} poor '
        f'masks (Dice below {POOR}), {sum(good)} of {len(good)} good ones (from {GOOD})'
    )


def judged_images(
    model: Model,
    recipe: Recipe,
    heads: int,
    seed: int,
    device: str = 'auto',
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Judged]:
    """Draw images of each group, strip them, and compare the masks with the true labels."""
    plan = [
        (group, index) for group, share in SHARES.items() for index in range(round(share * heads))
    ]
    for done, (group, index) in enumerate(plan, 1):
        image = MAKERS[group](recipe, derived_seed(seed, STREAMS[group], index))
        yield judged(model, group, image, device, threads)
        progress(done, len(plan))


def judged(
    model: Model, group: str, image: MadeImage, device: str = 'auto', threads: int | None = None
) -> Judged:
    """Strip a made image, and compare the mask with the label of the border that was drawn."""
    from pumba_pipe.extraction.pipeline import extract

    affine = np.diag([*image.voxel_size, 1.0])
    try:
        result = extract(image.values, model, device, threads, affine=affine)
    except NothingFoundError:
        return Judged(group, image.kind, None, 0.0)
    exclusion = csf_exclusion(result.quality.volume_ml, image.voxel_size)
    truths = [brain[int(exclusion >= 0.5)] for brain in image.brains]
    score = max((dice(result.mask > 0, truth) for truth in truths), default=0.0)
    return Judged(group, image.kind, result.evidence, score, result.quality.flags)


def learned(rows: Sequence[Judged], origin: dict[str, Any]) -> Calibration:
    """Learn a calibration from images whose masks were judged.

    Raises
    ------
    InputError
        A brain was found in too few heads.
    """
    found = [row for row in rows if row.evidence is not None]
    heads = [row for row in found if row.group == 'head']
    with_brain = [row for row in found if row.group != 'none']
    without = [row for row in found if row.group == 'none']
    _check_found(heads, LEAST_HEADS)
    counts = {
        'heads': len(heads),
        'odd_heads': len(with_brain) - len(heads),
        'without_brain': len(without),
    }
    return Calibration(
        _dice_model(with_brain), _brain_model(with_brain, without), {**origin, **counts}
    )


def _check_found(rows: Sequence[Judged], needed: int) -> None:
    found = sum(row.found for row in rows)
    if found < needed:
        raise InputError(
            f'these weights found a brain in {found} of {len(rows)} made heads, too few to learn '
            'from: train longer'
        )


# The Dice.


def _dice_model(rows: Sequence[Judged]) -> DiceModel:
    """Learn the Dice from heads; the interval and the limit from ordinary heads alone."""
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
        mean=_numbers(line.mean),
        sd=_numbers(line.sd),
        weight=_numbers(line.weight),
        bias=line.bias,
        least=_numbers(least),
        most=_numbers(most),
        good=_numbers(np.median(good, axis=0)),
        residuals=_ends(scaled),
        spread_at=_numbers(at),
        spread=_numbers(spread),
        flag_below=_flag_limit(_expit(predicted), truth[ordinary]),
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
        limit = HUBER * 1.4826 * float(np.median(away)) + 1e-9
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
    order = np.argsort(predicted)
    parts = np.array_split(order, KNOTS)
    at = np.array([predicted[part].mean() for part in parts])
    sizes = np.array([len(part) for part in parts])
    away = np.array([np.abs(residual[part]).mean() for part in parts])
    at, keep = np.unique(at, return_index=True)
    return at, np.maximum(_falling(away[keep], sizes[keep]), 0.05)


def _falling(values: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The nearest sequence that never rises: neighbours in the wrong order are averaged."""
    blocks: list[list[float]] = []
    for value, size in zip(values.tolist(), sizes.tolist(), strict=True):
        blocks.append([value, size, 1])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            value, size, count = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + value * size) / (before[1] + size)
            before[1] += size
            before[2] += count
    return np.concatenate([np.full(int(count), value) for value, _, count in blocks])


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
    good = predicted[truth >= GOOD]
    return float(np.quantile(good, ALARMS)) if len(good) else POOR


# No brain.


def _brain_model(with_brain: Sequence[Judged], without: Sequence[Judged]) -> BrainModel:
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
    useful[:4] = False
    weight, bias = _logistic(features * useful, none)
    score = bias + features @ weight
    limit = float(np.quantile(score[~none], 1 - FALSE_ALARMS))
    half = brains.shape[1]
    return BrainModel(
        low=_numbers(low),
        high=_numbers(high),
        scale=_numbers(scale),
        below=_numbers(weight[:half]),
        above=_numbers(weight[half:]),
        bias=bias,
        limit=max(limit, bias + 1e-3),
    )


def _logistic(
    features: NDArray[np.float64], label: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Fit weights, not negative, and a bias; both classes count the same."""
    from scipy.optimize import minimize

    sign = np.where(label, 1.0, -1.0)
    share = np.where(label, 0.5 / max(1, label.sum()), 0.5 / max(1, (~label).sum()))
    count = features.shape[1]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = parameters[:count], parameters[count]
        margin = sign * (features @ weight + bias)
        slope = -share * sign * _expit(-margin)
        value = float(share @ np.logaddexp(0, -margin) + BRAIN_PENALTY / 2 * weight @ weight)
        return value, np.append(features.T @ slope + BRAIN_PENALTY * weight, slope.sum())

    bounds = [(0.0, None)] * count + [(None, None)]
    found = minimize(loss, np.zeros(count + 1), jac=True, bounds=bounds, method='L-BFGS-B').x
    return found[:count], float(found[count])


def _numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = np.clip(values, *DICE_RANGE)
    return np.asarray(np.log(inner / (1 - inner)))


def _expit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-values)))
