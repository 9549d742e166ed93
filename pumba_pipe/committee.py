"""Join the fine networks of weights files: their answers are averaged.

``python -m pumba_pipe.committee FIRST [SECOND ...] OUT``. The coarse network is that of FIRST.
Networks that were trained apart err apart, at the price of as many times the computation. With
``--size N`` the fine pass has cubes of that side, whatever the networks were trained on: they see
smaller voxels then, as long as the brain keeps a size in voxels that training has shown.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pumba_pipe.errors import InputError
from pumba_pipe.model_card import marked, real_images
from pumba_pipe.network import Committee, Network, NetworkConfig, UNet, channels_last, members
from pumba_pipe.weights import Model, Stage, load_weights, save_weights


def join_weights(files: Sequence[Path], out: Path, size: int | None = None) -> str:
    """Write weights whose fine pass asks the fine networks of several files.

    Parameters
    ----------
    files : sequence of Path
        Of networks of the same shape, and of the same size where none is given. A file may hold
        several networks already: they all take part, with the same weight.
    out : Path
        Ends in ``.safetensors``. Its card tells how each was made.
    size : int, optional
        Side of the cube of the fine pass. With it, a single file will do.

    Returns
    -------
    str
        SHA-256 of `out`.

    Raises
    ------
    InputError
        The files do not match, or the size does not fit.
    """
    if len(files) < 2 and size is None:
        raise InputError(f'{files[0]}: one file alone needs --size')
    models = [load_weights(file) for file in files]
    first = models[0]
    networks = [network for model in models for network in members(model.fine.network)]
    for file, model in zip(files, models, strict=True):
        same_size = size is not None or model.fine.size == first.fine.size
        if not same_size or _config(model) != _config(first):
            raise InputError(f'{file}: its fine network has another shape than the first')
        if 'fine' not in model.card['stages']:
            raise InputError(f'{file}: its card says nothing of a fine stage')
    multiple = _config(first).multiple
    if size is not None and (size < multiple or size % multiple):
        raise InputError(f'size {size}: must be a multiple of {multiple}')
    fine = Stage(channels_last(_joined(networks)), size or first.fine.size)
    card = copy.deepcopy(first.card)
    entries = [entry for model in models for entry in _entries(model)]
    card['stages']['fine'] = entries[0] | ({'with': entries[1:]} if entries[1:] else {})
    if size is not None:
        card['stages']['fine']['used_at'] = size
    real = [digest for model in models for digest in real_images(model.card)]
    return save_weights({'coarse': first.coarse, 'fine': fine}, marked(card, real), out)


def _config(model: Model) -> NetworkConfig:
    """Shape of each network of the fine pass."""
    return replace(model.fine.network.config, members=1)


def _joined(networks: Sequence[UNet]) -> Network:
    if len(networks) == 1:
        return networks[0]
    committee = Committee(replace(networks[0].config, members=len(networks)))
    for member, network in zip(committee.members, networks, strict=True):
        member.load_state_dict(network.state_dict())
    return committee


def _entries(model: Model) -> list[dict[str, Any]]:
    """What the card says of each network of the fine pass, with its own recipe and seed."""
    fine = dict(model.card['stages']['fine'])
    others = fine.pop('with', [])
    keys = ('recipe', 'recipe_sha256', 'seed')
    return [{key: model.card.get(key) for key in keys} | fine, *others]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command described at the top of this file."""
    from pumba_pipe.commands.common import guarded

    parser = argparse.ArgumentParser(prog='python -m pumba_pipe.committee')
    parser.add_argument('first', type=Path, metavar='FIRST', help='its coarse network is kept')
    parser.add_argument('more', type=Path, nargs='*', metavar='SECOND')
    parser.add_argument('out', type=Path, metavar='OUT')
    parser.add_argument('--size', type=int, metavar='N', help='side of the cube of the fine pass')
    args = parser.parse_args(argv)

    def body() -> int:
        digest = join_weights([args.first, *args.more], args.out, args.size)
        print(f'{args.out}: written, sha256 {digest[:16]}…')
        return 0

    return guarded('pumba_pipe.committee', body)


if __name__ == '__main__':
    sys.exit(main())
