"""The network: shapes, and the file's description of it."""

import pytest
import torch

from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, WITHOUT_CSF, NetworkConfig
from pumba_pipe.network.unet import (
    UNet,
    depth_to_space,
    nested,
    space_to_depth,
    with_borders_of,
    with_intracranial_space,
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
    assert network(torch.zeros(1, 1, 8, 12, 16)).shape == (1, 3, 8, 12, 16)
    assert NetworkConfig.from_dict(network.config.to_dict()) == TINY


def test_each_border_lies_within_the_next():
    torch.manual_seed(0)
    network = UNet(TINY)
    network.head.weight.data *= 20
    logits = network(torch.rand(1, 1, 16, 16, 16))[0]
    without, brain, cavity = (logits[i] for i in (WITHOUT_CSF, WITH_CSF, INTRACRANIAL))
    assert (without <= brain).all() and (brain <= cavity).all()
    assert (without < brain).any() and (brain < cavity).any(), 'they are not all the same'


def test_what_is_nested_already_stays():
    logits = torch.tensor([1.0, -1.0, 2.0]).reshape(1, 3, 1, 1, 1)
    assert torch.equal(nested(logits, 3), logits)
    assert torch.equal(nested(logits[:, :2], 2), logits[:, :2])


def test_a_network_of_two_borders_learns_the_third_from_the_wider_one():
    network = UNet(NetworkConfig((4, 8), 2, borders=2))
    wider = with_intracranial_space(network)
    image = torch.rand(1, 1, 16, 16, 16)
    before, after = network(image), wider(image)
    torch.testing.assert_close(after[:, :2], before)
    torch.testing.assert_close(after[:, INTRACRANIAL], before[:, WITH_CSF])
    assert with_intracranial_space(wider) is wider
    back = with_borders_of(network, wider)
    torch.testing.assert_close(back(image), before)
    assert with_borders_of(wider, network) is network


@pytest.mark.parametrize('several', [{'others': [[4, 8]]}, {'members': 2}])
def test_several_networks_in_one_file_are_refused(several):
    with pytest.raises(ValueError, match='several networks'):
        NetworkConfig.from_dict({'widths': [4, 8], 'stem': 2, 'borders': 2, **several})


@pytest.mark.parametrize('borders', [{}, {'borders': 1}])
def test_a_network_of_one_border_is_refused(borders):
    with pytest.raises(ValueError, match='one border'):
        NetworkConfig.from_dict({'widths': [4, 8], 'stem': 2, **borders})
