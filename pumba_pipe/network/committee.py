"""Several fine networks in one weights file: their outputs are averaged.

Networks that were trained apart err apart, at the price of as many times the computation.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_outputs
from pumba_pipe.network.model_card import declare_real_images, real_images
from pumba_pipe.network.unet import Committee, Network, UNet, channels_last, members, move_borders
from pumba_pipe.network.weights import Model, Stage, load_weights, save_weights

Moves = tuple[float, float]


def join_weights(
    files: Sequence[Path], out: Path, size: int | None = None, move: Moves | None = None
) -> str:
    """Write weights whose fine pass asks the fine networks of several files.

    Parameters
    ----------
    files : sequence of Path
        Of networks with the same stem, and of the same size where none is given. A file may hold
        several networks already: they all take part, with the same weight.
    out : Path
        Ends in ``.safetensors``. Its card tells how each was made.
    size : int, optional
        Side of the cube of the fine pass. With it, a single file will do.
    move : tuple of float, optional
        Added to the logits of the wide and the tight border, likewise.

    Returns
    -------
    str
        SHA-256 of `out`.

    Raises
    ------
    InputError
        The files do not match, or the size does not fit.
    OutputError
        `out` is one of the files, or cannot be written.
    """
    if len(files) < 2 and size is None and move is None:
        raise InputError(f'{files[0]}: one file alone needs a size, or borders to move')
    check_outputs([out], files)
    models = [load_weights(file) for file in files]
    first = models[0]
    networks = [network for model in models for network in members(model.fine.network)]
    for file, model in zip(files, models, strict=True):
        same_size = size is not None or model.fine.size == first.fine.size
        if not same_size or model.fine.config.stem != first.fine.config.stem:
            raise InputError(f'{file}: its fine network has another shape than the first')
        if 'fine' not in model.card['stages']:
            raise InputError(f'{file}: its card says nothing of a fine stage')
    joined = channels_last(_joined(networks))
    side, multiple = size or first.fine.size, joined.config.multiple
    if side < multiple or side % multiple:
        raise InputError(f'size {side}: must be a multiple of {multiple}')
    if move is not None:
        move_borders(joined, move)
    fine = Stage(joined, side)
    card = copy.deepcopy(first.card)
    entries = [entry for model in models for entry in _entries(model)]
    card['stages']['fine'] = entries[0] | ({'with': entries[1:]} if entries[1:] else {})
    if size is not None:
        card['stages']['fine']['used_at'] = size
    if move is not None:
        card['stages']['fine']['borders_moved'] = list(move)
    real = [digest for model in models for digest in real_images(model.card)]
    return save_weights(
        {'coarse': first.coarse, 'fine': fine}, declare_real_images(card, real), out
    )


def _joined(networks: Sequence[UNet]) -> Network:
    if len(networks) == 1:
        return networks[0]
    others = tuple(network.config.widths for network in networks[1:])
    committee = Committee(replace(networks[0].config, others=others))
    for member, network in zip(committee.members, networks, strict=True):
        member.load_state_dict(network.state_dict())
    return committee


def _entries(model: Model) -> list[dict[str, Any]]:
    """What the card says of each network of the fine pass, with its own recipe and seed."""
    fine = dict(model.card['stages']['fine'])
    others = fine.pop('with', [])
    keys = ('recipe', 'recipe_sha256', 'seed')
    return [{key: model.card.get(key) for key in keys} | fine, *others]
