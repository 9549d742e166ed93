"""Smooth random fields on a regular grid, by separable cubic B-splines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pumba_pipe.images.resampling import apply_separable, spline_matrix
from pumba_pipe.synthesis.draw import new_seed, seeded


@dataclass(frozen=True)
class Noise:
    """A smooth field of unit variance: what was drawn, not yet evaluated.

    Attributes
    ----------
    cell : float
        Distance between two knots, in the unit of the coordinates it is evaluated on.
    amplitude : float
        Standard deviation of the field.
    seed : int
        Seed of the knots.
    """

    cell: float
    amplitude: float
    seed: int


def draw_noise(rng: torch.Generator, cell: float, amplitude: float = 1.0) -> Noise:
    """Draw a noise field with the given cell size and amplitude."""
    return Noise(cell, amplitude, new_seed(rng))


def evaluate_noise(noise: Noise, axes: Sequence[Tensor], channels: int = 1) -> Tensor:
    """Evaluate a noise field on the grid spanned by three coordinate vectors.

    Parameters
    ----------
    noise : Noise
    axes : three tensors, shapes (a,), (b,), (c,)
        Coordinates along each axis, in the unit of ``noise.cell``.
    channels : int
        Number of independent fields.

    Returns
    -------
    Tensor, shape (channels, a, b, c)
        Zero mean, standard deviation ``noise.amplitude`` (over draws).
    """
    matrices = [spline_matrix(axis, noise.cell) for axis in axes]
    size = (channels, *(matrix.shape[1] for matrix in matrices))
    knots = torch.randn(size, generator=seeded(noise.seed)).to(axes[0].device)
    field = apply_separable(knots, matrices)
    # A B-spline averages its knots: the variance of its weights, over a cell, is 151/315 an axis.
    return field * (noise.amplitude / (151 / 315) ** 1.5)


def white_noise(seed: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Independent standard normal values, made on `device`."""
    return torch.randn(tuple(shape), generator=seeded(seed, device), device=device)
