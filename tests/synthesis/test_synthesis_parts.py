"""Draws, noise and shapes: every deterministic function called alone."""

import pytest
import torch

from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.noise import (
    Noise,
    evaluate_noise,
    white_noise,
)
from pumba_pipe.synthesis.shapes import (
    Ball,
    Ellipsoid,
    Plane,
    Tube,
    smooth_maximum,
    smooth_minimum,
)

CPU = torch.device('cpu')


def at(*points: tuple[float, float, float]) -> torch.Tensor:
    """Points as a tensor of shape (3, n)."""
    return torch.tensor(points, dtype=torch.float32).T


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
