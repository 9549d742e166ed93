"""What moves the weights: AdamW, or Muon for the convolutions and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
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


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``muon=True`` take orthogonalized momentum steps instead.

    A convolution's weights (out, in, x, y, z) count as a matrix (out, in x y z). Steps are scaled
    to the size of AdamW's, so one learning rate serves both (Liu et al. 2025, arXiv 2502.16982,
    section 2.2).

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
        super().__init__(
            [{'params': matrices, 'muon': True}, {'params': others, 'muon': False}],
            lr=learning_rate,
            weight_decay=weight_decay,
        )
        for group in self.param_groups:
            group['momentum'] = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; see ``torch.optim.Optimizer.step``."""
        groups = self.param_groups
        for group in groups:
            if group['muon']:
                for weight in group['params']:
                    if weight.grad is not None:
                        self._muon_update(weight, weight.grad, group)
        self.param_groups = [group for group in groups if not group['muon']]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _muon_update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if 'momentum' not in state:
            state['momentum'] = torch.zeros_like(weight)
            state['step'] = torch.zeros(())  # unused; AdamW asks for it when a state is loaded
        mean = state['momentum'].lerp_(gradient, 1 - group['momentum'])
        ahead = gradient.lerp(mean, group['momentum'])
        flat = ahead.reshape(len(ahead), -1)
        step = orthogonalized(flat) * (RMS_SCALE * max(flat.shape) ** 0.5)
        weight.mul_(1 - group['lr'] * group['weight_decay'])
        weight.add_(step.reshape(weight.shape), alpha=-group['lr'])


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
