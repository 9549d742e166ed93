"""Several networks for the fine pass, whose answers are averaged."""

import pytest
import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.network.committee import join_weights
from pumba_pipe.network.model_card import markdown
from pumba_pipe.network.unet import Committee, NetworkConfig, UNet, members
from pumba_pipe.network.weights import Stage, load_weights, save_weights
from pumba_pipe.training.loop import initialize

CONFIG = NetworkConfig((4, 8))


@pytest.fixture
def pair(tmp_path):
    """Two weights files with small networks, and those networks."""
    made = []
    for seed in (1, 2):
        network = UNet(CONFIG)
        initialize(network, seed)
        entry = {'samples': seed, 'recipe': f'recipe-{seed}', 'seed': seed}
        card = {'recipe': 'r', 'stages': {'coarse': entry, 'fine': entry}}
        path = tmp_path / f'{seed}.safetensors'
        save_weights({'coarse': Stage(network, 16), 'fine': Stage(network, 16)}, card, path)
        made.append((path, load_weights(path).fine.network))
    return made


def test_the_answer_is_the_mean_of_the_members(pair, tmp_path):
    (first, one), (second, other) = pair
    out = tmp_path / 'out.safetensors'
    join_weights([first, second], out)
    model = load_weights(out)
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = (one(image) + other(image)) / 2
        assert torch.allclose(model.fine.network(image), expected, atol=1e-5)
        assert torch.allclose(model.coarse.network(image), one(image), atol=1e-5)
    assert not torch.allclose(one(image), other(image), atol=0.1)
    entry = model.card['stages']['fine']
    assert entry['samples'] == 1
    assert [member['samples'] for member in entry['with']] == [2]


def test_what_cannot_be_joined_is_refused(pair, tmp_path):
    (first, network), (second, _) = pair
    with pytest.raises(InputError, match='needs a size'):
        join_weights([first], tmp_path / 'no.safetensors')
    larger = tmp_path / 'larger.safetensors'
    card = load_weights(first).card
    save_weights({'fine': Stage(network, 24)}, card, larger)
    with pytest.raises(InputError, match='another shape'):
        join_weights([first, larger], tmp_path / 'no.safetensors')
    with pytest.raises(InputError, match='multiple of 4'):
        join_weights([first, second], tmp_path / 'no.safetensors', 18)
    assert not (tmp_path / 'no.safetensors').exists()


def test_the_fine_pass_of_a_committee_may_have_another_size(pair, tmp_path):
    (first, _), (second, other) = pair
    larger, out = tmp_path / 'larger.safetensors', tmp_path / 'out.safetensors'
    save_weights({'fine': Stage(other, 24)}, load_weights(second).card, larger)
    join_weights([first, larger], out, 32)
    model = load_weights(out)
    assert (model.coarse.size, model.fine.size) == (16, 32)
    assert len(model.fine.network.members) == 2
    assert model.card['stages']['fine']['used_at'] == 32


def test_a_committee_of_one_is_a_network():
    from pumba_pipe.network.unet import build

    assert isinstance(build(CONFIG), UNet)
    committee = build(NetworkConfig((4, 8), others=((4, 8),)))
    assert isinstance(committee, Committee)
    assert NetworkConfig.from_dict(committee.config.to_dict()) == committee.config
    counted = {'widths': [4, 8], 'stem': 2, 'members': 2, 'borders': 2}
    assert NetworkConfig.from_dict(counted) == committee.config


def test_networks_of_unequal_width_and_depth(pair, tmp_path):
    (first, one), _ = pair
    config = NetworkConfig((6, 8, 10))
    other = UNet(config)
    initialize(other, 3)
    deep, out = tmp_path / 'deep.safetensors', tmp_path / 'out.safetensors'
    save_weights({'fine': Stage(other, 16)}, load_weights(first).card, deep)
    join_weights([first, deep], out)
    model, other = load_weights(out), load_weights(deep).fine.network
    assert model.fine.network.config.multiple == 8
    assert [member.config.widths for member in members(model.fine.network)] == [(4, 8), (6, 8, 10)]
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = (one(image) + other(image)) / 2
        assert torch.allclose(model.fine.network(image), expected, atol=1e-5)
    with pytest.raises(InputError, match='multiple of 8'):
        join_weights([first, deep], tmp_path / 'no.safetensors', 12)
    assert NetworkConfig.from_dict(model.fine.network.config.to_dict()).others == ((6, 8, 10),)


def test_a_file_may_hold_a_committee_already(pair, tmp_path):
    (first, one), (second, other) = pair
    both, out = tmp_path / 'both.safetensors', tmp_path / 'out.safetensors'
    join_weights([first, second], both)
    join_weights([both, first], out)
    model = load_weights(out)
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = (2 * one(image) + other(image)) / 3
        assert torch.allclose(model.fine.network(image), expected, atol=1e-5)
    entry = model.card['stages']['fine']
    assert [entry['samples'], *(member['samples'] for member in entry['with'])] == [1, 2, 1]


def test_borders_are_moved_in_all_networks(pair, tmp_path):
    (first, one), (second, other) = pair
    out = tmp_path / 'out.safetensors'
    join_weights([first, second], out, move=(-0.25, -0.5))
    model = load_weights(out)
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before, after = (one(image) + other(image)) / 2, model.fine.network(image)
        assert torch.allclose(model.coarse.network(image), one(image), atol=1e-5)
    assert torch.allclose(after[:, 0], before[:, 0] - 0.25, atol=2e-3)
    assert torch.allclose(after[:, 1], before[:, 1] - 0.5, atol=2e-3)
    card = model.card['stages']['fine']
    assert card['borders_moved'] == [-0.25, -0.5]
    full = load_weights().card
    full = {**full, 'stages': {'fine': full['stages']['fine'] | {'borders_moved': [-0.3, 1.5]}}}
    (row,) = [row for row in markdown(full, '', 1, []).splitlines() if row.startswith('| fine |')]
    assert 'borders moved by logits of -0.3 (wide), 1.5 (tight)' in row


def test_one_network_at_another_size(pair, tmp_path):
    (first, one), _ = pair
    out = tmp_path / 'out.safetensors'
    join_weights([first], out, 32)
    model = load_weights(out)
    assert model.fine.size == 32 and isinstance(model.fine.network, UNet)
    assert model.card['stages']['fine']['used_at'] == 32
    for mine, theirs in zip(model.fine.network.parameters(), one.parameters(), strict=True):
        assert torch.equal(mine, theirs)
