"""Weights on disk: safetensors with a model card inside; never pickle."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.arguments import optional_path
from pumba_pipe.common.documents import MIB, brief, parse_json, read_bytes
from pumba_pipe.common.errors import InputError, OutputError, WeightsError, first_line
from pumba_pipe.common.files import atomic_path, check_readable
from pumba_pipe.common.resources import OUT_OF_MEMORY, lacks_memory
from pumba_pipe.common.weights_file import SHIPPED, default_weights
from pumba_pipe.network.calibration import Calibration
from pumba_pipe.network.config import FORMER_BORDERS, NetworkConfig, parameter_shapes, whole
from pumba_pipe.network.parameters import Parameters, torch_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.unet import UNet

FORMAT = 'pumba_pipe/1'
CALIBRATION = 'calibration'  # entry of the metadata
STAGES: tuple[str, ...] = ('coarse', 'fine')
KEPT = 2  # weights files that stay in memory
# Limits of what a file may say; the shipped file has 20 MiB.
MAX_BYTES = 1024 * MIB
MAX_HEADER = 16 * MIB
MAX_SIZE = 512  # of a cube: memory grows with its third power
DTYPES = {'F16': '<f2', 'BF16': '<u2', 'F32': '<f4'}


class Stage:
    """A network, and the cube it looks at.

    Of a weights file the parameters are read, without torch; the network of torch is made when
    somebody asks for it.

    Parameters
    ----------
    network : UNet or Parameters
    size : int
        Side of the cube, in voxels.
    """

    def __init__(self, network: UNet | Parameters, size: int) -> None:
        self.size = size
        self._parameters: Parameters | None = None
        self._network: UNet | None = None
        if isinstance(network, Parameters):
            self._parameters = network
        else:
            self._network = network

    @property
    def network(self) -> UNet:
        """The network in torch."""
        if self._network is None:
            assert self._parameters is not None
            self._network = torch_network(self._parameters)
        return self._network

    @property
    def parameters(self) -> Parameters | None:
        """What was read from a file; None where the network may be another by now.

        A caller who has the network of torch may train or change it.
        """
        return self._parameters if self._network is None else None

    @property
    def config(self) -> NetworkConfig:
        """Shape of the network."""
        return self.network.config if self._parameters is None else self._parameters.config


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
    calibration : Calibration or None
        What was learned of how good the masks are; None where the file says nothing of it.
    """

    coarse: Stage
    fine: Stage
    card: dict[str, Any]
    sha256: str
    calibration: Calibration | None = None

    @property
    def predicts_intracranial(self) -> bool:
        """Whether the intracranial space is among what the fine network predicts."""
        return self.fine.config.borders > FORMER_BORDERS


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
    InputError
        `path` is no path.

    Examples
    --------
    >>> import pumba_pipe
    >>> model = pumba_pipe.load_weights()
    >>> model.coarse.size <= model.fine.size
    True
    """
    path = optional_path(path, 'path') or default_weights()
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
    """Read, verify and hash a file, all from the same bytes.

    What the file says about itself is checked against its size before memory is taken for it.
    """
    try:
        content = read_bytes(path, MAX_BYTES, 'weights file')
    except InputError as error:
        raise WeightsError(str(error)) from None
    try:
        header = _header(content)
    except ValueError as error:
        raise WeightsError(f'{path}: damaged, or not a safetensors file ({error})') from None
    metadata = header.pop('__metadata__', None)
    if not isinstance(metadata, dict) or metadata.get('format') != FORMAT:
        raise WeightsError(f'{path}: these weights were not made by pumba-train')
    try:
        described = _described(metadata.get('stages'))
        card = checked_card(_object(metadata.get('card'), 'card'))
        calibration = _calibration(metadata)
        _check_tensors(header, described)
        arrays = _arrays(path, content)
        stages = {
            name: _stage(name, config, size, arrays) for name, (config, size) in described.items()
        }
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        if lacks_memory(error):
            raise MemoryError(OUT_OF_MEMORY) from None
        reason = first_line(error)
        raise WeightsError(f'{path}: the weights do not fit together ({reason})') from None
    only = next(iter(stages.values()))
    sha256 = hashlib.sha256(content).hexdigest()
    return Model(stages.get('coarse', only), stages.get('fine', only), card, sha256, calibration)


def _calibration(metadata: Mapping[str, Any]) -> Calibration | None:
    if CALIBRATION not in metadata:
        return None
    return Calibration.from_dict(_object(metadata[CALIBRATION], CALIBRATION))


def _header(content: bytes) -> dict[str, Any]:
    """Header of a safetensors file: a length, and JSON of that length."""
    length = int.from_bytes(content[:8], 'little')
    if len(content) < 8 or length > len(content) - 8:
        raise ValueError('it ends too early')
    if length > MAX_HEADER:
        raise ValueError(f'its header is larger than {MAX_HEADER // MIB} MiB')
    try:
        return parse_json(content[8 : 8 + length].decode('utf-8'))
    except UnicodeDecodeError:
        raise ValueError('its header is no text') from None


def _object(text: Any, name: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise ValueError(f'the entry {name} is missing')
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from None


def _described(text: Any) -> dict[str, tuple[NetworkConfig, int]]:
    """Shape of the network and size of the cube of each stage."""
    stages = _object(text, 'stages')
    if not stages or not set(stages) <= set(STAGES):
        raise ValueError(f'stages {brief(list(stages))} where coarse, fine or both are needed')
    described = {}
    for name, entry in stages.items():
        if not isinstance(entry, dict):
            raise ValueError(f'stage {name} is no object')
        config = NetworkConfig.from_dict(entry.get('network'))
        size = whole(entry.get('size'), MAX_SIZE, 'size')
        if size % config.multiple:
            raise ValueError(f'size {size} is no multiple of {config.multiple}')
        described[name] = config, size
    return described


def checked_card(card: dict[str, Any]) -> dict[str, Any]:
    """Return what weights say of how they were made, when it has the form that is relied on.

    Raises
    ------
    ValueError
    """
    images = card.get('real_images', [])
    if not isinstance(images, list) or not all(isinstance(one, str) for one in images):
        raise ValueError('card: real_images is no list of texts')
    stages = card.setdefault('stages', {})
    if not isinstance(stages, dict) or not set(stages) <= set(STAGES):
        raise ValueError(f'card: stages {brief(stages)} are not those of networks')
    entries = list(stages.values())
    while entries:
        entry = entries.pop()
        if not isinstance(entry, dict):
            raise ValueError('card: what it says of a stage is no object')
        members = entry.get('with', [])
        entries += [entry['before']] if entry.get('before') else []
        entries += members if isinstance(members, list) else [None]
    return card


def _check_tensors(
    header: Mapping[str, Any], described: Mapping[str, tuple[NetworkConfig, int]]
) -> None:
    """Compare names, shapes and types of a file's tensors with those its networks have."""
    needed = {
        f'{name}/{key}': list(shape)
        for name, (config, _) in described.items()
        for key, shape in parameter_shapes(config).items()
    }
    if set(needed) != set(header):
        odd = min(set(needed) ^ set(header))
        raise ValueError(f'{brief(odd)} is {"missing" if odd in needed else "of no network"}')
    for key, entry in header.items():
        if not isinstance(entry, dict) or entry.get('dtype') not in DTYPES:
            raise ValueError(f'{key} is no tensor of the types {", ".join(DTYPES)}')
        if entry.get('shape') != needed[key]:
            raise ValueError(f'{key} has the shape {brief(entry.get("shape"))}, not {needed[key]}')


def _arrays(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    """Arrays of a safetensors file whose header was checked."""
    from safetensors import SafetensorError, deserialize

    try:
        arrays = {name: _array(entry) for name, entry in deserialize(content)}
    except SafetensorError as error:
        raise WeightsError(f'{path}: damaged, or not a safetensors file ({error})') from None
    if not all(bool(np.isfinite(array).all()) for array in arrays.values()):
        raise WeightsError(f'{path}: the weights hold values that are not finite')
    return arrays


def _array(entry: Mapping[str, Any]) -> NDArray[Any]:
    """Values of an entry; numpy has no bfloat16, the first half of the bits of a float32."""
    if entry['dtype'] == 'BF16':
        bits = np.frombuffer(entry['data'], '<u2').astype(np.uint32) << 16
        return bits.view(np.float32).reshape(entry['shape'])
    return np.frombuffer(entry['data'], DTYPES[entry['dtype']]).reshape(entry['shape'])


def _stage(
    name: str, config: NetworkConfig, size: int, arrays: Mapping[str, NDArray[Any]]
) -> Stage:
    prefix = f'{name}/'
    values = {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}
    return Stage(Parameters(config, values), size)


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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f'{name}/{key}': value.detach().cpu().half().contiguous()
        for name, stage in stages.items()
        for key, value in stage.network.state_dict().items()
    }
    described = {
        name: {'network': stage.config.to_dict(), 'size': stage.size}
        for name, stage in stages.items()
    }
    metadata = {
        'format': FORMAT,
        'stages': json.dumps(described, sort_keys=True),
        'card': json.dumps(card, sort_keys=True),
    }
    with atomic_path(path) as partial:
        try:
            save_file(tensors, partial, metadata=metadata)
        except SafetensorError as error:  # which says so of a full disk
            raise OutputError(f'{path}: cannot write this file ({error})') from None
    return hashlib.sha256(path.read_bytes()).hexdigest()


def store_calibration(path: Path, calibration: Calibration) -> str:
    """Write a calibration into a weights file, in place of one it has; the rest stays as it is.

    Parameters
    ----------
    path : Path
    calibration : Calibration

    Returns
    -------
    str
        SHA-256 of the file, another one than before.

    Raises
    ------
    WeightsError
        The file is missing, damaged, or was not made by pumba_pipe.
    OutputError
        It cannot be written.
    """
    _read(path)
    content = read_bytes(path, MAX_BYTES, 'weights file')
    length = int.from_bytes(content[:8], 'little')
    header = _header(content)
    header['__metadata__'][CALIBRATION] = json.dumps(calibration.to_dict(), sort_keys=True)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    changed = len(text).to_bytes(8, 'little') + text + content[8 + length :]
    with atomic_path(path) as partial:
        partial.write_bytes(changed)
    return hashlib.sha256(changed).hexdigest()
