"""Draw a head's plan from a recipe: numbers and seeds only, no volume yet."""

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
    """The brain's outline and what grows out of it."""

    core: Ellipsoid
    lobes: list[Ball]
    bites: list[Ball]
    cut: Plane | None
    outline: list[Noise]
    stalk: Tube | None
    stalk_label_end: float
    stalk_sheath: float
    outward: Tensor
    margin: float
    tight_margin: float


@dataclass(frozen=True)
class Layer:
    """A shell's thickness: `mean` plus noise, never negative."""

    mean: float
    noise: Noise


@dataclass(frozen=True)
class SurroundPlan:
    """Shells, skin and all other tissue around the brain."""

    fluid: Layer | None
    fluid_tilt: float
    vessels: tuple[Noise, Noise] | None
    vessel_width: float
    sinuses: list[Plane]
    sinus_radius: float
    membrane: Layer | None
    hard: Layer | None
    patches: Noise | None
    marrow: float
    marrow_patches: Noise | None
    soft: Layer
    bodies: list[Ellipsoid | Ball | Tube]
    blend: float
    tissues: int
    tissue: Noise
    grain: Noise | None
    fascia: Noise
    fascia_width: float
    air: float
    blobs: list[Ellipsoid]
    second: Ball | None


@dataclass(frozen=True)
class InsidePlan:
    """What lies within the brain's outline."""

    shrink: Noise | None
    regions: int
    region: Noise
    ribbon_depth: float
    folding: Noise
    fold_width: float
    fold_depth: float
    fold_lining: float
    fold: Noise
    centre: list[Ellipsoid]
    sheets: list[tuple[Plane, float]]
    lesions: list[Ball]


@dataclass(frozen=True)
class HeadPlan:
    """Everything drawn for one head."""

    view: View
    warp: list[Noise]
    brain: BrainPlan
    surround: SurroundPlan
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
        surround=_draw_surround(recipe, rng, brain, [plane for plane, _ in inside.sheets]),
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
    section, stalk = recipe['brain'], recipe['stalk']
    outward = _unit(draw.direction(rng), symmetric)
    lobes = [
        _drawn_ball(section, rng, 'lobe', draw.direction(rng) * semi_axes)
        for _ in range(section.integer('lobes', rng))
    ]
    bites = [
        _drawn_ball(section, rng, 'bite', _leaning(section, rng, 'bite', outward) * semi_axes)
        for _ in range(section.integer('bites', rng))
    ]
    cut = None
    if section.chance('flat_cut', rng):
        normal = _leaning(section, rng, 'flat', outward)
        cut = Plane(normal, section.uniform('flat_cut_offset', rng) * _reach(semi_axes, normal))
    outline = [
        draw_noise(rng, section[f'outline_{scale}_cell'], section.uniform(f'outline_{scale}', rng))
        for scale in ('coarse', 'fine')
    ]
    tube = None
    if stalk.chance('present', rng):
        lean = outward + stalk['lean'] * torch.randn(3, generator=rng)
        start = 0.4 * outward * semi_axes
        tube = Tube(start, _unit(lean, symmetric), 20.0, stalk.uniform('radius', rng))
    return BrainPlan(
        core=Ellipsoid(torch.zeros(3), semi_axes),
        lobes=lobes,
        bites=bites,
        cut=cut,
        outline=outline,
        stalk=tube,
        stalk_label_end=stalk.uniform('label_end', rng),
        stalk_sheath=stalk.uniform('sheath', rng),
        outward=outward,
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


def _leaning(section: Section, rng: torch.Generator, kind: str, outward: Tensor) -> Tensor:
    """Where a bite or a cut is made: anywhere, or on the stalk's side."""
    if not section.chance(f'{kind}_below', rng):
        return draw.direction(rng)
    towards = outward + section[f'{kind}_lean'] * torch.randn(3, generator=rng)
    return towards / towards.norm().clamp_min(1e-6)


def _reach(semi_axes: Tensor, direction: Tensor) -> float:
    """How far the ellipsoid extends in a direction."""
    return float((semi_axes * direction).norm())


def _draw_layer(section: Section, rng: torch.Generator, name: str) -> Layer:
    cell = section.uniform('noise_cell', rng)
    noise = draw_noise(rng, cell, section.uniform(f'{name}_noise', rng))
    return Layer(section.uniform(name, rng), noise)


def _draw_fluid(section: Section, rng: torch.Generator) -> Layer | None:
    layer = _draw_layer(section, rng, 'fluid')
    if section.chance('fluid_wide', rng):
        layer = Layer(layer.mean + section.uniform('fluid_wide_extra', rng), layer.noise)
    return None if section.chance('fluid_absent', rng) else layer


def _draw_surround(
    recipe: Recipe, rng: torch.Generator, brain: BrainPlan, sheets: list[Plane]
) -> SurroundPlan:
    shells, skin = recipe['shells'], recipe['skin']
    semi_axes, outward = brain.core.semi_axes, brain.outward
    hard = _draw_layer(shells, rng, 'hard')
    has_membrane = shells.chance('membrane', rng)
    membrane = _draw_layer(shells, rng, 'membrane_thickness')
    fluid = _draw_fluid(shells, rng)
    vessel_cell = shells.uniform('vessel_cell', rng)
    vessels = draw_noise(rng, vessel_cell), draw_noise(rng, vessel_cell)
    tight = shells.chance('tight', rng)
    if tight:
        # Thin bone right on the brain and flesh right on the bone, as in small animals.
        fluid = Layer(shells.uniform('tight_fluid', rng), replace(hard.noise, amplitude=0.01))
        hard = Layer(shells.uniform('tight_hard', rng), replace(hard.noise, amplitude=0.01))
    return SurroundPlan(
        fluid=fluid,
        fluid_tilt=shells.uniform('fluid_tilt', rng),
        vessels=vessels if shells.chance('vessels', rng) else None,
        vessel_width=shells.uniform('vessel_width', rng),
        sinuses=sheets if shells.chance('sinus', rng) else [],
        sinus_radius=shells.uniform('sinus_radius', rng),
        membrane=membrane if has_membrane else None,
        hard=None if shells.chance('hard_absent', rng) and not tight else hard,
        patches=draw_noise(rng, shells.uniform('patch_cell', rng))
        if shells.chance('hard_patchy', rng)
        else None,
        marrow=shells.uniform('marrow_share', rng) if shells.chance('marrow', rng) else 0.0,
        marrow_patches=draw_noise(rng, shells.uniform('marrow_cell', rng))
        if shells.chance('marrow_patchy', rng)
        else None,
        soft=_draw_layer(shells, rng, 'soft'),
        bodies=_draw_bodies(skin, rng, semi_axes, outward),
        blend=skin.uniform('blend', rng),
        tissues=skin.integer('tissues', rng),
        tissue=draw_noise(rng, skin.uniform('tissue_cell', rng)),
        grain=draw_noise(rng, skin.uniform('grain_cell', rng), skin.uniform('grain_share', rng))
        if skin.chance('grain', rng)
        else None,
        fascia=draw_noise(rng, skin.uniform('fascia_cell', rng)),
        fascia_width=skin.uniform('fascia_width', rng) if skin.chance('fascia', rng) else 0.0,
        air=skin.uniform('air', rng),
        blobs=_draw_blobs(skin, rng, semi_axes),
        second=_draw_second(skin, rng),
    )


def _draw_bodies(
    section: Section, rng: torch.Generator, semi_axes: Tensor, outward: Tensor
) -> list[Ellipsoid | Ball | Tube]:
    """Masses that share one skin with the brain case: face, jaw, neck, muscles."""
    bodies: list[Ellipsoid | Ball | Tube] = []
    if section.chance('large', rng):
        stretch = torch.tensor([section.uniform('large_stretch', rng) for _ in range(3)])
        centre = outward * section.uniform('large_shift', rng)
        size = semi_axes.clamp(0.8, 1.3) * section.uniform('large_radius', rng)
        bodies.append(Ellipsoid(centre, size * stretch))
    for _ in range(section.integer('masses', rng)):
        towards = outward + section['mass_lean'] * torch.randn(3, generator=rng)
        towards = towards / towards.norm().clamp_min(1e-6)
        position = section.uniform('mass_position', rng)
        bodies.append(Ball(towards * semi_axes * position, section.uniform('mass_radius', rng)))
    if section.chance('neck', rng):
        lean = outward + section['neck_lean'] * torch.randn(3, generator=rng)
        radius = section.uniform('neck_radius', rng)
        bodies.append(Tube(0.5 * outward * semi_axes, lean / lean.norm(), 20.0, radius))
    return bodies


def _draw_blobs(section: Section, rng: torch.Generator, semi_axes: Tensor) -> list[Ellipsoid]:
    blobs = []
    for _ in range(section.integer('blobs', rng)):
        radius = section.uniform('blob_radius', rng)
        centre = draw.direction(rng) * (
            semi_axes * section.uniform('blob_position', rng) + 0.5 * radius
        )
        stretch = torch.exp(section['blob_stretch'] * torch.randn(3, generator=rng))
        blobs.append(Ellipsoid(centre, radius * stretch))
    return blobs


def _draw_second(section: Section, rng: torch.Generator) -> Ball | None:
    centre = draw.direction(rng) * section.uniform('second_distance', rng)
    ball = Ball(centre, section.uniform('second_radius', rng))
    return ball if section.chance('second_object', rng) else None


def _draw_inside(section: Section, rng: torch.Generator, semi_axes: Tensor) -> InsidePlan:
    folds = section.chance('folds', rng)
    ribbon = section.chance('ribbon', rng)
    ribbon_cell = section.uniform('ribbon_cell', rng)
    shrink = draw_noise(rng, section.uniform('shrink_cell', rng), section.uniform('shrink', rng))
    return InsidePlan(
        shrink=shrink if section.chance('shrunken', rng) else None,
        regions=section.integer('regions', rng),
        region=draw_noise(rng, section.uniform('region_cell', rng)),
        ribbon_depth=section.uniform('ribbon_depth', rng) if ribbon else 0.0,
        folding=draw_noise(rng, ribbon_cell, section.uniform('ribbon_folding', rng)),
        fold_width=section.uniform('fold_width', rng) if folds else 0.0,
        fold_depth=section.uniform('fold_depth', rng),
        fold_lining=section.uniform('fold_lining', rng) if folds and ribbon else 0.0,
        fold=draw_noise(rng, section.uniform('fold_cell', rng)),
        centre=_draw_centre(section, rng) if section.chance('centre', rng) else [],
        sheets=_draw_sheets(section, rng) if section.chance('sheets', rng) else [],
        lesions=_draw_lesions(section, rng, semi_axes) if section.chance('lesions', rng) else [],
    )


def _draw_centre(section: Section, rng: torch.Generator) -> list[Ellipsoid]:
    """Two ellipsoids of fluid near the middle."""
    ellipsoids = []
    for _ in range(2):
        size = section.uniform('centre_size', rng)
        stretch = torch.exp(section['centre_stretch'] * torch.randn(3, generator=rng))
        shift = section['centre_shift'] * torch.randn(3, generator=rng)
        ellipsoids.append(Ellipsoid(shift, (size * stretch).clamp(0.04, 0.6)))
    return ellipsoids


def _draw_sheets(section: Section, rng: torch.Generator) -> list[tuple[Plane, float]]:
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
