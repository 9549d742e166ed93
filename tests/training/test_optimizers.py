"""Steps that the optimizers take."""

import copy

import pytest
import torch

from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.training.optimizers import Muon, _is_matrix, make_optimizer, orthogonalized


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


class FormerMuon(torch.optim.AdamW):
    """The first version: AdamW that was shown its own groups alone. Its checkpoints must load."""

    def __init__(self, network, learning_rate, weight_decay):
        parts = [[p for p in network.parameters() if _is_matrix(p) == wanted] for wanted in (1, 0)]
        groups = [
            {'params': part, 'muon': muon} for part, muon in zip(parts, (True, False), strict=True)
        ]
        super().__init__(groups, lr=learning_rate, weight_decay=weight_decay)
        for group in self.param_groups:
            group['momentum'] = 0.95

    @torch.no_grad()
    def step(self):
        groups = self.param_groups
        for weight in groups[0]['params']:
            state = self.state[weight]
            if 'momentum' not in state:
                state['momentum'] = torch.zeros_like(weight)
                state['step'] = torch.zeros(())
            mean = state['momentum'].lerp_(weight.grad, 1 - 0.95)
            flat = weight.grad.lerp(mean, 0.95).reshape(len(weight), -1)
            step = orthogonalized(flat) * (0.2 * max(flat.shape) ** 0.5)
            weight.mul_(1 - groups[0]['lr'] * groups[0]['weight_decay'])
            weight.add_(step.reshape(weight.shape), alpha=-groups[0]['lr'])
        self.param_groups = groups[1:]
        super().step()
        self.param_groups = groups


def trained(network, optimizer, steps):
    image, target = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16)
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = 0.01 / (1 + step)
        optimizer.zero_grad()
        (network(image) - target).square().mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_a_checkpoint_of_the_former_optimizer_goes_on_with_the_same_steps():
    torch.manual_seed(1)
    first = UNet(NetworkConfig((4, 8)))
    former = FormerMuon(first, 0.01, 1e-2)
    trained(first, former, 4)
    second = copy.deepcopy(first)
    present = Muon(second, 0.01, 1e-2)
    present.load_state_dict(copy.deepcopy(former.state_dict()))
    results = []
    for network, optimizer in ((first, former), (second, present)):
        torch.manual_seed(2)
        results.append(trained(network, optimizer, 5))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)
    fresh = Muon(second, 0.01, 1e-2)
    trained(second, fresh, 1)
    state, known = fresh.state_dict()['state'], former.state_dict()['state']
    assert state.keys() == known.keys()
    assert all(set(state[index]) <= set(known[index]) for index in state)


def test_a_weight_without_a_gradient_stays():
    network = UNet(NetworkConfig((4, 8)))
    optimizer = Muon(network, 0.01, 0.1)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer.step()
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, new)
