"""Evaluate a head's plan on a grid: one small integer per voxel says what lies there.

Codes have the names of what they stand for; comments say what a name cannot. A head is made
of random shapes and noise, which only take the place of these organs: none of them is fitted to
anatomy, and no real image, label or atlas was read to make them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pumba_pipe.synthesis.head import BrainPlan, HeadPlan, InsidePlan, Layer, OutsidePlan, View
from pumba_pipe.synthesis.noise import Noise, evaluate_noise
from pumba_pipe.synthesis.shapes import (
    rotated,
    smooth_maximum,
    smooth_minimum,
)

BACKGROUND = 0  # air around the head
CSF = 1  # around the brain, outside the labels of the brain
SKULL = 2
DIPLOE = 3  # the marrow of the skull
SCALP = 4
DURA = 5
BRAINSTEM = 6  # that and the cord, where they are not labelled as brain
AIR = 7  # in the head: sinuses of the face, ears
OTHER_OBJECT = 8  # another body in the field of view
FASCIA = 9  # fasciae and vessels between muscles
TISSUE = 10  # to 17: kinds of muscle, fat and other tissue
CORD_CSF = 18  # around brainstem and cord, outside the skull
EYE_OR_GLAND = 20  # to 27: eyes, glands and other round parts
VESSEL = 28  # in the CSF
VENOUS_SINUS = 29  # where the falx meets the dura
BRAIN = 32  # this and all above are labelled as brain
DEEP_TISSUE = 32  # to 35: kinds of white matter and nuclei
CORTEX = 36
SULCUS = 37  # filled with CSF
VENTRICLE = 38
FALX = 39  # and tentorium: thin sheets through the brain
LESION = 40  # to 42
INNER_CSF = 43  # at the brain's outline, in every label of the brain
CSF_RIM = 44  # next to it, only in the label with CSF
REGION_COUNT = 48
MIDLINE = 0.3  # distance from the plane of symmetry up to which the coordinate noise fades


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
    labelled = _with_brainstem(plan.brain, outline, points)
    regions = torch.zeros(tuple(shape), dtype=torch.uint8, device=device)
    shares = csf_share(plan.outside, plan.brain, points)
    _fill_outside_brain(regions, plan.outside, plan.brain, outline, points, field, shares)
    _fill_brainstem(regions, plan.brain, outline, points)
    _fill_inside_brain(regions, plan.inside, labelled, points, field, shares)
    for margin, region in ((plan.brain.margin, CSF_RIM), (plan.brain.tight_margin, INNER_CSF)):
        csf = (regions == CSF) | (regions == CORD_CSF) | (regions == CSF_RIM)
        regions[(labelled < margin) & csf] = region
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
    cavity = wide | (regions == CSF) | (regions == VESSEL) | (regions == VENOUS_SINUS)
    return torch.stack([wide, wide & (regions != CSF_RIM), cavity])


def brain_outline(plan: BrainPlan, points: Tensor, field: Field) -> Tensor:
    """Distance to the brain's surface without its brainstem, shape (x, y, z)."""
    surface = plan.core.surface(points)
    for lobe in plan.lobes:
        surface = smooth_minimum(surface, lobe.surface(points), lobe.blend)
    for notch in plan.notches:
        surface = smooth_maximum(surface, -notch.surface(points), notch.blend)
    if plan.cut is not None:
        surface = smooth_maximum(surface, plan.cut.surface(points), 0.05)
    for noise in plan.outline:
        surface = surface + field.noise(noise)[0]
    return surface


def _with_brainstem(plan: BrainPlan, outline: Tensor, points: Tensor) -> Tensor:
    """Join to the brain that part of the brainstem which is labelled as brain."""
    if plan.brainstem is None:
        return outline
    labelled = torch.maximum(plan.brainstem.surface(points), outline - plan.brainstem_label_end)
    return smooth_minimum(outline, labelled, 0.06)


def _fill_brainstem(regions: Tensor, plan: BrainPlan, outline: Tensor, points: Tensor) -> None:
    if plan.brainstem is None:
        return
    brainstem = plan.brainstem.surface(points)
    cord_csf = brainstem - (plan.cord_csf - 1) * plan.brainstem.radius
    outside = (regions != BACKGROUND) & (outline > 0)
    regions[(cord_csf < 0) & outside & (regions != CSF)] = CORD_CSF
    regions[(brainstem < 0) & outside] = BRAINSTEM


def _fill_outside_brain(
    regions: Tensor,
    plan: OutsidePlan,
    brain: BrainPlan,
    outline: Tensor,
    points: Tensor,
    field: Field,
    shares: Tensor,
) -> None:
    csf = torch.zeros_like(outline)
    if plan.csf is not None:
        csf = field.layer(plan.csf) * shares
    skull = torch.zeros_like(outline) if plan.skull is None else field.layer(plan.skull)
    dura = torch.zeros_like(outline)
    if plan.dura is not None:
        dura = field.layer(plan.dura)
    skull_surface = outline - csf - dura - skull
    under_scalp = skull_surface
    for body in plan.face_and_neck:
        under_scalp = smooth_minimum(under_scalp, body.surface(points), plan.blend)
    if plan.other_object is not None:
        regions[plan.other_object.surface(points) < 0] = OTHER_OBJECT
    regions[under_scalp - field.layer(plan.scalp) < 0] = SCALP
    _fill_tissue(regions, plan, under_scalp, field)
    if plan.skull is not None:
        _fill_skull(regions, plan, brain, skull_surface, skull, points, field)
    for index, ellipsoid in enumerate(plan.eyes_and_glands):
        inside = (ellipsoid.surface(points) < 0) & (regions != BACKGROUND)
        regions[inside] = EYE_OR_GLAND + index
    regions[outline - csf - dura < 0] = DURA
    regions[outline - csf < 0] = CSF
    _fill_vessels(regions, plan, outline - csf, points, field)


def _fill_vessels(
    regions: Tensor, plan: OutsidePlan, dura: Tensor, points: Tensor, field: Field
) -> None:
    """Lay vessels into the CSF, and venous sinuses where the falx meets the dura."""
    for plane in plan.venous_sinuses:
        near = dura.square() + plane.surface(points).square() < plan.venous_sinus_radius**2
        regions[near & (regions != BACKGROUND)] = VENOUS_SINUS
    if plan.vessels is not None:
        first, second = (field.noise(noise)[0].abs() for noise in plan.vessels)
        regions[(torch.maximum(first, second) < plan.vessel_width) & (regions == CSF)] = VESSEL


def csf_share(plan: OutsidePlan, brain: BrainPlan, points: Tensor) -> Tensor:
    """Share of the CSF's thickness: less on the brainstem's side, for a brain sinks to it."""
    length = points.square().sum(0).sqrt().clamp_min(1e-6)
    side = torch.tensordot(brain.to_brainstem.to(points), points, dims=1) / length
    return 1 - plan.csf_tilt * side


def _fill_tissue(regions: Tensor, plan: OutsidePlan, under_scalp: Tensor, field: Field) -> None:
    """Split what is inside the skin and neither brain, CSF, dura nor skull."""
    room = under_scalp < 0
    tissue = field.noise(plan.tissue, channels=plan.tissues)
    if plan.tissue_grain is not None:
        tissue = tissue + field.noise(plan.tissue_grain, channels=plan.tissues)
    regions[room] = (TISSUE + tissue.argmax(0)).to(torch.uint8)[room]
    if plan.air > 0:
        # The share of a normal field above this threshold is `air`.
        threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * plan.air)))
        pockets = field.noise(Noise(plan.tissue.cell, 1.0, plan.tissue.seed ^ 1))[0]
        regions[room & (pockets > threshold)] = AIR
    if plan.fascia_width > 0:
        # Else nothing but the brain has lines through it, and muscle looks like folded cortex.
        regions[room & (field.noise(plan.fascia)[0].abs() < plan.fascia_width)] = FASCIA


def _fill_skull(
    regions: Tensor,
    plan: OutsidePlan,
    brain: BrainPlan,
    skull_surface: Tensor,
    thickness: Tensor,
    points: Tensor,
    field: Field,
) -> None:
    bone = skull_surface < 0
    if plan.skull_holes is not None:
        side = torch.tensordot(brain.to_brainstem.to(points), points, dims=1)
        bone &= ~((side > 0.3) & (field.noise(plan.skull_holes)[0] > 0))
    regions[bone] = SKULL
    if plan.diploe > 0:
        middle = (skull_surface + thickness / 2).abs() < plan.diploe * thickness / 2
        marrow = middle & (thickness > 0.04)
        if plan.diploe_patches is not None:
            marrow &= field.noise(plan.diploe_patches)[0] > 0
        regions[bone & marrow] = DIPLOE


def _fill_inside_brain(
    regions: Tensor,
    plan: InsidePlan,
    labelled: Tensor,
    points: Tensor,
    field: Field,
    shares: Tensor,
) -> None:
    brain = labelled < 0
    depth = -labelled
    if plan.atrophy is not None:
        depth = depth - field.noise(plan.atrophy)[0].clamp_min(0) * (shares - 0.5).clamp_min(0)
    deep_tissue = field.noise(plan.deep_tissue, channels=plan.deep_tissues).argmax(0)
    content = (DEEP_TISSUE + deep_tissue).to(torch.uint8)
    if plan.cortex_thickness > 0:
        content[depth < plan.cortex_thickness + field.noise(plan.cortex_folding)[0]] = CORTEX
    for ellipsoid in plan.ventricles:
        content[ellipsoid.surface(points) < 0] = VENTRICLE
    for plane, width in plan.falx:
        content[plane.surface(points).abs() < width / 2] = FALX
    if plan.sulcus_width > 0:
        narrowing = plan.sulcus_width * (1 - depth / plan.sulcus_depth).clamp_min(0)
        sulcus = field.noise(plan.sulcus)[0].abs()
        if plan.sulcus_cortex > 0:
            content[(sulcus < narrowing + plan.sulcus_cortex) & (narrowing > 0)] = CORTEX
        content[sulcus < narrowing] = SULCUS
    if plan.atrophy is not None:
        content[depth < 0] = INNER_CSF
    for index, lesion in enumerate(plan.lesions):
        content[lesion.surface(points) < 0] = LESION + index
    regions[brain] = content[brain]
