"""Join the fine networks of weights files: their answers are averaged.

``python -m pumba_pipe.committee FIRST SECOND [...] OUT``. The coarse network is that of FIRST.
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

from pumba_pipe.errors import InputError
from pumba_pipe.model_card import marked, real_images
from pumba_pipe.network import Committee, UNet, channels_last
from pumba_pipe.weights import Stage, load_weights, save_weights


def join_weights(files: Sequence[Path], out: Path, size: int | None = None) -> str:
    """Write weights whose fine pass asks the fine networks of several files.

    Parameters
    ----------
    files : sequence of Path
        At least two, of networks of the same shape, and of the same size where none is given.
    out : Path
        Ends in ``.safetensors``. Its card tells how each was made.
    size : int, optional
        Side of the cube of the fine pass.

    Returns
    -------
    str
        SHA-256 of `out`.

    Raises
    ------
    InputError
        The files do not match, one holds a committee already, or the size does not fit.
    """
    models = [load_weights(file) for file in files]
    first = models[0]
    for file, model in zip(files, models, strict=True):
        same = size is not None or model.fine.size == first.fine.size
        if not isinstance(model.fine.network, UNet) or 'fine' not in model.card['stages']:
            raise InputError(f'{file}: needs exactly one network for the fine pass')
        if not same or model.fine.network.config != first.fine.network.config:
            raise InputError(f'{file}: its fine network has another shape than the first')
    multiple = first.fine.network.config.multiple
    if size is not None and (size < multiple or size % multiple):
        raise InputError(f'size {size}: must be a multiple of {multiple}')
    committee = Committee(replace(first.fine.network.config, members=len(models)))
    for member, model in zip(committee.members, models, strict=True):
        member.load_state_dict(model.fine.network.state_dict())
    card = copy.deepcopy(first.card)
    keys = ('recipe', 'recipe_sha256', 'seed')
    card['stages']['fine']['with'] = [
        {key: model.card.get(key) for key in keys} | model.card['stages']['fine']
        for model in models[1:]
    ]
    if size is not None:
        card['stages']['fine']['used_at'] = size
    fine = Stage(channels_last(committee), size or first.fine.size)
    real = [digest for model in models for digest in real_images(model.card)]
    return save_weights({'coarse': first.coarse, 'fine': fine}, marked(card, real), out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command described at the top of this file."""
    from pumba_pipe.commands.common import guarded

    parser = argparse.ArgumentParser(prog='python -m pumba_pipe.committee')
    parser.add_argument('first', type=Path, metavar='FIRST', help='its coarse network is kept')
    parser.add_argument('more', type=Path, nargs='+', metavar='SECOND')
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
