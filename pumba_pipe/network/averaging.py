"""The average of two weights files of the same networks: between two recipes, where neither wins.

It makes sense where the second was trained on from the first.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_outputs
from pumba_pipe.network.model_card import declare_real_images, real_images
from pumba_pipe.network.weights import Stage, load_weights, save_weights


def average_weights(first: Path, second: Path, out: Path, share: float) -> str:
    """Average two weights files, stage by stage.

    Parameters
    ----------
    first, second : Path
        Both with the same stages of the same shapes.
    out : Path
        Ends in ``.safetensors``. Its card is that of `second`, and says what was averaged.
    share : float
        Of `second`, 0 to 1.

    Returns
    -------
    str
        SHA-256 of `out`.

    Raises
    ------
    InputError
        The files do not match, or `share` is out of range.
    OutputError
        `out` is one of the files, or cannot be written.
    """
    if not 0 <= share <= 1:
        raise InputError(f'share {share:g}: must lie between 0 and 1')
    check_outputs([out], [first, second])
    one, other = load_weights(first), load_weights(second)
    card = copy.deepcopy(other.card)
    if not card['stages']:
        raise InputError(f'{second}: its card says nothing of any stage')
    stages = {}
    for name in card['stages']:
        stages[name] = _mean(getattr(one, name), getattr(other, name), share, second)
        if _same(stages[name], getattr(other, name)):
            continue
        card['stages'][name]['averaged'] = (
            f'{share:g} of this and {1 - share:g} of the weights with sha256 {one.sha256[:8]}'
        )
    real = [*real_images(one.card), *real_images(other.card)]
    return save_weights(stages, declare_real_images(card, real), out)


def _mean(first: Stage, second: Stage, share: float, path: Path) -> Stage:
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    shapes = ({key: value.shape for key, value in part.items()} for part in (ours, theirs))
    if next(shapes) != next(shapes) or first.size != second.size:
        raise InputError(f'{path}: holds other networks than the first file')
    network = copy.deepcopy(second.network)
    mixed = {key: torch.lerp(ours[key], theirs[key], share) for key in ours}
    network.load_state_dict(mixed)
    return Stage(network, second.size)


def _same(first: Stage, second: Stage) -> bool:
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)
