"""Weights on disk: safetensors with a model card inside; never pickle."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from pumba_pipe.common.errors import InputError, WeightsError
from pumba_pipe.common.files import atomic_path, check_readable
from pumba_pipe.network.unet import Network, NetworkConfig, build, channels_last

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parents[1] / 'weights' / 'default.safetensors'
VARIABLE = 'PUMBA_WEIGHTS'
FORMAT = 'pumba_pipe/1'
STAGES: tuple[str, ...] = ('coarse', 'fine')
KEPT = 2  # weights files that stay in memory


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


def initial_weights(name: str | None) -> Path | None:
    """Return the file called `name`, to start a training from; ``default`` is the shipped one."""
    if name is None:
        return None
    return SHIPPED if name == 'default' else Path(name)


# By path, size and time of change; the most recently used last.
_kept: OrderedDict[tuple[Path, int, int], Model] = OrderedDict()
_lock = Lock()


def load_weights(path: str | Path | None = None) -> Model:
    """Read and verify weights.

    What was read is kept in this process, and read again when the file has changed. Each call
    returns a copy of its own, which the caller may change, train or move to another device.

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
    try:
        found, status = path.resolve(), path.stat()
        check_readable(path, 'weights file')
    except OSError as error:
        raise _unreadable(path, error) from None
    except (InputError, ValueError) as error:  # a pipe; a NUL character in the name
        raise WeightsError(str(error)) from None
    key = (found, status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _kept:
            _kept[key] = _read(path)
        _kept.move_to_end(key)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return copy.deepcopy(_kept[key])


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f'{path}: cannot read these weights ({error.strerror})')


def _read(path: Path) -> Model:
    """Read, verify and hash a file, all from the same bytes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    tensors, metadata = _parsed(path, content)
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
    sha256 = hashlib.sha256(content).hexdigest()
    return Model(stages.get('coarse', only), stages.get('fine', only), card, sha256)


def _parsed(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise WeightsError(f'{path}: damaged, or not a safetensors file ({error})') from None
    # The library reads metadata from files alone; the header is a length and JSON, verified above.
    length = int.from_bytes(content[:8], 'little')
    metadata = json.loads(content[8 : 8 + length]).get('__metadata__', {})
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
    network = channels_last(network.eval().requires_grad_(False))
    size = int(description['size'])
    if size < network.config.multiple or size % network.config.multiple:
        raise ValueError(f'size {size}')
    return Stage(network, size)


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
    return hashlib.sha256(path.read_bytes()).hexdigest()
