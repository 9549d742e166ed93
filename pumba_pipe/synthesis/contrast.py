"""Intensities: a mean and a texture for every region of a head, drawn at random.

No intensity was measured on, or fitted to, any real image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pumba_pipe.synthesis import draw, regions
from pumba_pipe.synthesis.noise import Noise, draw_noise, evaluate_noise, white_noise
from pumba_pipe.synthesis.recipe import Recipe, Section

PLACES = 3  # where a region may have another mean each
# Regions whose mean may change along the head.
VARYING = (
    regions.CSF, regions.SKULL, regions.DIPLOE, regions.SCALP, regions.BRAINSTEM, regions.DURA,
    regions.VENOUS_SINUS,
)  # fmt: skip


@dataclass(frozen=True)
class Contrast:
    """Intensity of every region.

    Attributes
    ----------
    means : Tensor, shape (PLACES, REGION_COUNT)
        In units where most tissue lies in 0..1. Around the brain a region may have up to three
        means, each in other places: the contrast of a border changes along it.
    spreads : Tensor, shape (REGION_COUNT,)
        Standard deviations, in the same unit.
    places : Noise
        Says where which mean counts.
    window : tuple of float
        Values below the first and above the second are cut.
    smoothness : float
        Share of the variance that is smooth texture; the rest is white.
    texture : Noise
        Its cell is in units of half the field of view.
    seed : int
        Of the white texture.
    """

    means: Tensor
    spreads: Tensor
    places: Noise
    window: tuple[float, float]
    smoothness: float
    texture: Noise
    seed: int


def draw_contrast(recipe: Recipe, rng: torch.Generator) -> Contrast:
    """Draw the intensities of one head."""
    section = recipe['intensity']
    low, high = section['mean']
    means = low + (high - low) * torch.rand(regions.REGION_COUNT, generator=rng)
    _draw_brain_means(means, section, rng)
    _draw_outside_means(means, recipe, rng)
    low, high = section['spread']
    spreads = low + (high - low) * torch.rand(regions.REGION_COUNT, generator=rng)
    spreads[regions.BACKGROUND] = 0
    spreads[regions.AIR] *= section['air_spread_gain']
    window = 0.0, math.inf
    local_means = _draw_local_means(means, section, rng)
    if section.chance('ct', rng):
        window = _draw_ct(local_means, spreads, section, rng)
    _strip_or_suppress(local_means, spreads, section, rng)
    for part in (regions.CORD_CSF, regions.INNER_CSF, regions.CSF_RIM):
        local_means[:, part] = local_means[:, regions.CSF]
        spreads[part] = spreads[regions.CSF]
    return Contrast(
        means=local_means,
        spreads=spreads,
        places=draw_noise(rng, section.uniform('class_cell', rng)),
        window=window,
        smoothness=draw.uniform(rng, 0, 1),
        texture=draw_noise(rng, section.uniform('texture_cell', rng)),
        seed=draw.new_seed(rng),
    )


def _draw_brain_means(means: Tensor, section: Section, rng: torch.Generator) -> None:
    brain = slice(regions.BRAIN, regions.LESION)
    count = regions.LESION - regions.BRAIN
    if section.chance('brain_band', rng):
        middle = section.uniform('brain_band_mean', rng)
        width = section.uniform('brain_band_width', rng)
        means[brain] = (middle + width * torch.randn(count, generator=rng)).clamp(0.02, 1.2)
    _draw_csf_mean(means, section, rng)
    if section.chance('fluid_like_folds', rng):
        means[[regions.SULCUS, regions.VENTRICLE]] = float(means[regions.CSF])
    else:
        means[[regions.SULCUS, regions.VENTRICLE]] = torch.rand(2, generator=rng)


def _draw_csf_mean(means: Tensor, section: Section, rng: torch.Generator) -> None:
    """CSF is mostly the darkest or the brightest of what a scan shows."""
    brain = means[regions.DEEP_TISSUE : regions.CORTEX + 1]
    dark, bright = section.chance('fluid_dark', rng), section.chance('fluid_bright', rng)
    if dark:
        means[regions.CSF] = float(brain.min()) * section.uniform('fluid_dark_gain', rng)
    elif bright:
        means[regions.CSF] = float(brain.max()) * section.uniform('fluid_bright_gain', rng)


def _draw_outside_means(means: Tensor, recipe: Recipe, rng: torch.Generator) -> None:
    section, skin = recipe['intensity'], recipe['skin']
    brain = means[regions.DEEP_TISSUE : regions.CORTEX + 1]
    if section.chance('hard_dark', rng):
        means[regions.SKULL] = section.uniform('hard_dark_mean', rng)
    for tissue in range(regions.TISSUE, regions.TISSUE + 8):
        if skin.chance('tissue_like_brain', rng):
            pick = draw.integer(rng, 0, len(brain) - 1)
            means[tissue] = brain[pick] * section.uniform('tissue_gain', rng)
        elif skin.chance('tissue_like_hard', rng):
            means[tissue] = means[regions.SKULL]
    for region in (
        *range(regions.TISSUE, regions.TISSUE + 8),
        *range(regions.EYE_OR_GLAND, regions.EYE_OR_GLAND + 8),
    ):
        if section.chance('bright', rng):
            means[region] = float(brain.max()) * section.uniform('bright_gain', rng)
    if skin.chance('fascia_like_folds', rng):
        means[regions.FASCIA] = means[regions.SULCUS]
    if recipe['stalk'].chance('like_brain', rng):
        means[regions.BRAINSTEM] = means[regions.DEEP_TISSUE]
    means[regions.BACKGROUND] = 0
    if not section.chance('background_plain', rng):
        means[regions.BACKGROUND] = section.uniform('background_mean', rng)
    means[regions.AIR] = means[regions.BACKGROUND] + section.uniform('air_extra', rng)


def _draw_local_means(means: Tensor, section: Section, rng: torch.Generator) -> Tensor:
    """Means of every region in each of the places, shape (PLACES, REGION_COUNT)."""
    local_means = means.repeat(PLACES, 1)
    for region in VARYING:
        if section.chance('classes', rng):
            change = section['class_spread'] * torch.randn(PLACES - 1, generator=rng)
            local_means[1:, region] = (local_means[0, region] + change).clamp(0, 1.5)
    return local_means


def _draw_ct(
    local_means: Tensor, spreads: Tensor, section: Section, rng: torch.Generator
) -> tuple[float, float]:
    """Make bone bright and all else nearly one grey, in place; return the window of values."""
    grey = draw.uniform(rng, 0.35, 0.7)
    low = grey * section.uniform('ct_window_low', rng)
    high = grey * section.uniform('ct_window_high', rng)
    contrast = section.uniform('ct_contrast', rng) * grey
    count = regions.REGION_COUNT
    local_means[:] = (grey + contrast * torch.randn(count, generator=rng)).clamp_min(0.02)
    csf = grey - contrast * draw.uniform(rng, 0, 3)
    local_means[:, [regions.CSF, regions.SULCUS, regions.VENTRICLE]] = csf
    fat = torch.rand(8, generator=rng) < 0.3
    local_means[:, regions.TISSUE : regions.TISSUE + 8][:, fat] = csf - contrast
    local_means[:, regions.SCALP] = draw.uniform(rng, csf - 2 * contrast, grey)
    bone = grey * draw.uniform(rng, 1.5, 4)
    local_means[:, regions.SKULL] = bone
    local_means[:, regions.DIPLOE] = draw.uniform(rng, grey, bone)
    local_means[:, [regions.BACKGROUND, regions.AIR]] = 0
    spreads *= 0.3
    return low, high


def _strip_or_suppress(
    local_means: Tensor, spreads: Tensor, section: Section, rng: torch.Generator
) -> None:
    outside = torch.arange(regions.REGION_COUNT) < regions.BRAIN
    if section.chance('suppressed', rng):
        gain = section.uniform('suppressed_gain', rng)
        if draw.chance(rng, 0.5):
            outside[regions.CSF] = False
        local_means[:, outside] *= gain
        spreads[outside] *= gain
    elif section.chance('stripped', rng):
        outside[regions.CSF] = not section.chance('stripped_keeps_fluid', rng)
        local_means[:, outside] = 0
        spreads[outside] = 0


def paint(region_map: Tensor, contrast: Contrast) -> Tensor:
    """Give every voxel its region's intensity.

    Parameters
    ----------
    region_map : Tensor of uint8, shape (x, y, z)
    contrast : Contrast

    Returns
    -------
    Tensor of float32, shape (x, y, z), at least zero.
    """
    device = region_map.device
    index = region_map.to(torch.int32)
    texture = contrast.smoothness**0.5 * evaluate_noise(
        contrast.texture, unit_axes(region_map.shape, device)
    )[0] + (1 - contrast.smoothness) ** 0.5 * white_noise(
        contrast.seed, region_map.shape, device
    )  # fmt: skip
    image = _means(index, contrast) + contrast.spreads.to(device)[index] * texture
    low, high = contrast.window
    return image.clamp(low, high) - low


def _means(index: Tensor, contrast: Contrast) -> Tensor:
    means = contrast.means.to(index.device)
    if bool((means == means[0]).all()):
        return means[0][index]
    axes = unit_axes(index.shape, index.device)
    place = evaluate_noise(contrast.places, axes, PLACES).argmax(0)
    return means.flatten()[place * means.shape[1] + index]


def unit_axes(shape: Sequence[int], device: torch.device) -> list[Tensor]:
    """Coordinates of the voxels along each axis, -1..1 over the longest side."""
    longest = max(shape)
    return [(torch.arange(n, device=device) - (n - 1) / 2) * (2 / longest) for n in shape]
