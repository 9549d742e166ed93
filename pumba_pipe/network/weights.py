"""Weights on disk: safetensors with a model card inside; never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pumba_pipe.common.errors import WeightsError
from pumba_pipe.common.files import atomic_path
from pumba_pipe.network.unet import Network, NetworkConfig, build, channels_last, with_borders

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parents[1] / 'weights' / 'default.safetensors'
VARIABLE = 'PUMBA_WEIGHTS'
FORMAT = 'pumba_pipe/1'
STAGES: tuple[str, ...] = ('coarse', 'fine')


@dataclass(frozen=True)
class Stage:
    """One network and the size of the cube it was trained on.

    Attributes
    ----------
    network : UNet or Committee
    size : int
        Side of the cube, in voxels.
    """

    network: Network
    size: int


@dataclass(frozen=True)
class Model:
    """Networks of the coarse pass and of the fine pass, which may be the same.

    Attributes
    ----------
    coarse, fine : Stage
    card : dict
        How the weights were made, as far as the file says.
    sha256 : str
        Of the file.
    """

    coarse: Stage
    fine: Stage
    card: dict[str, Any]
    sha256: str


def default_weights() -> Path:
    """Return the file named by ``PUMBA_WEIGHTS``, or else the shipped one."""
    return Path(os.environ.get(VARIABLE) or SHIPPED)


def load_weights(path: str | Path | None = None) -> Model:
    """Read and verify weights.

    Parameters
    ----------
    path : str or Path, optional
        A file made by ``pumba-train``; default: see `default_weights`.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or was not made by pumba_pipe.

    Examples
    --------
    >>> import pumba_pipe
    >>> model = pumba_pipe.load_weights()
    >>> model.coarse.size <= model.fine.size
    True
    """
    path = default_weights() if path is None else Path(path)
    tensors, metadata = _read(path)
    if metadata.get('format') != FORMAT:
        raise WeightsError(f'{path}: these weights were not made by pumba-train')
    try:
        stages = {
            name: _stage(name, description, tensors)
            for name, description in json.loads(metadata['stages']).items()
        }
        card = json.loads(metadata['card'])
        only = next(iter(stages.values()))
    except (KeyError, ValueError, TypeError, RuntimeError, StopIteration) as error:
        message = str(error).split('\n')[0]
        raise WeightsError(f'{path}: the weights do not fit together ({message})') from None
    return Model(stages.get('coarse', only), stages.get('fine', only), card, _digest(path))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open('rb'):
            pass
        with safe_open(path, 'pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except OSError as error:
        raise WeightsError(f'{path}: cannot read these weights ({error.strerror})') from None
    except SafetensorError as error:
        raise WeightsError(f'{path}: damaged, or not a safetensors file ({error})') from None
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise WeightsError(f'{path}: the weights hold values that are not finite')
    return tensors, metadata


def _stage(name: str, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Stage:
    network = build(NetworkConfig.from_dict(description['network']))
    prefix = f'{name}/'
    state = {
        key[len(prefix) :]: value.float()
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    network.load_state_dict(state)
    network = with_borders(network).eval().requires_grad_(False)
    network = channels_last(network)
    size = int(description['size'])
    if size < network.config.multiple or size % network.config.multiple:
        raise ValueError(f'size {size}')
    return Stage(network, size)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_weights(stages: Mapping[str, Stage], card: Mapping[str, Any], path: Path) -> str:
    """Write weights in half precision, with their card, and return the file's SHA-256.

    Parameters
    ----------
    stages : mapping
        ``'coarse'``, ``'fine'`` or both.
    card : mapping
        Plain values that say how they were made.
    path : Path
        Ends in ``.safetensors``.
    """
    from safetensors.torch import save_file

    tensors = {
        f'{name}/{key}': value.detach().cpu().half().contiguous()
        for name, stage in stages.items()
        for key, value in stage.network.state_dict().items()
    }
    described = {
        name: {'network': stage.network.config.to_dict(), 'size': stage.size}
        for name, stage in stages.items()
    }
    metadata = {
        'format': FORMAT,
        'stages': json.dumps(described, sort_keys=True),
        'card': json.dumps(card, sort_keys=True),
    }
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata=metadata)
    return _digest(path)
