"""The deterministic pieces of the synthesis, each called alone."""

import dataclasses
import math

import pytest
import torch

from pumba_pipe.feeding import resampling_matrix
from pumba_pipe.synthesis import artefacts, contrast, draw, regions
from pumba_pipe.synthesis.artefacts import KSpace, Receiver, Sampling, draw_artefacts
from pumba_pipe.synthesis.noise import (
    Noise,
    apply_separable,
    evaluate_noise,
    spline_matrix,
    white_noise,
)
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.synthesis.shapes import (
    Ball,
    Ellipsoid,
    Plane,
    Tube,
    smooth_maximum,
    smooth_minimum,
)

CPU = torch.device('cpu')


def quiet_k_space() -> KSpace:
    """A draw of errors in k-space with all of them off."""
    recipe = load_recipe('default')
    off = dict.fromkeys(('ringing', 'ghost', 'spike', 'wrap'), 0.0)
    tables = {**recipe.tables, 'artefact': {**recipe.tables['artefact'], **off}}
    k_space = draw_artefacts(dataclasses.replace(recipe, tables=tables), draw.seeded(0)).k_space
    return dataclasses.replace(k_space, axis=0, ghost_count=2)


QUIET = quiet_k_space()


def at(*points: tuple[float, float, float]) -> torch.Tensor:
    """Points as a tensor of shape (3, n)."""
    return torch.tensor(points, dtype=torch.float32).T


def box_image(size: int = 32) -> torch.Tensor:
    image = torch.zeros(size, size, size)
    image[8:14, 12:20, 12:20] = 1
    return image


class TestDraw:
    def test_same_parts_same_seed_and_neighbours_differ(self):
        seeds = [draw.derived_seed(1, index) for index in range(200)]
        assert seeds == [draw.derived_seed(1, index) for index in range(200)]
        assert len(set(seeds)) == 200
        assert draw.derived_seed(1, 2) != draw.derived_seed(2, 1)
        assert all(0 <= seed < 2**63 for seed in seeds)

    def test_integers_reach_both_ends_and_no_further(self):
        rng = draw.seeded(0)
        assert {draw.integer(rng, 2, 4) for _ in range(100)} == {2, 3, 4}

    def test_numbers_stay_in_their_range(self):
        rng = draw.seeded(0)
        values = [draw.uniform(rng, -3.0, 5.0) for _ in range(300)]
        assert -3 <= min(values) < -2 and 4 < max(values) <= 5

    def test_certain_and_impossible_chances(self):
        rng = draw.seeded(0)
        assert all(draw.chance(rng, 1.0) for _ in range(50))
        assert not any(draw.chance(rng, 0.0) for _ in range(50))

    def test_directions_have_unit_length_and_no_preference(self):
        rng = draw.seeded(0)
        vectors = torch.stack([draw.direction(rng) for _ in range(1000)])
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1000))
        assert vectors.mean(0).abs().max() < 0.1

    def test_rotations_are_orthogonal_and_reach_every_axis(self):
        rng = draw.seeded(0)
        first_axis = set()
        for _ in range(100):
            turn = draw.rotation(rng, 20.0)
            torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
            column = turn[:, 0]
            axis = int(column.abs().argmax())
            first_axis.add((axis, bool(column[axis] > 0)))
        assert len(first_axis) == 6


class TestNoise:
    def test_spline_weights_sum_to_one(self):
        weights = spline_matrix(torch.linspace(-1, 1, 33), 0.3)
        torch.testing.assert_close(weights.sum(1), torch.ones(33))
        assert weights.min() >= 0

    def test_zero_mean_and_the_asked_deviation_over_draws(self):
        axes = [torch.linspace(-1, 1, 9)] * 3
        fields = torch.stack(
            [evaluate_noise(Noise(0.4, 1.5, seed), axes)[0] for seed in range(400)]
        )
        assert abs(float(fields.mean())) < 0.03
        assert float(fields.std()) == pytest.approx(1.5, rel=0.03)

    def test_smaller_cells_are_rougher(self):
        axes = [torch.linspace(-1, 1, 24)] * 3

        def roughness(cell: float) -> float:
            steps = [evaluate_noise(Noise(cell, 1.0, s), axes)[0].diff(dim=0) for s in range(10)]
            return float(torch.stack(steps).std())

        assert roughness(0.15) > 2 * roughness(0.6)

    def test_channels_are_independent_and_reproducible(self):
        axes = [torch.linspace(-1, 1, 16)] * 3
        field = evaluate_noise(Noise(0.2, 1.0, 7), axes, channels=2)
        assert torch.equal(field, evaluate_noise(Noise(0.2, 1.0, 7), axes, channels=2))
        correlation = torch.corrcoef(field.flatten(1))[0, 1]
        assert abs(float(correlation)) < 0.3

    def test_the_same_place_has_the_same_value_on_a_finer_grid(self):
        coarse = [torch.linspace(-1, 1, 9)] * 3
        fine = [torch.linspace(-1, 1, 17)] * 3
        noise = Noise(0.5, 1.0, 3)
        expected = evaluate_noise(noise, fine)[0][::2, ::2, ::2]
        torch.testing.assert_close(evaluate_noise(noise, coarse)[0], expected, atol=1e-4, rtol=0)

    def test_separable_product_is_the_full_one(self):
        volume = torch.rand(2, 3, 4, 5, generator=draw.seeded(0))
        matrices = [torch.rand(6, n, generator=draw.seeded(n)) for n in (3, 4, 5)]
        expected = torch.einsum('nabc,xa,yb,zc->nxyz', volume, *matrices)
        torch.testing.assert_close(apply_separable(volume, matrices), expected)

    def test_white_noise_repeats_with_its_seed(self):
        first = white_noise(5, (40, 40, 40), CPU)
        assert torch.equal(first, white_noise(5, (40, 40, 40), CPU))
        assert not torch.equal(first, white_noise(6, (40, 40, 40), CPU))
        assert float(first.std()) == pytest.approx(1, rel=0.02)


class TestShapes:
    def test_ellipsoid_is_negative_inside_zero_on_and_positive_outside(self):
        shape = Ellipsoid(torch.tensor([1.0, 0, 0]), torch.tensor([2.0, 1.0, 0.5]))
        on = shape.surface(at((3, 0, 0), (-1, 0, 0), (1, 1, 0), (1, 0, -0.5)))
        torch.testing.assert_close(on, torch.zeros(4), atol=1e-6, rtol=0)
        assert (shape.surface(at((1.5, 0, 0), (1, 0.9, 0), (1, 0, 0.4))) < 0).all()
        assert (shape.surface(at((3.1, 0, 0), (1, 1.1, 0), (1, 0, 0.6))) > 0).all()

    def test_ellipsoid_measures_distance_near_its_surface(self):
        shape = Ellipsoid(torch.zeros(3), torch.tensor([2.0, 1.0, 0.5]))
        near = shape.surface(at((2.01, 0, 0), (0, 1.01, 0), (0, 0, 0.51)))
        torch.testing.assert_close(near, torch.full((3,), 0.01), atol=3e-4, rtol=0)

    def test_turned_ellipsoid(self):
        turn = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
        shape = Ellipsoid(torch.zeros(3), torch.tensor([2.0, 1.0, 1.0]), turn)
        inside, outside = shape.surface(at((0, 1.9, 0), (1.9, 0, 0)))
        assert inside < 0 < outside

    def test_ball_is_an_exact_distance(self):
        surface = Ball(torch.tensor([0.0, 1, 0]), 2.0).surface(at((0, 1, 0), (0, 4, 0), (2, 1, 0)))
        torch.testing.assert_close(surface, torch.tensor([-2.0, 1, 0]))

    def test_plane_is_negative_towards_the_origin(self):
        surface = Plane(torch.tensor([0.0, 0, 1]), 0.5).surface(at((3, 2, 0), (0, 0, 0.7)))
        torch.testing.assert_close(surface, torch.tensor([-0.5, 0.2]))

    def test_tube_has_a_wall_and_round_ends(self):
        tube = Tube(torch.zeros(3), torch.tensor([1.0, 0, 0]), 4.0, 0.5)
        surface = tube.surface(at((2, 0, 0), (2, 0.5, 0), (2, 0, 1), (-1, 0, 0), (5, 0, 0)))
        torch.testing.assert_close(surface, torch.tensor([-0.5, 0, 0.5, 0.5, 0.5]))

    def test_smooth_minimum_joins_and_never_takes_away(self):
        first = torch.linspace(-1, 1, 201)
        second = first.flip(0)
        joined = smooth_minimum(first, second, 0.3)
        assert (joined <= torch.minimum(first, second) + 1e-6).all()
        assert float(joined[100]) == pytest.approx(-0.3 / 4, abs=1e-6)
        far = (first - second).abs() > 0.3
        torch.testing.assert_close(joined[far], torch.minimum(first, second)[far])
        torch.testing.assert_close(
            smooth_minimum(first, second, 0.0), torch.minimum(first, second)
        )

    def test_smooth_maximum_never_adds(self):
        first = torch.linspace(-1, 1, 201)
        second = first.flip(0)
        assert (smooth_maximum(first, second, 0.3) >= torch.maximum(first, second) - 1e-6).all()


class TestSampling:
    @pytest.mark.parametrize(('size', 'count', 'blur'), [(32, 32, 0.0), (32, 7, 0.5), (33, 20, 2)])
    def test_slice_profile_is_an_average(self, size, count, blur):
        weights = artefacts.slice_profile(size, count, blur, CPU)
        assert weights.shape == (count, size)
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(1), torch.ones(count))

    def test_slice_profile_sees_about_one_slice(self):
        weights = artefacts.slice_profile(64, 8, 0.0, CPU)[4]
        position = torch.arange(64.0)
        centre = (weights * position).sum()
        spread = (weights * (position - centre).square()).sum().sqrt()
        assert float(centre) == pytest.approx(4.5 * 8 - 0.5, abs=0.1)
        assert float(spread) == pytest.approx(8 / math.sqrt(12), rel=0.05)

    @pytest.mark.parametrize(('count', 'size'), [(4, 16), (16, 16), (7, 30)])
    def test_linear_matrix_interpolates(self, count, size):
        weights = artefacts.linear_matrix(count, size, CPU)
        assert weights.shape == (size, count)
        torch.testing.assert_close(weights.sum(1), torch.ones(size))
        line = weights @ torch.arange(count, dtype=torch.float32)
        assert (line.diff() >= 0).all() and line[0] == 0 and line[-1] == count - 1

    def test_resampling_matrix_shows_the_same_row_at_zoom_one(self):
        torch.testing.assert_close(resampling_matrix(12, 12, 1.0, 0.0, CPU), torch.eye(12))

    @pytest.mark.parametrize(('zoom', 'shift'), [(1.2, 0.0), (0.9, 0.05), (1.0, -0.08)])
    def test_resampling_matrix_averages_within_the_row_and_is_empty_outside(self, zoom, shift):
        weights = resampling_matrix(56, 48, zoom, shift, CPU)
        assert weights.shape == (48, 56) and weights.min() >= 0
        sums = weights.sum(1)
        torch.testing.assert_close(sums[12:36], torch.ones(24))
        assert sums.max() <= 1 + 1e-5
        assert (resampling_matrix(56, 48, 1.0, 2.0, CPU) == 0).all()

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
        whole = artefacts.field_of_view((8, 8, 8), torch.full((3,), -1), torch.ones(3), CPU)
        assert whole.all()
        low = torch.tensor([0.0, -1, -1])
        half = artefacts.field_of_view((8, 8, 8), low, torch.ones(3), CPU)
        assert not half[:4].any() and half[4:].all()

    def test_percentiles_become_zero_and_one_and_the_rest_is_blank(self):
        image = torch.arange(1000.0).reshape(10, 10, 10) + 500
        inside = torch.ones(10, 10, 10, dtype=torch.bool)
        inside[0] = False
        scaled = artefacts.rescale(image, inside, (10.0, 90.0))
        assert (scaled[0] == 0).all()
        assert scaled.min() == 0 and scaled.max() == 1
        assert float((scaled[inside] == 0).float().mean()) == pytest.approx(0.1, abs=0.01)
        assert float((scaled[inside] == 1).float().mean()) == pytest.approx(0.1, abs=0.01)

    def test_nothing_in_view_and_nothing_but_one_value(self):
        image = torch.full((4, 4, 4), 3.0)
        nothing = torch.zeros(4, 4, 4, dtype=torch.bool)
        assert (artefacts.rescale(image, nothing, (1.0, 99.0)) == 0).all()
        assert (artefacts.rescale(image, ~nothing, (1.0, 99.0)) == 0).all()

    def test_quantile(self):
        values = torch.randperm(500_000, generator=draw.seeded(0)).float()
        assert artefacts.quantile(values, 0.0) >= 0
        assert artefacts.quantile(values, 0.25) == pytest.approx(125_000, rel=0.01)

    def test_bias_is_a_gain_and_a_coil_falls_off(self):
        ones = torch.ones(24, 24, 24)
        flat = artefacts.Coil(Noise(1.0, 0.0, 0), None, 1.0, None, 0.3)
        torch.testing.assert_close(artefacts.apply_coil(ones, flat), ones)
        surface = artefacts.Coil(
            Noise(1.0, 0.0, 0), torch.tensor([-1.0, 0, 0]), 0.8, torch.tensor([0.0, 0, 1]), 0.3
        )
        gain = artefacts.apply_coil(ones, surface)
        assert gain[0, 12, 12] > 2 * gain[-1, 12, 12]
        assert gain[12, 12, -1] < 0.2 * gain[12, 12, 0]


class TestContrast:
    def test_every_region_gets_its_mean(self):
        means = torch.linspace(0, 1, regions.REGION_COUNT)
        plain = contrast.Contrast(
            means, torch.zeros(regions.REGION_COUNT), 0.5, Noise(0.3, 1.0, 0), 1
        )
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
        image = contrast.paint(
            region_map, contrast.Contrast(means, spreads, 0.0, Noise(0.3, 1.0, 0), 1)
        )
        assert image.min() == 0
        assert float(image[:20].std()) == pytest.approx(0.1, rel=0.05)
        assert float(image[:20].mean()) == pytest.approx(0.8, abs=0.01)
