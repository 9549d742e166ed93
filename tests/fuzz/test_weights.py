"""Any description in a weights file: a network, or one error."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pumba_pipe.common.errors import WeightsError
from pumba_pipe.network.model_card import describe
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import Stage, load_weights, save_weights

odd = st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats() | st.text(max_size=5)
odd |= st.lists(st.integers(-2, 10**6) | st.lists(st.integers(1, 64), max_size=3), max_size=5)
odd |= st.dictionaries(st.sampled_from(['network', 'size', 'widths', 'stages', 'before']), odd)
PLACES = {
    'stages': [(), ('coarse',), ('coarse', 'size'), ('coarse', 'network'),
               ('coarse', 'network', 'widths'), ('coarse', 'network', 'stem'),
               ('coarse', 'network', 'others'), ('coarse', 'network', 'borders'), ('fine',)],
    'card': [(), ('stages',), ('stages', 'coarse'), ('stages', 'coarse', 'with'),
             ('stages', 'coarse', 'before'), ('real_images',), ('recipe',)],
}  # fmt: skip
changes = st.one_of(
    *(st.tuples(st.just(part), st.sampled_from(places), odd) for part, places in PLACES.items())
)


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'w.safetensors'
    torch.manual_seed(1)
    card = {'stages': {'coarse': {'size': 16}}, 'recipe': 'default'}
    save_weights({'coarse': Stage(UNet(NetworkConfig((4, 8), 2)), 16)}, card, path)
    return path.read_bytes()


def changed(content, place, value):
    """A nested object with another value at a place."""
    if not place:
        return value
    inner = content if isinstance(content, dict) else {}
    return inner | {place[0]: changed(inner.get(place[0]), place[1:], value)}


@given(edits=st.lists(changes, min_size=1, max_size=3), noise=st.none() | st.integers(0, 2000))
@settings(max_examples=150)
def test_any_description(base, tmp_path_factory, within, edits, noise):
    length = int.from_bytes(base[:8], 'little')
    header = json.loads(base[8 : 8 + length])
    for part, place, value in edits:
        content = json.loads(header['__metadata__'][part])
        header['__metadata__'][part] = json.dumps(changed(content, place, value))
    text = json.dumps(header).encode()
    content = bytearray(struct.pack('<Q', len(text)) + text + base[8 + length :])
    if noise is not None:
        content[noise % len(content)] ^= 0x55
    path = tmp_path_factory.getbasetemp() / 'fuzzed.safetensors'
    path.write_bytes(content)
    with within():
        try:
            load_weights(path)
            describe(path)
        except WeightsError as error:
            assert str(error).startswith(str(path))
