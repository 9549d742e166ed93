"""Join the fine networks of weights files: their answers are averaged.

``python -m pumba_pipe.committee FIRST SECOND [...] OUT``. The coarse network is that of FIRST.
Networks that were trained apart err apart, at the price of as many times the computation.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pumba_pipe.errors import InputError
from pumba_pipe.model_card import marked, real_images
from pumba_pipe.network import Committee, UNet, channels_last
from pumba_pipe.weights import Stage, load_weights, save_weights


def join_weights(files: Sequence[Path], out: Path) -> str:
    """Write weights whose fine pass asks the fine networks of several files.

    Parameters
    ----------
    files : sequence of Path
        At least two, of networks of the same shape and size.
    out : Path
        Ends in ``.safetensors``. Its card tells how each was made.

    Returns
    -------
    str
        SHA-256 of `out`.

    Raises
    ------
    InputError
        The files do not match, or one holds a committee already.
    """
    models = [load_weights(file) for file in files]
    first = models[0]
    for file, model in zip(files, models, strict=True):
        same = model.fine.size == first.fine.size
        if not isinstance(model.fine.network, UNet) or 'fine' not in model.card['stages']:
            raise InputError(f'{file}: needs exactly one network for the fine pass')
        if not same or model.fine.network.config != first.fine.network.config:
            raise InputError(f'{file}: its fine network has another shape than the first')
    committee = Committee(replace(first.fine.network.config, members=len(models)))
    for member, model in zip(committee.members, models, strict=True):
        member.load_state_dict(model.fine.network.state_dict())
    card = copy.deepcopy(first.card)
    keys = ('recipe', 'recipe_sha256', 'seed')
    card['stages']['fine']['with'] = [
        {key: model.card.get(key) for key in keys} | model.card['stages']['fine']
        for model in models[1:]
    ]
    fine = Stage(channels_last(committee), first.fine.size)
    real = [digest for model in models for digest in real_images(model.card)]
    return save_weights({'coarse': first.coarse, 'fine': fine}, marked(card, real), out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command described at the top of this file."""
    from pumba_pipe.commands.common import guarded

    files = [Path(word) for word in (sys.argv[1:] if argv is None else argv)]
    if len(files) < 3:
        print('usage: python -m pumba_pipe.committee FIRST SECOND [...] OUT', file=sys.stderr)
        return 2

    def body() -> int:
        print(f'{files[-1]}: written, sha256 {join_weights(files[:-1], files[-1])[:16]}…')
        return 0

    return guarded('pumba_pipe.committee', body)


if __name__ == '__main__':
    sys.exit(main())
