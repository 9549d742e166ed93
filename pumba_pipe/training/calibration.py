"""Learning from made heads how good the masks of some weights are, by what their extraction shows.

Made heads have a true label, so the Dice of each mask is known. From a hundred of them the
expected Dice of any mask is learned, an interval around it, and from which value on masks are to
be looked at; from images without a brain, what such masks look like. No real image is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_outputs
from pumba_pipe.extraction.expected_dice import expected_dice
from pumba_pipe.extraction.plausibility import NOISE, SECOND, UNIFORM
from pumba_pipe.network.calibration import GOOD_DICE, POOR_DICE, Calibration
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training.calibration_dice import fit_dice_model
from pumba_pipe.training.calibration_no_brain import fit_brain_model
from pumba_pipe.training.calibration_scores import (
    ProgressCallback,
    ScoredMask,
    scored_masks,
)
from pumba_pipe.training.settings import CALIBRATION_HEADS

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model

SEED = 1
RECIPE = 'default'  # whatever the weights were trained on
GROUPS = {'head': 'ordinary heads', 'odd': 'odd heads', 'none': 'images without a brain'}
PLAIN_FLAGS = {UNIFORM, NOISE, SECOND}
LEAST_HEADS = 20


def calibrate(
    model: Model,
    heads: int = CALIBRATION_HEADS,
    seed: int = SEED,
    *,
    device: str = 'auto',
    threads: int | None = None,
    progress: ProgressCallback = lambda done, total: None,
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
    recipe, rows = load_recipe(RECIPE), list[ScoredMask]()
    model = replace(model, calibration=None)
    masks = scored_masks(
        model, recipe, heads, seed, device=device, threads=threads, progress=progress
    )
    for row in masks:
        rows.append(row)
        if len(rows) == LEAST_HEADS:  # not after all that work
            _check_found(rows, LEAST_HEADS // 2)
    origin = {
        'seed': seed,
        'recipe': recipe.name,
        'recipe_sha256': recipe.digest,
        'code_version': __version__,
    }
    return fit_calibration(rows, origin)


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
    rows = list(scored_masks(model, recipe, heads, seed, **options))
    return [_report(name, rows, model.calibration) for name in GROUPS]


def _report(group: str, rows: Sequence[ScoredMask], calibration: Calibration) -> str:
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
    poor = [flag for row, flag in zip(found, flagged, strict=True) if row.dice < POOR_DICE]
    good = [flag for row, flag in zip(found, flagged, strict=True) if row.dice >= GOOD_DICE]
    share = held / len(found) if found else 0.0
    return (
        f'{line}; Dice in the interval: {share:.0%}; flagged: {sum(poor)} of {len(poor)} poor '
        f'masks (Dice below {POOR_DICE}), {sum(good)} of {len(good)} good ones (from {GOOD_DICE})'
    )


def fit_calibration(rows: Sequence[ScoredMask], origin: dict[str, Any]) -> Calibration:
    """Learn a calibration from masks that were scored.

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
        fit_dice_model(with_brain), fit_brain_model(with_brain, without), {**origin, **counts}
    )


def _check_found(rows: Sequence[ScoredMask], needed: int) -> None:
    found = sum(row.found for row in rows)
    if found < needed:
        raise InputError(
            f'these weights found a brain in {found} of {len(rows)} made heads, too few to learn '
            'from: train longer'
        )
