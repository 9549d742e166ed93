"""Draw a head's plan from a recipe: numbers and seeds only, no volume yet.

The names are those of anatomy, for reading. What they name are random ellipsoids, balls, planes,
tubes and noise that take the place of organs: nothing was fitted to any anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.noise import Noise, draw_noise
from pumba_pipe.synthesis.recipe import Recipe, Section
from pumba_pipe.synthesis.shapes import Ball, Ellipsoid, Plane, Tube


@dataclass(frozen=True)
class View:
    """Where the head lies in the field of view.

    Attributes
    ----------
    half_extent : float
        Half the field of view, in brain radii.
    centre : Tensor, shape (3,)
        The field of view's centre relative to the brain's, in brain radii, in image axes.
    turn : Tensor, shape (3, 3)
        Image axes to head axes.
    symmetric : bool
        The left half is the mirror image of the right one; left and right are the first axis.
    """

    half_extent: float
    centre: Tensor
    turn: Tensor
    symmetric: bool


@dataclass(frozen=True)
class BrainPlan:
    """The brain's outline, and the brainstem that leaves it.

    Attributes
    ----------
    core : Ellipsoid
        What lobes are joined to, and notches and a flat cut are taken out of.
    lobes, notches : list of Ball
    cut : Plane or None
    outline : list of Noise
        Moves the surface in and out.
    brainstem : Tube or None
        With the spinal cord in its continuation.
    brainstem_label_end : float
        How far outside the brain's surface the brainstem is still labelled as brain.
    cord_csf : float
        Radius of the CSF around the cord, over the cord's own.
    to_brainstem : Tensor, shape (3,)
        Direction from the brain's centre to the brainstem and the face, of length one.
    margin, tight_margin : float
        How far the labels with CSF and without reach into the CSF.
    """

    core: Ellipsoid
    lobes: list[Ball]
    notches: list[Ball]
    cut: Plane | None
    outline: list[Noise]
    brainstem: Tube | None
    brainstem_label_end: float
    cord_csf: float
    to_brainstem: Tensor
    margin: float
    tight_margin: float


@dataclass(frozen=True)
class Layer:
    """A shell's thickness: `mean` plus noise, never negative."""

    mean: float
    noise: Noise


@dataclass(frozen=True)
class OutsidePlan:
    """What lies around the brain: CSF, dura, skull, scalp, face and neck.

    Attributes
    ----------
    csf : Layer or None
    csf_tilt : float
        How much thinner the CSF is towards the brainstem, and thicker on the other side.
    vessels : two of Noise, or None
        Vessels in the CSF run where both are near zero.
    vessel_width : float
        In standard deviations of that noise.
    venous_sinuses : list of Plane
        A venous sinus runs where such a plane meets the dura.
    venous_sinus_radius : float
    dura, skull : Layer or None
    skull_holes : Noise or None
        The skull is missing where it is above zero, on the brainstem's side.
    diploe : float
        Share of the skull's thickness.
    diploe_patches : Noise or None
        The diploe is in places only: where it is above zero.
    scalp : Layer
    face_and_neck : list of Ellipsoid, Ball or Tube
        Masses that share one skin with the skull.
    blend : float
        Length over which they are joined.
    tissues : int
        Kinds of muscle, fat and other tissue.
    tissue : Noise
        Where there is which of them.
    tissue_grain : Noise or None
        Splits them more finely.
    fascia : Noise
        Fasciae and vessels run where it is near zero.
    fascia_width : float
        In standard deviations of that noise.
    air : float
        Share of air, as in the sinuses of the face.
    eyes_and_glands : list of Ellipsoid
    other_object : Ball or None
        A second object in the field of view.
    """

    csf: Layer | None
    csf_tilt: float
    vessels: tuple[Noise, Noise] | None
    vessel_width: float
    venous_sinuses: list[Plane]
    venous_sinus_radius: float
    dura: Layer | None
    skull: Layer | None
    skull_holes: Noise | None
    diploe: float
    diploe_patches: Noise | None
    scalp: Layer
    face_and_neck: list[Ellipsoid | Ball | Tube]
    blend: float
    tissues: int
    tissue: Noise
    tissue_grain: Noise | None
    fascia: Noise
    fascia_width: float
    air: float
    eyes_and_glands: list[Ellipsoid]
    other_object: Ball | None


@dataclass(frozen=True)
class InsidePlan:
    """What lies within the brain's outline.

    Attributes
    ----------
    atrophy : Noise or None
        Tissue has shrunk from the outline by so much where it is above zero, with CSF in between.
    deep_tissues : int
        Kinds of white matter and nuclei.
    deep_tissue : Noise
        Where there is which of them.
    cortex_thickness : float
    cortex_folding : Noise
        Is added to that thickness.
    sulcus_width : float
        At the surface, in standard deviations of `sulcus`.
    sulcus_depth : float
        Where sulci end.
    sulcus_cortex : float
        Thickness of the cortex along the sulci, in the unit of `sulcus_width`.
    sulcus : Noise
        Sulci run where it is near zero.
    ventricles : list of Ellipsoid
    falx : list of (Plane, float)
        Thin sheets through the brain, as the falx and the tentorium are, and their thickness.
    lesions : list of Ball
    """

    atrophy: Noise | None
    deep_tissues: int
    deep_tissue: Noise
    cortex_thickness: float
    cortex_folding: Noise
    sulcus_width: float
    sulcus_depth: float
    sulcus_cortex: float
    sulcus: Noise
    ventricles: list[Ellipsoid]
    falx: list[tuple[Plane, float]]
    lesions: list[Ball]


@dataclass(frozen=True)
class HeadPlan:
    """Everything drawn for one head."""

    view: View
    warp: list[Noise]
    brain: BrainPlan
    outside: OutsidePlan
    inside: InsidePlan


def draw_head(recipe: Recipe, rng: torch.Generator, box: bool) -> HeadPlan:
    """Draw the plan of one head.

    Parameters
    ----------
    recipe : Recipe
        With ``generator = 'shapes'``.
    rng : torch.Generator
        On the CPU.
    box : bool
        Show a box around the brain instead of a whole head.
    """
    semi_axes = _draw_axes(recipe['brain'], rng)
    symmetric = recipe['view'].chance('symmetric', rng)
    brain = _draw_brain(recipe, rng, semi_axes, symmetric)
    inside = _draw_inside(recipe['inside'], rng, semi_axes)
    return HeadPlan(
        view=_draw_view(recipe['view'], rng, semi_axes, box, symmetric),
        warp=_draw_warp(recipe['warp'], rng),
        brain=brain,
        outside=_draw_outside(recipe, rng, brain, [plane for plane, _ in inside.falx]),
        inside=inside,
    )


def _draw_axes(section: Section, rng: torch.Generator) -> Tensor:
    """Semi-axes with mean radius one, the longest first (the turn makes the order random)."""
    axes = torch.tensor([1.0, *(section.uniform('axis_ratio', rng) for _ in range(2))])
    return axes / axes.prod() ** (1 / 3)


def _draw_view(
    section: Section, rng: torch.Generator, semi_axes: Tensor, box: bool, symmetric: bool
) -> View:
    extent = section.uniform('box_extent' if box else 'whole_extent', rng)
    half_extent = float(semi_axes.max()) / extent
    if box:
        shift = torch.tensor([section.uniform('box_shift', rng) for _ in range(3)])
    else:
        room = section['whole_room'] * (1 - extent)
        shift = (torch.rand(3, generator=rng) * 2 - 1) * room
    turn = draw.rotation(rng, section['turn_degrees'])
    if symmetric:  # else the two halves would not meet
        turn = _nodding(turn)
    return View(half_extent, shift * half_extent, turn, symmetric)


def _nodding(turn: Tensor) -> Tensor:
    """The part of a turn that leaves the first axis where it is."""
    angle = torch.atan2(turn[2, 1], turn[1, 1])
    cosine, sine = float(angle.cos()), float(angle.sin())
    return torch.tensor([[1.0, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _unit(vector: Tensor, symmetric: bool) -> Tensor:
    """Of length one, and in the plane between the halves of a symmetric head."""
    if symmetric:
        vector = vector * torch.tensor([0.0, 1.0, 1.0])
    return vector / vector.norm().clamp_min(1e-6)


def _draw_warp(section: Section, rng: torch.Generator) -> list[Noise]:
    return [
        draw_noise(rng, section[f'{scale}_cell'], section.uniform(scale, rng))
        for scale in ('coarse', 'medium', 'fine')
    ]


def _surface_ball(
    rng: torch.Generator, semi_axes: Tensor, position: float, radius: float, blend: float
) -> Ball:
    """A ball at a multiple of the brain's radius in a random direction."""
    return Ball(draw.direction(rng) * semi_axes * position, radius, blend)


def _draw_brain(
    recipe: Recipe, rng: torch.Generator, semi_axes: Tensor, symmetric: bool
) -> BrainPlan:
    section, stem = recipe['brain'], recipe['stalk']
    to_brainstem = _unit(draw.direction(rng), symmetric)
    lobes = [
        _drawn_ball(section, rng, 'lobe', draw.direction(rng) * semi_axes)
        for _ in range(section.integer('lobes', rng))
    ]
    notches = [
        _drawn_ball(section, rng, 'bite', _leaning(section, rng, 'bite', to_brainstem) * semi_axes)
        for _ in range(section.integer('bites', rng))
    ]
    cut = None
    if section.chance('flat_cut', rng):
        normal = _leaning(section, rng, 'flat', to_brainstem)
        cut = Plane(normal, section.uniform('flat_cut_offset', rng) * _reach(semi_axes, normal))
    outline = [
        draw_noise(rng, section[f'outline_{scale}_cell'], section.uniform(f'outline_{scale}', rng))
        for scale in ('coarse', 'fine')
    ]
    brainstem = None
    if stem.chance('present', rng):
        lean = to_brainstem + stem['lean'] * torch.randn(3, generator=rng)
        start = 0.4 * to_brainstem * semi_axes
        brainstem = Tube(start, _unit(lean, symmetric), 20.0, stem.uniform('radius', rng))
    return BrainPlan(
        core=Ellipsoid(torch.zeros(3), semi_axes),
        lobes=lobes,
        notches=notches,
        cut=cut,
        outline=outline,
        brainstem=brainstem,
        brainstem_label_end=stem.uniform('label_end', rng),
        cord_csf=stem.uniform('sheath', rng),
        to_brainstem=to_brainstem,
        margin=section.uniform('margin', rng),
        tight_margin=section.uniform('tight_margin', rng),
    )


def _drawn_ball(section: Section, rng: torch.Generator, kind: str, surface: Tensor) -> Ball:
    """A ball near a point of the ellipsoid's surface."""
    return Ball(
        surface * section.uniform(f'{kind}_position', rng),
        section.uniform(f'{kind}_radius', rng),
        section.uniform(f'{kind}_blend', rng),
    )


def _leaning(section: Section, rng: torch.Generator, kind: str, to_brainstem: Tensor) -> Tensor:
    """Where a notch or a cut is made: anywhere, or on the brainstem's side."""
    if not section.chance(f'{kind}_below', rng):
        return draw.direction(rng)
    towards = to_brainstem + section[f'{kind}_lean'] * torch.randn(3, generator=rng)
    return towards / towards.norm().clamp_min(1e-6)


def _reach(semi_axes: Tensor, direction: Tensor) -> float:
    """How far the ellipsoid extends in a direction."""
    return float((semi_axes * direction).norm())


def _draw_layer(section: Section, rng: torch.Generator, name: str) -> Layer:
    cell = section.uniform('noise_cell', rng)
    noise = draw_noise(rng, cell, section.uniform(f'{name}_noise', rng))
    return Layer(section.uniform(name, rng), noise)


def _draw_csf(section: Section, rng: torch.Generator) -> Layer | None:
    layer = _draw_layer(section, rng, 'fluid')
    if section.chance('fluid_wide', rng):
        layer = Layer(layer.mean + section.uniform('fluid_wide_extra', rng), layer.noise)
    return None if section.chance('fluid_absent', rng) else layer


def _draw_outside(
    recipe: Recipe, rng: torch.Generator, brain: BrainPlan, falx: list[Plane]
) -> OutsidePlan:
    shells, skin = recipe['shells'], recipe['skin']
    semi_axes, to_brainstem = brain.core.semi_axes, brain.to_brainstem
    skull = _draw_layer(shells, rng, 'hard')
    has_dura = shells.chance('membrane', rng)
    dura = _draw_layer(shells, rng, 'membrane_thickness')
    csf = _draw_csf(shells, rng)
    vessel_cell = shells.uniform('vessel_cell', rng)
    vessels = draw_noise(rng, vessel_cell), draw_noise(rng, vessel_cell)
    tight = shells.chance('tight', rng)
    if tight:
        # Thin bone right on the brain and flesh right on the bone, as in small animals.
        csf = Layer(shells.uniform('tight_fluid', rng), replace(skull.noise, amplitude=0.01))
        skull = Layer(shells.uniform('tight_hard', rng), replace(skull.noise, amplitude=0.01))
    return OutsidePlan(
        csf=csf,
        csf_tilt=shells.uniform('fluid_tilt', rng),
        vessels=vessels if shells.chance('vessels', rng) else None,
        vessel_width=shells.uniform('vessel_width', rng),
        venous_sinuses=falx if shells.chance('sinus', rng) else [],
        venous_sinus_radius=shells.uniform('sinus_radius', rng),
        dura=dura if has_dura else None,
        skull=None if shells.chance('hard_absent', rng) and not tight else skull,
        skull_holes=draw_noise(rng, shells.uniform('patch_cell', rng))
        if shells.chance('hard_patchy', rng)
        else None,
        diploe=shells.uniform('marrow_share', rng) if shells.chance('marrow', rng) else 0.0,
        diploe_patches=draw_noise(rng, shells.uniform('marrow_cell', rng))
        if shells.chance('marrow_patchy', rng)
        else None,
        scalp=_draw_layer(shells, rng, 'soft'),
        face_and_neck=_draw_face_and_neck(skin, rng, semi_axes, to_brainstem),
        blend=skin.uniform('blend', rng),
        tissues=skin.integer('tissues', rng),
        tissue=draw_noise(rng, skin.uniform('tissue_cell', rng)),
        tissue_grain=draw_noise(
            rng, skin.uniform('grain_cell', rng), skin.uniform('grain_share', rng)
        )
        if skin.chance('grain', rng)
        else None,
        fascia=draw_noise(rng, skin.uniform('fascia_cell', rng)),
        fascia_width=skin.uniform('fascia_width', rng) if skin.chance('fascia', rng) else 0.0,
        air=skin.uniform('air', rng),
        eyes_and_glands=_draw_eyes_and_glands(skin, rng, semi_axes),
        other_object=_draw_other_object(skin, rng),
    )


def _draw_face_and_neck(
    section: Section, rng: torch.Generator, semi_axes: Tensor, to_brainstem: Tensor
) -> list[Ellipsoid | Ball | Tube]:
    """Masses that share one skin with the skull: face, jaw, neck, muscles."""
    masses: list[Ellipsoid | Ball | Tube] = []
    if section.chance('large', rng):
        stretch = torch.tensor([section.uniform('large_stretch', rng) for _ in range(3)])
        centre = to_brainstem * section.uniform('large_shift', rng)
        size = semi_axes.clamp(0.8, 1.3) * section.uniform('large_radius', rng)
        masses.append(Ellipsoid(centre, size * stretch))
    for _ in range(section.integer('masses', rng)):
        towards = to_brainstem + section['mass_lean'] * torch.randn(3, generator=rng)
        towards = towards / towards.norm().clamp_min(1e-6)
        position = section.uniform('mass_position', rng)
        masses.append(Ball(towards * semi_axes * position, section.uniform('mass_radius', rng)))
    if section.chance('neck', rng):
        lean = to_brainstem + section['neck_lean'] * torch.randn(3, generator=rng)
        radius = section.uniform('neck_radius', rng)
        masses.append(Tube(0.5 * to_brainstem * semi_axes, lean / lean.norm(), 20.0, radius))
    return masses


def _draw_eyes_and_glands(
    section: Section, rng: torch.Generator, semi_axes: Tensor
) -> list[Ellipsoid]:
    ellipsoids = []
    for _ in range(section.integer('blobs', rng)):
        radius = section.uniform('blob_radius', rng)
        centre = draw.direction(rng) * (
            semi_axes * section.uniform('blob_position', rng) + 0.5 * radius
        )
        stretch = torch.exp(section['blob_stretch'] * torch.randn(3, generator=rng))
        ellipsoids.append(Ellipsoid(centre, radius * stretch))
    return ellipsoids


def _draw_other_object(section: Section, rng: torch.Generator) -> Ball | None:
    centre = draw.direction(rng) * section.uniform('second_distance', rng)
    ball = Ball(centre, section.uniform('second_radius', rng))
    return ball if section.chance('second_object', rng) else None


def _draw_inside(section: Section, rng: torch.Generator, semi_axes: Tensor) -> InsidePlan:
    sulci = section.chance('folds', rng)
    cortex = section.chance('ribbon', rng)
    cortex_cell = section.uniform('ribbon_cell', rng)
    atrophy = draw_noise(rng, section.uniform('shrink_cell', rng), section.uniform('shrink', rng))
    return InsidePlan(
        atrophy=atrophy if section.chance('shrunken', rng) else None,
        deep_tissues=section.integer('regions', rng),
        deep_tissue=draw_noise(rng, section.uniform('region_cell', rng)),
        cortex_thickness=section.uniform('ribbon_depth', rng) if cortex else 0.0,
        cortex_folding=draw_noise(rng, cortex_cell, section.uniform('ribbon_folding', rng)),
        sulcus_width=section.uniform('fold_width', rng) if sulci else 0.0,
        sulcus_depth=section.uniform('fold_depth', rng),
        sulcus_cortex=section.uniform('fold_lining', rng) if sulci and cortex else 0.0,
        sulcus=draw_noise(rng, section.uniform('fold_cell', rng)),
        ventricles=_draw_ventricles(section, rng) if section.chance('centre', rng) else [],
        falx=_draw_falx(section, rng) if section.chance('sheets', rng) else [],
        lesions=_draw_lesions(section, rng, semi_axes) if section.chance('lesions', rng) else [],
    )


def _draw_ventricles(section: Section, rng: torch.Generator) -> list[Ellipsoid]:
    """Two ellipsoids of CSF near the middle."""
    ellipsoids = []
    for _ in range(2):
        size = section.uniform('centre_size', rng)
        stretch = torch.exp(section['centre_stretch'] * torch.randn(3, generator=rng))
        shift = section['centre_shift'] * torch.randn(3, generator=rng)
        ellipsoids.append(Ellipsoid(shift, (size * stretch).clamp(0.04, 0.6)))
    return ellipsoids


def _draw_falx(section: Section, rng: torch.Generator) -> list[tuple[Plane, float]]:
    return [
        (
            Plane(draw.direction(rng), section.uniform('sheet_offset', rng)),
            section.uniform('sheet_width', rng),
        )
        for _ in range(section.integer('sheet_count', rng))
    ]


def _draw_lesions(section: Section, rng: torch.Generator, semi_axes: Tensor) -> list[Ball]:
    return [
        _surface_ball(
            rng,
            semi_axes,
            section.uniform('lesion_position', rng),
            section.uniform('lesion_radius', rng),
            0.0,
        )
        for _ in range(section.integer('lesion_count', rng))
    ]
