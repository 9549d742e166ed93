"""Steps that the optimizers take."""

import pytest
import torch

from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.training.optimizers import Muon, make_optimizer, orthogonalized


@pytest.mark.parametrize('shape', [(8, 40), (40, 8), (16, 16)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    values = torch.linalg.svdvals(orthogonalized(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.4


def test_a_step_is_as_large_as_adams():
    """Root mean square of 0.2 learning rates, whatever the gradient's size."""
    layer = torch.nn.Conv3d(8, 16, 3, bias=False)
    layer.weight.grad = 1e-3 * torch.randn(layer.weight.shape)
    before = layer.weight.detach().clone()
    Muon(layer, learning_rate=0.01, weight_decay=0.0).step()
    moved = (layer.weight.detach() - before).square().mean().sqrt()
    assert moved == pytest.approx(0.002, rel=0.3)


@pytest.mark.parametrize('name', ['muon', 'adamw'])
def test_every_weight_moves_downhill_and_the_state_can_be_restored(name):
    torch.manual_seed(1)
    network = UNet(NetworkConfig((4, 8)))
    image, target = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16)
    optimizer = make_optimizer(name, network, 0.01, 1e-4)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    losses = []
    for _ in range(12):
        loss = (network(image) - target).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    for old, new in zip(before, network.parameters(), strict=True):
        assert not torch.equal(old, new)

    again = make_optimizer(name, network, 0.01, 1e-4)
    again.load_state_dict(optimizer.state_dict())
    assert len(again.param_groups) == len(optimizer.param_groups)
    first, second = ([*one.state_dict()['state'].values()] for one in (optimizer, again))
    for ours, theirs in zip(first, second, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
