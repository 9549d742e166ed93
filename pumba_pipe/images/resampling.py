"""Resampling along one axis at a time in torch: matrices of weights, and their use on volumes.

All grids that are resampled here share their axes, so each axis has one small matrix. They are
part of the synthesis of training heads, in float32 and on its device, where a change in the last
digit would change every head that a seed stands for. What stands between an image's own voxels
and the network's cube is in `pumba_pipe.images.filters` and `pumba_pipe.images.grids`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def zoom_matrix(size: int, target: int, zoom: float, shift: float, device: torch.device) -> Tensor:
    """Weights, shape (target, size), of a row of voxels seen through a zoomed window.

    A triangle filter as wide as the coarser of both grids; outside the row there is nothing. Not
    `filter_matrix`: a row that is half outside keeps the half of its weight.
    """
    step = size / (target * zoom)
    centre = (torch.arange(target, device=device) - (target - 1) / 2) * step
    centre = centre + (size - 1) / 2 + shift * size
    width = max(1.0, step)
    distance = (torch.arange(size, device=device)[None] - centre[:, None]).abs() / width
    weights = (1 - distance).clamp_min(0)
    return weights / weights.sum(1, keepdim=True).clamp_min(0.5)


def slice_profile(size: int, count: int, blur: float, device: torch.device) -> Tensor:
    """Weights, shape (count, size), of fine voxels in `count` acquired ones, rows sum to one.

    The profile is a Gaussian as wide as a box of one acquired voxel blurred by `blur` of it.
    """
    step = size / count
    centre = (torch.arange(count, device=device) + 0.5) * step - 0.5
    sigma = math.hypot(blur * step, step / math.sqrt(12) if step > 1.2 else 0.0)
    distance = torch.arange(size, device=device)[None] - centre[:, None]
    weights = torch.exp(-0.5 * (distance / max(sigma, 0.15)).square())
    return weights / weights.sum(1, keepdim=True)


def linear_matrix(count: int, size: int, device: torch.device) -> Tensor:
    """Linear interpolation of `count` samples at `size` places, shape (size, count).

    Beyond the outermost samples their values go on.
    """
    position = (torch.arange(size, device=device) + 0.5) * (count / size) - 0.5
    position = position.clamp(0, count - 1)
    knots = torch.arange(count, device=device)
    return (1 - (position[:, None] - knots[None]).abs()).clamp_min(0)


def spline_matrix(coordinates: Tensor, cell: float) -> Tensor:
    """Cubic B-spline weights of every coordinate on a row of knots.

    Parameters
    ----------
    coordinates : Tensor, shape (n,)
        Positions.
    cell : float
        Knot spacing in the same unit.

    Returns
    -------
    Tensor, shape (n, knots)
        Rows sum to one.
    """
    position = (coordinates - coordinates.min()) / cell
    knots = math.ceil(float(position.max())) + 3
    distance = (position[:, None] - torch.arange(knots, device=coordinates.device) + 1).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def apply_separable(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply one matrix along each of the three last axes, the last axis first.

    Parameters
    ----------
    volume : Tensor, shape (..., a, b, c)
    matrices : three tensors, shapes (x, a), (y, b), (z, c)

    Returns
    -------
    Tensor, shape (..., x, y, z)
    """
    first, second, third = matrices
    volume = volume @ third.T
    volume = second @ volume
    shape = volume.shape
    flat = volume.reshape(*shape[:-3], shape[-3], shape[-2] * shape[-1])
    return (first @ flat).reshape(*shape[:-3], first.shape[0], shape[-2], shape[-1])


def apply_shrinking_first(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply one matrix along each axis, the one that shrinks the volume most first.

    The same as `apply_separable` but for rounding, and much less work where an image of many
    voxels goes into a small cube. Neither takes the other's place: its rounding is part of every
    fine-tuning, that of `apply_separable` of every training head.

    Parameters
    ----------
    volume : Tensor, shape (a, b, c)
    matrices : three tensors, shapes (x, a), (y, b), (z, c)

    Returns
    -------
    Tensor, shape (x, y, z)
    """
    ratios = [matrix.shape[0] / max(1, matrix.shape[1]) for matrix in matrices]
    for axis in sorted(range(3), key=lambda axis: ratios[axis]):
        volume = torch.tensordot(matrices[axis], volume, dims=([1], [axis])).movedim(0, axis)
    return volume.contiguous()
