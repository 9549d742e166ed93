"""The scanner's part of the synthesis: every deterministic function called alone."""

import dataclasses
import math

import pytest
import torch

from pumba_pipe.synthesis import artefacts, contrast, draw, regions
from pumba_pipe.synthesis.artefacts import KSpace, Receiver, Sampling, draw_artefacts
from pumba_pipe.synthesis.noise import Noise
from pumba_pipe.synthesis.recipe import load_recipe

CPU = torch.device('cpu')


def quiet_k_space() -> KSpace:
    """A draw of errors in k-space with all of them off."""
    recipe = load_recipe('default')
    off = dict.fromkeys(('ringing', 'ghost', 'spike', 'wrap'), 0.0)
    tables = {**recipe.tables, 'artefact': {**recipe.tables['artefact'], **off}}
    k_space = draw_artefacts(dataclasses.replace(recipe, tables=tables), draw.seeded(0)).k_space
    return dataclasses.replace(k_space, axis=0, ghost_count=2)


QUIET = quiet_k_space()


def box_image(size: int = 32) -> torch.Tensor:
    image = torch.zeros(size, size, size)
    image[8:14, 12:20, 12:20] = 1
    return image


class TestSampling:
    def test_full_sampling_without_noise_keeps_the_image(self):
        image = box_image()
        receiver = Receiver(noise=0.0, loud_background=False, gamma=1.0, seed=0)
        acquired = artefacts.acquire(image, Sampling((1, 1, 1), (0, 0, 0)), QUIET, receiver)
        torch.testing.assert_close(acquired, image, atol=1e-4, rtol=0)

    def test_thick_slices_blur_their_axis_only(self):
        image = box_image()
        receiver = Receiver(noise=0.0, loud_background=False, gamma=1.0, seed=0)
        acquired = artefacts.acquire(image, Sampling((1, 1, 6), (0, 0, 0)), QUIET, receiver)
        assert acquired[:, :, 22].max() > 0.05
        assert acquired[15:, :, :].max() < 1e-3 and acquired[:, 21:, :].max() < 1e-3


class TestKSpace:
    def test_quiet_k_space_changes_nothing(self):
        image = box_image()
        assert torch.equal(artefacts.corrupt_k_space(image, QUIET), image)

    def test_ghosts_appear_at_their_distance(self):
        ghosts = dataclasses.replace(QUIET, ghost_strength=0.5)
        image = artefacts.corrupt_k_space(box_image(), ghosts)
        assert image[24:30, 12:20, 12:20].mean() > 0.1
        assert image[8:14, 12:20, 12:20].mean() > 0.5

    def test_ringing_leaves_its_axis_only(self):
        ringing = dataclasses.replace(QUIET, ringing_keep=0.5)
        image = artefacts.corrupt_k_space(box_image(), ringing)
        assert image[:, 15, 15][20:].max() > 0.01
        assert image[:, :11].max() < 1e-5 and image[:, :, 21:].max() < 1e-5

    def test_a_spike_is_a_wave_over_the_whole_image(self):
        spike = dataclasses.replace(QUIET, spike_strength=0.1, spike_position=(0.3, 0.2, -0.4))
        image = artefacts.corrupt_k_space(box_image(), spike)
        assert image[20:, 24:, 24:].mean() > 1e-3


class TestReceiver:
    def test_noise_is_reproducible_and_covers_the_background(self):
        receiver = Receiver(noise=0.1, loud_background=False, gamma=1.0, seed=4)
        image = artefacts.add_noise(box_image(), receiver)
        assert torch.equal(image, artefacts.add_noise(box_image(), receiver))
        assert image.min() >= 0 and image.max() == 1
        assert image[20:].mean() > 0

    def test_loud_background_is_brighter(self):
        quiet = Receiver(noise=0.05, loud_background=False, gamma=1.0, seed=4)
        loud = Receiver(noise=0.05, loud_background=True, gamma=1.0, seed=4)
        level = [float(artefacts.add_noise(box_image(), r)[20:].mean()) for r in (quiet, loud)]
        assert level[1] > 3 * level[0]

    def test_gamma_bends_the_grey_scale(self):
        ramp = torch.linspace(0, 1, 27).reshape(3, 3, 3)
        bent = artefacts.add_noise(ramp, Receiver(0.0, False, 2.0, 0))
        torch.testing.assert_close(bent, ramp**2)

    def test_a_blank_image_stays_finite(self):
        blank = torch.zeros(6, 6, 6)
        assert (artefacts.add_noise(blank, Receiver(0.0, False, 0.7, 0)) == 0).all()


class TestScale:
    def test_field_of_view_is_a_box(self):
        whole = artefacts.fov_mask((8, 8, 8), torch.full((3,), -1), torch.ones(3), CPU)
        assert whole.all()
        low = torch.tensor([0.0, -1, -1])
        half = artefacts.fov_mask((8, 8, 8), low, torch.ones(3), CPU)
        assert not half[:4].any() and half[4:].all()

    def test_bias_is_a_gain_and_a_coil_falls_off(self):
        ones = torch.ones(24, 24, 24)
        flat = artefacts.Coil(Noise(1.0, 0.0, 0), [], 1.0, [])
        torch.testing.assert_close(artefacts.apply_coil(ones, flat), ones)
        surface = artefacts.Coil(
            Noise(1.0, 0.0, 0),
            [torch.tensor([-1.0, 0, 0])],
            0.8,
            [(torch.tensor([0.0, 0, 1]), 0.3)],
        )
        gain = artefacts.apply_coil(ones, surface)
        assert gain[0, 12, 12] > 2 * gain[-1, 12, 12]
        assert gain[12, 12, -1] < 0.2 * gain[12, 12, 0]

    def test_coils_all_around_light_the_surface(self):
        around = [torch.eye(3)[axis] * sign for axis in range(3) for sign in (-1, 1)]
        array = artefacts.Coil(Noise(1.0, 0.0, 0), around, 0.5, [])
        gain = artefacts.apply_coil(torch.ones(25, 25, 25), array)
        assert gain[12, 12, 12] < 0.7 * gain[2, 12, 12]
        torch.testing.assert_close(gain, gain.flip(1))


def plain_contrast(means, spreads, smoothness) -> contrast.Contrast:
    """One mean a region everywhere, and no window."""
    everywhere = means.repeat(contrast.PLACES, 1)
    noise = Noise(0.3, 1.0, 0)
    return contrast.Contrast(everywhere, spreads, noise, (0.0, math.inf), smoothness, noise, 1)


class TestContrast:
    def test_every_region_gets_its_mean(self):
        means = torch.linspace(0, 1, regions.REGION_COUNT)
        plain = plain_contrast(means, torch.zeros(regions.REGION_COUNT), 0.5)
        region_map = torch.randint(
            0, regions.REGION_COUNT, (12, 12, 12), generator=draw.seeded(0)
        ).to(torch.uint8)
        torch.testing.assert_close(
            contrast.paint(region_map, plain), means[region_map.to(torch.int32)]
        )

    def test_texture_has_the_asked_spread_and_never_goes_below_zero(self):
        region_map = torch.zeros(40, 40, 40, dtype=torch.uint8)
        region_map[:20] = regions.BRAIN
        means, spreads = torch.zeros(48), torch.full((48,), 0.1)
        means[regions.BRAIN] = 0.8
        image = contrast.paint(region_map, plain_contrast(means, spreads, 0.0))
        assert image.min() == 0
        assert float(image[:20].std()) == pytest.approx(0.1, rel=0.05)
        assert float(image[:20].mean()) == pytest.approx(0.8, abs=0.01)
