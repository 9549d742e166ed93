"""Evaluate a head's plan on a grid: one small integer per voxel says what lies there.

`REGION_NAMES` translates the codes into the words of anatomy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pumba_pipe.synthesis.head import BrainPlan, HeadPlan, InsidePlan, Layer, SurroundPlan, View
from pumba_pipe.synthesis.noise import Noise, evaluate_noise
from pumba_pipe.synthesis.shapes import (
    rotated,
    smooth_maximum,
    smooth_minimum,
)

BACKGROUND, FLUID, HARD, MARROW, SOFT, MEMBRANE, STALK, AIR, SECOND, FASCIA = range(10)
TISSUE = 10  # ..17
SHEATH = 18
BLOB = 20  # ..27
VESSEL, SINUS = 28, 29
BRAIN = 32  # this and all above are brain: 32..35 its regions
RIBBON, FOLD, CENTRE, SHEET, LESION = 36, 37, 38, 39, 40  # lesions 40..42
LINING = 43  # CSF that every mask includes
RIM = 44  # the CSF next to it, which only masks with CSF include
REGION_COUNT = 48
MIDLINE = 0.3  # distance from the plane of symmetry up to which the coordinate noise fades

# What each region stands for, in the words of anatomy. A head is made of random shapes: none of
# them is fitted to an organ, they only take its place.
REGION_NAMES = {
    'BACKGROUND': 'air around the head',
    'FLUID': 'CSF around the brain',
    'SHEATH': 'CSF around the cord, outside the skull',
    'VESSEL': 'vessels in the CSF',
    'SINUS': 'venous sinuses, where the falx meets the dura',
    'HARD': 'skull',
    'MARROW': 'diploe (marrow of the skull)',
    'SOFT': 'scalp',
    'MEMBRANE': 'dura',
    'STALK': 'brainstem and cord outside the mask',
    'AIR': 'air in the head (sinuses, ear)',
    'SECOND': 'a second object in the field of view',
    'FASCIA': 'fasciae and vessels between muscles',
    'TISSUE': 'muscle, fat and other tissue; 8 kinds',
    'BLOB': 'eyes, glands and other round parts; 8 of them',
    'BRAIN': 'white matter and nuclei; 4 kinds',
    'RIBBON': 'cortex',
    'FOLD': 'sulcus, filled with CSF',
    'CENTRE': 'ventricle',
    'SHEET': 'falx, tentorium and other thin sheets in the brain',
    'LESION': 'lesions; 3 of them',
    'LINING': 'CSF under the outline of the brain; in both masks',
    'RIM': 'rim of CSF around the outline; only in the mask with CSF',
}


class Field:
    """The grid a head is evaluated on: coordinates, and noise along the image axes."""

    def __init__(self, view: View, shape: Sequence[int], device: torch.device) -> None:
        longest = max(shape)
        self.axes = [
            (torch.arange(size, device=device) - (size - 1) / 2) * (2 / longest)
            * view.half_extent
            - float(view.centre[axis])
            for axis, size in enumerate(shape)
        ]  # fmt: skip
        if view.symmetric:
            self.axes[0] = self.axes[0].abs()
        self.points = rotated(torch.stack(torch.meshgrid(*self.axes, indexing='ij')), view.turn)

    def noise(self, noise: Noise, channels: int = 1) -> Tensor:
        """Evaluate a noise field, shape (channels, x, y, z)."""
        return evaluate_noise(noise, self.axes, channels)

    def layer(self, layer: Layer) -> Tensor:
        """Evaluate a shell's thickness, shape (x, y, z), at least zero."""
        return (layer.mean + self.noise(layer.noise)[0]).clamp_min(0)


def build_regions(plan: HeadPlan, shape: Sequence[int], device: torch.device) -> Tensor:
    """Evaluate a head on a grid.

    Parameters
    ----------
    plan : HeadPlan
    shape : three ints
        Grid size; its longest side spans the field of view.
    device : torch.device

    Returns
    -------
    Tensor of uint8, shape (x, y, z)
        Region of every voxel; the brain is ``regions >= BRAIN``, see `labels`.
    """
    field = Field(plan.view, shape, device)
    points = warped(field, plan)
    outline = brain_outline(plan.brain, points, field)
    labelled = _with_stalk(plan.brain, outline, points)
    regions = torch.zeros(tuple(shape), dtype=torch.uint8, device=device)
    sinks = sinking(plan.surround, plan.brain, points)
    _fill_surround(regions, plan.surround, plan.brain, outline, points, field, sinks)
    _fill_stalk(regions, plan.brain, outline, points)
    _fill_inside(regions, plan.inside, labelled, points, field, sinks)
    for margin, region in ((plan.brain.margin, RIM), (plan.brain.tight_margin, LINING)):
        fluid = (regions == FLUID) | (regions == SHEATH) | (regions == RIM)
        regions[(labelled < margin) & fluid] = region
    return regions


def warped(field: Field, plan: HeadPlan) -> Tensor:
    """Points of the grid after the coordinate noise, shape (3, x, y, z).

    Nothing moves across the plane between the halves of a symmetric head: it would be there twice.
    """
    points = field.points
    for noise in plan.warp:
        move = field.noise(noise, channels=3)
        if plan.view.symmetric:
            move[0] *= (field.points[0] / MIDLINE).clamp(0, 1)
        points = points + move
    return points


def labels(regions: Tensor) -> Tensor:
    """The labels of a region map of `build_regions`, of bool, shape (3, x, y, z).

    The brain with the CSF rim, without, and the intracranial space. References of real brains
    agree in what is brain, and differ in how much of the CSF around it they include; no image
    shows which is wanted. The intracranial space ends where the CSF does.
    """
    wide = regions >= BRAIN
    cavity = wide | (regions == FLUID) | (regions == VESSEL) | (regions == SINUS)
    return torch.stack([wide, wide & (regions != RIM), cavity])


def brain_outline(plan: BrainPlan, points: Tensor, field: Field) -> Tensor:
    """Distance to the brain's surface without its stalk, shape (x, y, z)."""
    surface = plan.core.surface(points)
    for lobe in plan.lobes:
        surface = smooth_minimum(surface, lobe.surface(points), lobe.blend)
    for bite in plan.bites:
        surface = smooth_maximum(surface, -bite.surface(points), bite.blend)
    if plan.cut is not None:
        surface = smooth_maximum(surface, plan.cut.surface(points), 0.05)
    for noise in plan.outline:
        surface = surface + field.noise(noise)[0]
    return surface


def _with_stalk(plan: BrainPlan, outline: Tensor, points: Tensor) -> Tensor:
    """Join to the brain that part of the stalk which is labelled as brain."""
    if plan.stalk is None:
        return outline
    tube = torch.maximum(plan.stalk.surface(points), outline - plan.stalk_label_end)
    return smooth_minimum(outline, tube, 0.06)


def _fill_stalk(regions: Tensor, plan: BrainPlan, outline: Tensor, points: Tensor) -> None:
    if plan.stalk is None:
        return
    tube = plan.stalk.surface(points)
    sheath = tube - (plan.stalk_sheath - 1) * plan.stalk.radius
    outside = (regions != BACKGROUND) & (outline > 0)
    regions[(sheath < 0) & outside & (regions != FLUID)] = SHEATH
    regions[(tube < 0) & outside] = STALK


def _fill_surround(
    regions: Tensor,
    plan: SurroundPlan,
    brain: BrainPlan,
    outline: Tensor,
    points: Tensor,
    field: Field,
    sinks: Tensor,
) -> None:
    fluid = torch.zeros_like(outline)
    if plan.fluid is not None:
        fluid = field.layer(plan.fluid) * sinks
    hard = torch.zeros_like(outline) if plan.hard is None else field.layer(plan.hard)
    membrane = torch.zeros_like(outline)
    if plan.membrane is not None:
        membrane = field.layer(plan.membrane)
    case = outline - fluid - membrane - hard
    union = case
    for body in plan.bodies:
        union = smooth_minimum(union, body.surface(points), plan.blend)
    if plan.second is not None:
        regions[plan.second.surface(points) < 0] = SECOND
    regions[union - field.layer(plan.soft) < 0] = SOFT
    _fill_tissue(regions, plan, union, field)
    if plan.hard is not None:
        _fill_hard(regions, plan, brain, case, hard, points, field)
    for index, blob in enumerate(plan.blobs):
        inside = (blob.surface(points) < 0) & (regions != BACKGROUND)
        regions[inside] = BLOB + index
    regions[outline - fluid - membrane < 0] = MEMBRANE
    regions[outline - fluid < 0] = FLUID
    _fill_crossing(regions, plan, outline - fluid, points, field)


def _fill_crossing(
    regions: Tensor, plan: SurroundPlan, cavity: Tensor, points: Tensor, field: Field
) -> None:
    """Lay into the fluid what is no brain: vessels, and tubes where a sheet meets the dura."""
    for sheet in plan.sinuses:
        near = cavity.square() + sheet.surface(points).square() < plan.sinus_radius**2
        regions[near & (regions != BACKGROUND)] = SINUS
    if plan.vessels is not None:
        first, second = (field.noise(noise)[0].abs() for noise in plan.vessels)
        regions[(torch.maximum(first, second) < plan.vessel_width) & (regions == FLUID)] = VESSEL


def sinking(plan: SurroundPlan, brain: BrainPlan, points: Tensor) -> Tensor:
    """Share of the fluid's thickness: less where the brain lies on its stalk's side."""
    length = points.square().sum(0).sqrt().clamp_min(1e-6)
    side = torch.tensordot(brain.outward.to(points), points, dims=1) / length
    return 1 - plan.fluid_tilt * side


def _fill_tissue(regions: Tensor, plan: SurroundPlan, union: Tensor, field: Field) -> None:
    """Split what is inside the skin and neither brain nor shell."""
    room = union < 0
    tissue = field.noise(plan.tissue, channels=plan.tissues)
    if plan.grain is not None:
        tissue = tissue + field.noise(plan.grain, channels=plan.tissues)
    regions[room] = (TISSUE + tissue.argmax(0)).to(torch.uint8)[room]
    if plan.air > 0:
        # The share of a normal field above this threshold is `air`.
        threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * plan.air)))
        pockets = field.noise(Noise(plan.tissue.cell, 1.0, plan.tissue.seed ^ 1))[0]
        regions[room & (pockets > threshold)] = AIR
    if plan.fascia_width > 0:
        # Else nothing but the brain has lines through it, and muscle looks like folded cortex.
        regions[room & (field.noise(plan.fascia)[0].abs() < plan.fascia_width)] = FASCIA


def _fill_hard(
    regions: Tensor,
    plan: SurroundPlan,
    brain: BrainPlan,
    case: Tensor,
    hard: Tensor,
    points: Tensor,
    field: Field,
) -> None:
    shell = case < 0
    if plan.patches is not None:
        side = torch.tensordot(brain.outward.to(points), points, dims=1)
        shell &= ~((side > 0.3) & (field.noise(plan.patches)[0] > 0))
    regions[shell] = HARD
    if plan.marrow > 0:
        line = ((case + hard / 2).abs() < plan.marrow * hard / 2) & (hard > 0.04)
        if plan.marrow_patches is not None:
            line &= field.noise(plan.marrow_patches)[0] > 0
        regions[shell & line] = MARROW


def _fill_inside(
    regions: Tensor,
    plan: InsidePlan,
    labelled: Tensor,
    points: Tensor,
    field: Field,
    sinks: Tensor,
) -> None:
    brain = labelled < 0
    depth = -labelled
    if plan.shrink is not None:
        depth = depth - field.noise(plan.shrink)[0].clamp_min(0) * (sinks - 0.5).clamp_min(0)
    parts = field.noise(plan.region, channels=plan.regions).argmax(0)
    content = (BRAIN + parts).to(torch.uint8)
    if plan.ribbon_depth > 0:
        content[depth < plan.ribbon_depth + field.noise(plan.folding)[0]] = RIBBON
    for ellipsoid in plan.centre:
        content[ellipsoid.surface(points) < 0] = CENTRE
    for plane, width in plan.sheets:
        content[plane.surface(points).abs() < width / 2] = SHEET
    if plan.fold_width > 0:
        narrowing = plan.fold_width * (1 - depth / plan.fold_depth).clamp_min(0)
        fold = field.noise(plan.fold)[0].abs()
        if plan.fold_lining > 0:
            content[(fold < narrowing + plan.fold_lining) & (narrowing > 0)] = RIBBON
        content[fold < narrowing] = FOLD
    if plan.shrink is not None:
        content[depth < 0] = LINING
    for index, lesion in enumerate(plan.lesions):
        content[lesion.surface(points) < 0] = LESION + index
    regions[brain] = content[brain]
