"""What moves the weights: AdamW, or Muon for the convolutions and AdamW for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration that brings all singular values near one (Jordan et al.
# 2024, https://kellerjordan.github.io/posts/muon/).
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS_SCALE = 0.2  # root mean square of an update over the learning rate (Liu et al. 2025, §2.2)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix (rows, columns) near one; float32."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.float().T if tall else matrix.float()
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for the weights that are matrices, AdamW for all others.

    A convolution's weights (out, in, x, y, z) count as a matrix (out, in x y z). Steps of Muon are
    scaled to the size of AdamW's, so one learning rate serves both (Liu et al. 2025, arXiv
    2502.16982, section 2.2). AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) steps as
    ``torch.optim.AdamW`` does.

    Parameters
    ----------
    network : nn.Module
    learning_rate, weight_decay, momentum : float
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        matrices = [p for p in network.parameters() if _is_matrix(p)]
        others = [p for p in network.parameters() if not _is_matrix(p)]
        defaults = {
            'lr': learning_rate,
            'weight_decay': weight_decay,
            'momentum': momentum,
            'betas': (0.9, 0.999),
            'eps': 1e-8,
        }
        groups: list[dict[str, Any]] = [
            {'params': matrices, 'muon': True},
            {'params': others, 'muon': False},
        ]
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step along the gradients that are there."""
        for group in self.param_groups:
            update = self._muon_update if group['muon'] else self._adamw_update
            for weight in group['params']:
                if weight.grad is not None:
                    weight.mul_(1 - group['lr'] * group['weight_decay'])
                    update(weight, weight.grad, group)

    def _muon_update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if 'momentum' not in state:
            state['momentum'] = torch.zeros_like(weight)
        mean = state['momentum'].lerp_(gradient, 1 - group['momentum'])
        ahead = gradient.lerp(mean, group['momentum'])
        flat = ahead.reshape(len(ahead), -1)
        step = orthogonalized(flat) * (RMS_SCALE * max(flat.shape) ** 0.5)
        weight.add_(step.reshape(weight.shape), alpha=-group['lr'])

    def _adamw_update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if 'step' not in state:
            state['step'] = torch.zeros(())
            state['exp_avg'] = torch.zeros_like(weight)
            state['exp_avg_sq'] = torch.zeros_like(weight)
        state['step'] += 1
        (first, second), step = group['betas'], float(state['step'])
        mean = state['exp_avg'].lerp_(gradient, 1 - first)
        square = state['exp_avg_sq'].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = (square.sqrt() / (1 - second**step) ** 0.5).add_(group['eps'])
        weight.addcdiv_(mean, spread, value=-group['lr'] / (1 - first**step))


def _is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter maps several inputs to several outputs."""
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) > 1


def make_optimizer(
    name: str, network: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Make the optimizer called `name`: ``'adamw'`` or ``'muon'``."""
    if name == 'muon':
        return Muon(network, learning_rate, weight_decay)
    return torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
