"""What a scanner does to an image: coils, sampling, noise, k-space errors, field of view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pumba_pipe.images.intensity import INTENSITY_PERCENTILES, rescale
from pumba_pipe.images.resampling import apply_separable, linear_matrix, slice_profile
from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.contrast import unit_axes
from pumba_pipe.synthesis.noise import Noise, draw_noise, evaluate_noise, white_noise
from pumba_pipe.synthesis.recipe import Recipe, Section

MOST_CUT = 0.25  # voxels cut off as highlights, over those of the brain


@dataclass(frozen=True)
class Coil:
    """Fields that multiply the image; positions and lengths in half fields of view.

    Of several surface coils, as of an array around the head, the sensitivities add up.
    """

    bias: Noise
    surfaces: list[Tensor]
    surface_reach: float
    dropouts: list[tuple[Tensor, float]]


@dataclass(frozen=True)
class Sampling:
    """Acquired voxel size and blur per axis, in voxels of the grid."""

    voxel: tuple[float, float, float]
    blur: tuple[float, float, float]


@dataclass(frozen=True)
class KSpace:
    """Errors in k-space; a strength of zero switches one off."""

    axis: int
    ringing_keep: float
    ghost_count: int
    ghost_strength: float
    spike_strength: float
    spike_position: tuple[float, float, float]
    wrap_shift: float
    wrap_strength: float


@dataclass(frozen=True)
class Receiver:
    """Noise and the grey scale."""

    noise: float
    loud_background: bool
    gamma: float
    seed: int


@dataclass(frozen=True)
class Artefacts:
    """All that was drawn for one image; `low` and `high` bound the field of view per axis."""

    coil: Coil
    sampling: Sampling
    k_space: KSpace
    receiver: Receiver
    low: Tensor
    high: Tensor
    percentiles: tuple[float, float]


def draw_artefacts(recipe: Recipe, rng: torch.Generator) -> Artefacts:
    """Draw the artefacts of one image."""
    section = recipe['artefact']
    low, high = _draw_field_of_view(section, rng)
    return Artefacts(
        coil=_draw_coil(section, rng),
        sampling=_draw_sampling(section, rng),
        k_space=_draw_k_space(section, rng),
        receiver=_draw_receiver(section, rng),
        low=low,
        high=high,
        percentiles=(section['percentile_low'], section.uniform('percentile_high', rng)),
    )


def _draw_coil(section: Section, rng: torch.Generator) -> Coil:
    bias = draw_noise(rng, section.uniform('bias_cell', rng), section.uniform('bias', rng))
    coils = section.integer('coil_count', rng) if section.chance('coil', rng) else 0
    position = section.uniform('coil_position', rng)
    count = section.integer('dropout_count', rng) if section.chance('dropout', rng) else 0
    return Coil(
        bias=bias,
        surfaces=[draw.direction(rng) * position for _ in range(coils)],
        surface_reach=section.uniform('coil_reach', rng),
        dropouts=[
            (
                draw.direction(rng) * section.uniform('dropout_position', rng),
                section.uniform('dropout_radius', rng),
            )
            for _ in range(count)
        ],
    )


def _draw_sampling(section: Section, rng: torch.Generator) -> Sampling:
    voxel = [section.uniform('voxel', rng)] * 3
    if section.chance('thick', rng):
        voxel[draw.integer(rng, 0, 2)] *= section.uniform('thick_factor', rng)
    blur = [section.uniform('blur', rng)] * 3
    if section.chance('soft', rng):
        blur = [section.uniform('soft_blur', rng)] * 3
    return Sampling((voxel[0], voxel[1], voxel[2]), (blur[0], blur[1], blur[2]))


def _draw_k_space(section: Section, rng: torch.Generator) -> KSpace:
    return KSpace(
        axis=draw.integer(rng, 0, 2),
        ringing_keep=section.uniform('ringing_keep', rng)
        if section.chance('ringing', rng)
        else 1.0,
        ghost_count=section.integer('ghost_count', rng),
        ghost_strength=section.uniform('ghost_strength', rng)
        if section.chance('ghost', rng)
        else 0.0,
        spike_strength=section.uniform('spike_strength', rng)
        if section.chance('spike', rng)
        else 0.0,
        spike_position=(
            draw.uniform(rng, -1, 1),
            draw.uniform(rng, -1, 1),
            draw.uniform(rng, -1, 1),
        ),
        wrap_shift=section.uniform('wrap_shift', rng),
        wrap_strength=section.uniform('wrap_strength', rng)
        if section.chance('wrap', rng)
        else 0.0,
    )


def _draw_receiver(section: Section, rng: torch.Generator) -> Receiver:
    loud = section.chance('noise_high_chance', rng)
    return Receiver(
        noise=section.uniform('noise_high' if loud else 'noise_low', rng),
        loud_background=section.chance('phase_noise', rng),
        gamma=math.exp(section.uniform('gamma', rng)),
        seed=draw.new_seed(rng),
    )


def _draw_field_of_view(section: Section, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    low, high = torch.full((3,), -1.0), torch.full((3,), 1.0)
    if section.chance('crop', rng):
        for axis in range(3):
            low[axis] += 2 * section.uniform('crop_fraction', rng)
            high[axis] -= 2 * section.uniform('crop_fraction', rng)
    if section.chance('slab', rng):
        axis = draw.integer(rng, 0, 2)
        thickness = section.uniform('slab_thickness', rng)
        middle = section.uniform('slab_middle', rng)
        low[axis], high[axis] = middle - thickness, middle + thickness
    return low, high


def corrupt(image: Tensor, artefacts: Artefacts, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Apply all artefacts and scale the result to 0..1.

    Parameters
    ----------
    image : Tensor, shape (x, y, z)
    artefacts : Artefacts
    brain : Tensor of bool, shape (x, y, z)
        Limits how many voxels are cut off as highlights.

    Returns
    -------
    image : Tensor, shape (x, y, z)
        Zero outside the field of view.
    inside : Tensor of bool, shape (x, y, z)
        The field of view.
    """
    image = apply_coil(image, artefacts.coil)
    image = acquire(image, artefacts.sampling, artefacts.k_space, artefacts.receiver)
    inside = fov_mask(image.shape, artefacts.low, artefacts.high, image.device)
    low, high = artefacts.percentiles
    return rescale(image, inside, (low, white_percentile(high, brain, inside))), inside


def white_percentile(drawn: float, brain: Tensor, inside: Tensor) -> float:
    """Percentile that becomes white: the drawn one, or one that leaves a small brain its greys.

    Of a whole head the brain may be a hundredth of the field of view. What is cut off beyond the
    percentile that images are read with is then at most `MOST_CUT` of the brain's size.
    """
    usual = INTENSITY_PERCENTILES[1]
    share = float((brain & inside).sum() / inside.sum().clamp(min=1))
    return drawn if drawn > usual else max(drawn, min(usual, 100 * (1 - MOST_CUT * share)))


def apply_coil(image: Tensor, coil: Coil) -> Tensor:
    """Multiply an image by bias field, surface-coil falloff and signal dropout."""
    axes = unit_axes(image.shape, image.device)
    gain = evaluate_noise(coil.bias, axes)[0].exp()
    if coil.surfaces:
        distances = (_squared_distance(axes, position) for position in coil.surfaces)
        reach = coil.surface_reach**2
        gain = gain * sum((1 + distance / reach) ** -1.5 for distance in distances)
    for position, radius in coil.dropouts:
        distance = _squared_distance(axes, position)
        gain = gain * (1 - torch.exp(-distance / radius**2))
    return image * gain


def _squared_distance(axes: Sequence[Tensor], position: Tensor) -> Tensor:
    x, y, z = (
        (axis - float(centre)).square() for axis, centre in zip(axes, position, strict=True)
    )
    return x[:, None, None] + y[None, :, None] + z[None, None, :]


def acquire(image: Tensor, sampling: Sampling, k_space: KSpace, receiver: Receiver) -> Tensor:
    """Sample an image at the scanner's voxel size, add its errors, and come back to the grid."""
    down, up = [], []
    for axis, size in enumerate(image.shape):
        step = max(1.0, sampling.voxel[axis])
        count = max(2, round(size / step))
        down.append(slice_profile(size, count, sampling.blur[axis], image.device))
        up.append(linear_matrix(count, size, image.device))
    acquired = apply_separable(image, down)
    acquired = corrupt_k_space(acquired, k_space)
    acquired = add_noise(acquired, receiver)
    return apply_separable(acquired, up)


def corrupt_k_space(image: Tensor, k_space: KSpace) -> Tensor:
    """Apply ringing, ghosts, a spike and wrap-around."""
    axis = k_space.axis
    if k_space.wrap_strength > 0:
        # What lies beyond the field of view is folded in; the head itself stays in place.
        shift = round(k_space.wrap_shift * image.shape[axis])
        image = image + k_space.wrap_strength * image.roll(shift, axis)
    if k_space.ringing_keep >= 1 and k_space.ghost_strength == 0 and k_space.spike_strength == 0:
        return image
    spectrum = torch.fft.fftshift(torch.fft.fftn(image))
    size = image.shape[axis]
    line = torch.arange(size, device=image.device)
    weight = torch.ones(size, device=image.device)
    if k_space.ringing_keep < 1:
        weight *= ((line - size // 2).abs() <= k_space.ringing_keep * size / 2).float()
    if k_space.ghost_strength > 0:
        modulated = 1 - k_space.ghost_strength * (line % k_space.ghost_count == 0).float()
        # The centre of k-space keeps its weight, or the image would only darken.
        weight *= torch.where((line - size // 2).abs() <= 0.03 * size, 1.0, modulated)
    shape = [1, 1, 1]
    shape[axis] = size
    spectrum = spectrum * weight.reshape(shape)
    if k_space.spike_strength > 0:
        place = tuple(
            int((0.5 + 0.45 * position) * (n - 1))
            for position, n in zip(k_space.spike_position, image.shape, strict=True)
        )
        spectrum[place] += k_space.spike_strength * spectrum.abs().max()
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum)).abs()


def add_noise(image: Tensor, receiver: Receiver) -> Tensor:
    """Add Rician noise, a loud background where asked, and bend the grey scale."""
    scale = float(image.mean() + 2 * image.std()) or 1.0
    first, second = white_noise(receiver.seed, (2, *image.shape), image.device)
    sigma = receiver.noise * scale
    noisy = ((image + sigma * first).square() + (sigma * second).square()).sqrt()
    if receiver.loud_background:
        empty = torch.exp(-((image / (0.1 * scale)) ** 2))
        noisy = noisy + empty * (0.5 + 0.3 * second).clamp(0, 1) * scale
    top = float(noisy.max()) or 1.0
    return (noisy / top).clamp_min(0) ** receiver.gamma


def fov_mask(shape: Sequence[int], low: Tensor, high: Tensor, device: torch.device) -> Tensor:
    """Mask, shape (x, y, z), of what was scanned; `low` and `high` in -1..1 per axis."""
    sides = [
        (axis >= float(first)) & (axis <= float(last))
        for axis, first, last in zip(unit_axes(shape, device), low, high, strict=True)
    ]
    return sides[0][:, None, None] & sides[1][None, :, None] & sides[2][None, None, :]
