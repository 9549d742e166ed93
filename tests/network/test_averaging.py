"""Averages of two weights files."""

import copy

import pytest
import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.network.averaging import average_weights
from pumba_pipe.network.weights import default_weights, load_weights, save_weights


@pytest.fixture
def shifted(tmp_path):
    """Write the shipped weights with one number added to each."""
    model = load_weights()
    stages = {'coarse': copy.deepcopy(model.coarse), 'fine': copy.deepcopy(model.fine)}
    for stage in stages.values():
        for value in stage.network.state_dict().values():
            value += 0.5
    path = tmp_path / 'shifted.safetensors'
    save_weights(stages, model.card, path)
    return path


def weights_of(path):
    return torch.cat([v.flatten() for v in load_weights(path).fine.network.state_dict().values()])


def test_the_average_lies_between(shifted, tmp_path):
    out = tmp_path / 'out.safetensors'
    average_weights(default_weights(), shifted, out, 0.25)
    moved = weights_of(out) - weights_of(default_weights())
    assert torch.allclose(moved, torch.tensor(0.125), atol=2e-3)
    card = load_weights(out).card['stages']['fine']
    digest = load_weights().sha256[:8]
    assert card['averaged'] == f'0.25 of this and 0.75 of the weights with sha256 {digest}'


def test_what_cannot_be_averaged_is_refused(shifted, tmp_path):
    out = tmp_path / 'out.safetensors'
    with pytest.raises(InputError, match='share 2'):
        average_weights(default_weights(), shifted, out, 2.0)
    model = load_weights()
    single = tmp_path / 'coarse.safetensors'
    save_weights({'coarse': model.coarse, 'fine': model.coarse}, model.card, single)
    with pytest.raises(InputError, match='other networks'):
        average_weights(default_weights(), single, out, 0.5)
    assert not out.exists()
