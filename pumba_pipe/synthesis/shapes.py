"""Implicit surfaces: negative inside, positive outside, about a distance near the surface."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: `centre` and `semi_axes` of shape (3,), `turn` of shape (3, 3) or None."""

    centre: Tensor
    semi_axes: Tensor
    turn: Tensor | None = None

    def surface(self, points: Tensor) -> Tensor:
        """Approximate distance of `points` (3, ...) to the surface, shape (...)."""
        local = shifted(points, self.centre)
        if self.turn is not None:
            local = rotated(local, self.turn)
        axes = as_column(self.semi_axes, points)
        scaled = (local / axes).square().sum(0).sqrt()
        gradient = (local / axes.square()).square().sum(0).sqrt()
        return scaled * (scaled - 1) / gradient.clamp_min(1e-6)


@dataclass(frozen=True)
class Ball:
    """A ball that is joined to, or cut from, another shape over the length `blend`."""

    centre: Tensor
    radius: float
    blend: float = 0.0

    def surface(self, points: Tensor) -> Tensor:
        """Distance of `points` (3, ...) to the surface, shape (...)."""
        return shifted(points, self.centre).square().sum(0).sqrt() - self.radius


@dataclass(frozen=True)
class Plane:
    """The half space on the near side of a plane `offset` away from the origin."""

    normal: Tensor
    offset: float

    def surface(self, points: Tensor) -> Tensor:
        """Signed distance of `points` (3, ...) to the plane, shape (...)."""
        return torch.tensordot(self.normal.to(points), points, dims=1) - self.offset


@dataclass(frozen=True)
class Tube:
    """A straight tube from `start` towards `direction`, `length` long, with a round end."""

    start: Tensor
    direction: Tensor
    length: float
    radius: float

    def surface(self, points: Tensor) -> Tensor:
        """Distance of `points` (3, ...) to the tube's wall, shape (...)."""
        local = shifted(points, self.start)
        axis = self.direction.to(points)
        along = torch.tensordot(axis, local, dims=1).clamp(0, self.length)
        return (local - as_column(axis, points) * along).square().sum(0).sqrt() - self.radius


def as_column(vector: Tensor, points: Tensor) -> Tensor:
    """Reshape a (3,) vector so that it broadcasts over `points` (3, ...)."""
    return vector.to(points).reshape(3, *[1] * (points.ndim - 1))


def shifted(points: Tensor, centre: Tensor) -> Tensor:
    """Coordinates relative to `centre`."""
    return points - as_column(centre, points)


def rotated(points: Tensor, turn: Tensor) -> Tensor:
    """Apply a (3, 3) matrix to `points` (3, ...)."""
    return torch.tensordot(turn.to(points), points, dims=1)


def smooth_minimum(first: Tensor, second: Tensor, blend: float) -> Tensor:
    """Join two shapes; the crease between them is filled over the length `blend`."""
    if blend <= 0:
        return torch.minimum(first, second)
    weight = (0.5 + 0.5 * (second - first) / blend).clamp(0, 1)
    return torch.lerp(second, first, weight) - blend * weight * (1 - weight)


def smooth_maximum(first: Tensor, second: Tensor, blend: float) -> Tensor:
    """Keep what lies in both shapes, with an edge rounded over the length `blend`."""
    return -smooth_minimum(-first, -second, blend)
