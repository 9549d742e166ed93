"""The synthesis of Park et al. 2025 (arXiv 2505.07159): ellipsoids, shells, one deformation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pumba_pipe.images.resampling import apply_separable, spline_matrix
from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.noise import white_noise
from pumba_pipe.synthesis.recipe import Recipe, Section
from pumba_pipe.synthesis.shapes import Ball, Ellipsoid, rotated

PUBLISHED_SIZE = 128
# Region codes of this generator, 8 parts each; those of `regions` mean other things.
SHELL, EXTRA, CORE, BOUNDARY = 8, 16, 32, 40


@dataclass(frozen=True)
class PaperHead:
    """What is drawn for one head; lengths in voxels of a 128^3 grid."""

    outer: Ellipsoid
    brain: Ellipsoid
    extras: list[Ellipsoid]
    holes: list[Ball]
    boundary: float
    turn: Tensor
    flips: tuple[bool, bool, bool]
    shift: Tensor
    velocity: float
    knots: int
    squarings: int
    seed: int


@dataclass(frozen=True)
class PaperContrast:
    """Mean and standard deviation of every region, shape (64,), and the noise's seed."""

    means: Tensor
    spreads: Tensor
    seed: int


def draw_head(recipe: Recipe, rng: torch.Generator) -> PaperHead:
    """Draw one head of the published recipe."""
    section = recipe['shape']
    outer = torch.tensor([section.uniform('outer_axis', rng) for _ in range(3)])
    shell = section.uniform('shell', rng)
    shrink = torch.tensor([section.uniform(f'shrink_{a}', rng) for a in ('xy', 'xy', 'z')])
    roll = torch.tensor([section.uniform('outer_roll', rng) for _ in range(3)])
    angle = section.uniform('turn_degrees', rng)
    brain = (outer - shell - shrink) / 2
    return PaperHead(
        outer=Ellipsoid(roll, outer / 2),
        brain=Ellipsoid(torch.zeros(3), brain),
        extras=_draw_extras(section, rng, brain + shell / 2),
        holes=_draw_holes(section, rng, outer / 2),
        boundary=section.uniform('boundary', rng),
        turn=_turn(draw.direction(rng), angle),
        flips=(draw.chance(rng, 0.5), draw.chance(rng, 0.5), draw.chance(rng, 0.5)),
        shift=torch.tensor([section.uniform('shift', rng) for _ in range(3)]),
        velocity=section.uniform('velocity', rng),
        knots=section['velocity_knots'],
        squarings=section['squarings'],
        seed=draw.new_seed(rng),
    )


def _turn(axis: Tensor, degrees: float) -> Tensor:
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return torch.linalg.matrix_exp(cross * torch.deg2rad(torch.tensor(degrees)))


def _draw_extras(section: Section, rng: torch.Generator, radius: Tensor) -> list[Ellipsoid]:
    extras = []
    for _ in range(section.integer('extra_count', rng)):
        axes = torch.tensor([section.uniform('extra_axis', rng) for _ in range(3)])
        offset = section.uniform('extra_offset', rng)
        extras.append(Ellipsoid(draw.direction(rng) * (radius + offset / 2), axes))
    return extras


def _draw_holes(section: Section, rng: torch.Generator, outer: Tensor) -> list[Ball]:
    return [
        Ball(
            draw.direction(rng) * outer * section.uniform('hole_position', rng),
            section.uniform('hole_radius', rng),
        )
        for _ in range(section.integer('hole_count', rng))
    ]


def build_regions(head: PaperHead, shape: Sequence[int], device: torch.device) -> Tensor:
    """Evaluate a head on a grid: shell, extras, core and boundary, 2 x 2 x 2 parts each.

    Returns
    -------
    Tensor of uint8, shape (x, y, z)
        Core and boundary together are the brain, see `labels`.
    """
    scale = PUBLISHED_SIZE / max(shape)
    axes = [(torch.arange(n, device=device) - (n - 1) / 2) * scale for n in shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing='ij'))
    points = grid + deformation(head, axes)
    points = rotated(points - head.shift.to(points).reshape(3, 1, 1, 1), head.turn)
    flips = torch.tensor([-1.0 if flip else 1.0 for flip in head.flips])
    points = points * flips.to(points).reshape(3, 1, 1, 1)
    part = ((points > 0) * torch.tensor([1, 2, 4], device=device).reshape(3, 1, 1, 1)).sum(0)
    regions = torch.zeros(tuple(shape), dtype=torch.uint8, device=device)
    brain = head.brain.surface(points)
    _assign(regions, head.outer.surface(points) < 0, SHELL + part)
    for index, extra in enumerate(head.extras):
        inside = (extra.surface(points) < 0) & (regions > 0)
        _assign(regions, inside, EXTRA + (part + index) % 8)
    for hole in head.holes:
        regions[hole.surface(points) < 0] = 0
    _assign(regions, brain < 0, BOUNDARY + part)
    _assign(regions, brain < -head.boundary, CORE + part)
    return regions


def labels(regions: Tensor) -> Tensor:
    """The labels of a region map, of bool, shape (3, x, y, z): the published brain, three times.

    The published synthesis has one border, and no CSF that a label could include or leave out.
    """
    brain = regions >= CORE
    return torch.stack([brain, brain, brain])


def _assign(regions: Tensor, where: Tensor, values: Tensor) -> None:
    regions[where] = values.to(torch.uint8)[where]


def deformation(head: PaperHead, axes: Sequence[Tensor]) -> Tensor:
    """Integrate the stationary velocity field, shape (3, x, y, z), in published voxels.

    Scaling and squaring at half the grid's resolution, as published.
    """
    coarse = [axis[::2] for axis in axes]
    extent = float(axes[0][-1] - axes[0][0])
    matrices = [spline_matrix(axis, extent / max(1, head.knots - 3)) for axis in coarse]
    size = (3, *(matrix.shape[1] for matrix in matrices))
    knots = torch.randn(size, generator=draw.seeded(head.seed)).to(coarse[0].device)
    field = apply_separable(knots * head.velocity, matrices) / 2**head.squarings
    spans = torch.tensor([max(float(axis[-1] - axis[0]) / 2, 1e-6) for axis in coarse])
    unit = torch.stack(
        torch.meshgrid(
            *[torch.linspace(-1, 1, len(axis), device=axis.device) for axis in coarse],
            indexing='ij',
        )
    )
    for _ in range(head.squarings):
        moved = unit + field / spans.to(field).reshape(3, 1, 1, 1)
        grid = moved.flip(0).permute(1, 2, 3, 0)[None]
        field = (
            field
            + F.grid_sample(field[None], grid, padding_mode='border', align_corners=True)[0]
        )  # fmt: skip
    shape = tuple(len(axis) for axis in axes)
    return F.interpolate(field[None], shape, mode='trilinear', align_corners=True)[0]


def draw_contrast(recipe: Recipe, rng: torch.Generator) -> PaperContrast:
    """Draw the intensity of every part."""
    section = recipe['intensity']
    (low, high), (narrow, wide) = section['mean'], section['spread']
    means = low + (high - low) * torch.rand(64, generator=rng)
    spreads = narrow + (wide - narrow) * torch.rand(64, generator=rng)
    means[0], spreads[0] = section['background_mean'], section['background_spread']
    return PaperContrast(means, spreads, draw.new_seed(rng))


def paint(regions: Tensor, contrast: PaperContrast) -> Tensor:
    """Give every voxel its region's intensity with white noise, in 0..1."""
    index = regions.to(torch.int32)
    means, spreads = contrast.means.to(regions.device), contrast.spreads.to(regions.device)
    noise = white_noise(contrast.seed, regions.shape, regions.device)
    image = means[index] + spreads[index] * noise
    low, high = torch.quantile(image.flatten()[::7], torch.tensor([0.01, 0.99]).to(image))
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
