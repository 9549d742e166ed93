"""Weights files made to do harm: one line, and no memory taken for what they only claim."""

import json
import struct
import sys
import time
from pathlib import Path

import pytest
import torch

from pumba_pipe.commands.weights import main
from pumba_pipe.common.errors import WeightsError
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import (
    FORMAT,
    Stage,
    load_weights,
    save_weights,
    store_calibration,
)

TINY = NetworkConfig((4, 8), 2)
RLIMIT_BYTES = 2**30


@pytest.fixture
def crafted(tmp_path):
    """A function that writes sound weights and then changes what they say of themselves."""

    def write(
        network=None, stage=None, stages=None, card=None, header=None, raw=None, calibration=None
    ):
        path = tmp_path / 'crafted.safetensors'
        torch.manual_seed(1)
        save_weights({'coarse': Stage(UNet(TINY), 16)}, {'stages': {}}, path)
        content = path.read_bytes()
        length = int.from_bytes(content[:8], 'little')
        found = json.loads(content[8 : 8 + length])
        metadata = found['__metadata__']
        described = json.loads(metadata['stages'])
        described['coarse']['network'].update(network or {})
        described['coarse'].update(stage or {})
        metadata['stages'] = json.dumps(described) if stages is None else stages
        metadata['card'] = metadata['card'] if card is None else card
        if calibration is not None:
            metadata['calibration'] = calibration
        if header is not None:
            header(found)
        text = json.dumps(found).encode() if raw is None else raw
        path.write_bytes(struct.pack('<Q', len(text)) + text + content[8 + length :])
        return path

    return write


HUGE = {
    'a wide network': {'network': {'widths': [4096, 4096, 4096]}},
    'a wider one': {'network': {'widths': [10**9, 10**9]}},
    'many levels': {'network': {'widths': [4] * 10_000}},
    'many networks': {'network': {'others': [[4, 8]] * 100_000}},
    'many borders': {'network': {'borders': 10**9}},
    'a large stem': {'network': {'stem': 10**6}},
    'a large cube': {'stage': {'size': 2**40}},
}
ODD = {
    'negative widths': {'network': {'widths': [-4, 8]}},
    'no widths': {'network': {'widths': []}},
    'widths of text': {'network': {'widths': '48'}},
    'fractions': {'network': {'widths': [4.5, 8]}},
    'a truth value': {'network': {'stem': True}},
    'no stem': {'network': {'stem': None}},
    'a negative cube': {'stage': {'size': -16}},
    'a cube of text': {'stage': {'size': '16'}},
    'a cube that does not fit': {'stage': {'size': 17}},
    'a network that is a list': {'stage': {'network': []}},
    'stages as a list': {'stages': '[1]'},
    'no stages': {'stages': '{}'},
    'an unknown stage': {'stages': '{"other": {}}'},
    'a stage that is a number': {'stages': '{"coarse": 3}'},
    'deep stages': {'stages': '[' * 100_000},
    'stages that are no JSON': {'stages': '{'},
    'a card as a list': {'card': '[]'},
    'a deep card': {'card': '{"a":' * 50_000 + '1' + '}' * 50_000},
    'a card of NaN': {'card': '{"stages": {}, "seed": NaN}'},
    'images as a number': {'card': '{"real_images": 3}'},
    'a card with odd stages': {'card': '{"stages": {"fine": [1]}}'},
    'a card of stages unknown': {'card': '{"stages": {"__class__": {}}}'},
    'an odd history': {'card': '{"stages": {"fine": {"before": 7}}}'},
    'another shape': {'network': {'widths': [4, 16]}},
    'another stem': {'network': {'stem': 4}, 'stage': {'size': 16}},
    'tensors that are missing': {'header': lambda found: found.pop('coarse/head.bias')},
    'a tensor that is a number': {'header': lambda found: found.update({'coarse/head.bias': 3})},
    'a tensor too many': {
        'header': lambda found: found.update(
            more={'dtype': 'F16', 'shape': [0], 'data_offsets': [0, 0]}
        )
    },
    'another type': {'header': lambda found: found['coarse/head.bias'].update(dtype='F8_E4M3')},
    'a shape of more than there is': {
        'header': lambda found: found['coarse/head.bias'].update(shape=[10**9])
    },
    'a negative shape': {'header': lambda found: found['coarse/head.bias'].update(shape=[-16])},
    'places outside the file': {
        'header': lambda found: found['coarse/head.bias'].update(data_offsets=[0, 2**62])
    },
    'metadata as a list': {'header': lambda found: found.update(__metadata__=[])},
    'metadata of numbers': {
        'header': lambda found: found.update(__metadata__={'format': FORMAT, 'stages': 3})
    },
    'a header that is a list': {'raw': b'[]'},
    'a header that is no text': {'raw': b'\xff\xfe'},
    'an empty header': {'raw': b''},
}


@pytest.mark.parametrize('changes', [*HUGE.values(), *ODD.values()], ids=[*HUGE, *ODD])
def test_each_is_one_line_at_once(crafted, changes):
    path = crafted(**changes)
    started = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert message.startswith(f'{path}: ')
    assert len(message) < len(str(path)) + 400
    assert '\n' not in message


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux how much memory is used')
@pytest.mark.parametrize('changes', HUGE.values(), ids=HUGE)
def test_no_memory_is_taken_for_what_a_file_claims(crafted, changes):
    resource = pytest.importorskip('resource')
    path = crafted(**changes)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    lines = Path('/proc/self/status').read_text().splitlines()
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmData'))
    resource.setrlimit(resource.RLIMIT_DATA, (used + RLIMIT_BYTES, before[1]))
    try:
        with pytest.raises(WeightsError):
            load_weights(path)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


NUMBERS = {
    'a bias of NaN': ('dice', {'bias': float('nan')}),
    'a bias of text': ('dice', {'bias': '1'}),
    'a huge bias': ('dice', {'bias': 1e7}),
    'no bias': ('dice', {'bias': None}),
    'a truth value as limit': ('brain', {'limit': True}),
    'too few weights': ('dice', {'weight': [1.0]}),
    'many weights': ('dice', {'weight': [1.0] * 100_000}),
    'weights below zero': ('brain', {'above': [-1.0] * 8}),
    'a spread of zero': ('dice', {'sd': [0.0] * 4}),
    'knots that fall': ('dice', {'spread_at': [3.0, 1.0]}),
    'knots without spreads': ('dice', {'spread': [1.0]}),
    'no knots': ('dice', {'spread_at': [], 'spread': []}),
    'a range upside down': ('dice', {'least': [9.0] * 4}),
    'an interval without its middle': ('dice', {'residuals': [1.0, 2.0]}),
    'a limit above one': ('dice', {'flag_below': 1.5}),
}
TEXTS = {
    'a list': '[1]',
    'nothing': '{}',
    'no text': 3,
    'a deep object': '{"dice":' * 50_000 + '1' + '}' * 50_000,
}


@pytest.mark.parametrize(('part', 'changes'), NUMBERS.values(), ids=NUMBERS)
def test_a_calibration_of_odd_numbers_is_one_line(crafted, calibration, part, changes):
    content = calibration().to_dict()
    content[part].update(changes)
    with pytest.raises(WeightsError, match=r'crafted\.safetensors: ') as caught:
        load_weights(crafted(calibration=json.dumps(content)))
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize('text', TEXTS.values(), ids=TEXTS)
def test_what_is_no_calibration_is_one_line(crafted, text):
    with pytest.raises(WeightsError, match=r'crafted\.safetensors: ') as caught:
        load_weights(crafted(calibration=text))
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 400


def test_unknown_parts_of_a_calibration_are_refused(crafted, calibration):
    for changes in ({'more': 1}, {'origin': 'here'}, {'brain': []}):
        text = json.dumps(calibration().to_dict() | changes)
        with pytest.raises(WeightsError, match='calibration: '):
            load_weights(crafted(calibration=text))


def test_a_calibration_changes_nothing_else(crafted, calibration):
    path = crafted()
    before = load_weights(path)
    assert before.calibration is None
    made = calibration()
    sha256 = store_calibration(path, made)
    after = load_weights(path)
    assert after.calibration == made
    assert sha256 == after.sha256 != before.sha256
    assert after.card == before.card
    for name, values in before.coarse.parameters.values.items():
        assert (after.coarse.parameters.values[name] == values).all()
    # another in its place, and none in weights that were saved anew
    store_calibration(path, calibration(bias=3.0))
    assert load_weights(path).calibration.dice.bias == 3.0
    save_weights({'coarse': after.coarse}, after.card, path)
    assert load_weights(path).calibration is None


def test_what_is_no_weights_file_is_not_calibrated(tmp_path, calibration):
    path = tmp_path / 'a.safetensors'
    with pytest.raises(WeightsError, match=r'a\.safetensors'):
        store_calibration(path, calibration())
    path.write_bytes(b'nothing')
    with pytest.raises(WeightsError):
        store_calibration(path, calibration())
    assert path.read_bytes() == b'nothing'


@pytest.mark.parametrize('length', [0, 1, 2**20, 2**31, 2**63 - 1, 2**64 - 1])
def test_a_header_of_any_claimed_length(tmp_path, length):
    path = tmp_path / 'crafted.safetensors'
    path.write_bytes(struct.pack('<Q', length) + b'{}')
    with pytest.raises(WeightsError, match=r'crafted\.safetensors: '):
        load_weights(path)


def test_a_file_without_end(tmp_path):
    path = tmp_path / 'huge.safetensors'
    with path.open('wb') as file:
        file.write(struct.pack('<Q', 100))
        file.truncate(2**41)
    started = time.monotonic()
    with pytest.raises(WeightsError, match='larger than'):
        load_weights(path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    'card',
    [
        '{}',
        '{"stages": {}}',
        '{"stages": {"coarse": {}}}',
        '{"stages": {"coarse": {"size": "a"}}}',
    ],
)
def test_a_card_that_says_little_is_one_line_in_each_command(crafted, tmp_path, capsys, card):
    path = crafted(card=card)
    scores = tmp_path / 'scores.tsv'
    scores.write_text('case\tspecies\tmodality\tdice\thd95_mm\na\thuman\tT1w\t0.9\t1\n')
    assert main(['info', str(path)]) == 0
    for words in (
        ['card', path, scores, tmp_path / 'card.md'],
        ['average', path, path, tmp_path / 'mean.safetensors', '0.5'],
    ):
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr().err
        assert code in (0, 1)
        assert printed.count('\n') == code
