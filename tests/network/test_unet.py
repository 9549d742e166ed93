"""The network: shapes, and the file's description of it."""

import pytest
import torch

from pumba_pipe.network.unet import (
    Committee,
    NetworkConfig,
    UNet,
    build,
    depth_to_space,
    members,
    space_to_depth,
)

TINY = NetworkConfig((4, 8), 2)


def test_space_to_depth_is_undone():
    volume = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    folded = space_to_depth(volume, 2)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(depth_to_space(folded, 2), volume)


def test_network_keeps_shape_and_names_its_multiple():
    network = UNet(TINY)
    assert network.config.multiple == 4
    assert network(torch.zeros(1, 1, 8, 12, 16)).shape == (1, 2, 8, 12, 16)
    assert NetworkConfig.from_dict(network.config.to_dict()) == TINY


def test_the_networks_of_a_description_are_built():
    config = NetworkConfig((4, 8), 2, others=((8, 16, 16),))
    network = build(config)
    assert isinstance(network, Committee)
    assert [one.config.widths for one in members(network)] == [(4, 8), (8, 16, 16)]
    assert config.multiple == 8
    assert members(build(TINY))[0].config == TINY


@pytest.mark.parametrize('borders', [{}, {'borders': 1}])
def test_a_network_of_one_border_is_refused(borders):
    with pytest.raises(ValueError, match='one border'):
        NetworkConfig.from_dict({'widths': [4, 8], 'stem': 2, **borders})
