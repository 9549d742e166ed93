"""One matrix an axis: weights of filters, splines and slices, and their use on volumes."""

import math

import pytest
import torch

from pumba_pipe.images.resampling import (
    apply_separable,
    apply_shrinking_first,
    linear_matrix,
    slice_profile,
    spline_matrix,
    zoom_matrix,
)

CPU = torch.device('cpu')


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(('size', 'count', 'blur'), [(32, 32, 0.0), (32, 7, 0.5), (33, 20, 2)])
def test_slice_profile_is_an_average(size, count, blur):
    weights = slice_profile(size, count, blur, CPU)
    assert weights.shape == (count, size)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(1), torch.ones(count))


def test_slice_profile_sees_about_one_slice():
    weights = slice_profile(64, 8, 0.0, CPU)[4]
    position = torch.arange(64.0)
    centre = (weights * position).sum()
    spread = (weights * (position - centre).square()).sum().sqrt()
    assert float(centre) == pytest.approx(4.5 * 8 - 0.5, abs=0.1)
    assert float(spread) == pytest.approx(8 / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize(('count', 'size'), [(4, 16), (16, 16), (7, 30)])
def test_linear_matrix_interpolates(count, size):
    weights = linear_matrix(count, size, CPU)
    assert weights.shape == (size, count)
    torch.testing.assert_close(weights.sum(1), torch.ones(size))
    line = weights @ torch.arange(count, dtype=torch.float32)
    assert (line.diff() >= 0).all() and line[0] == 0 and line[-1] == count - 1


def test_zoom_matrix_shows_the_same_row_at_zoom_one():
    torch.testing.assert_close(zoom_matrix(12, 12, 1.0, 0.0, CPU), torch.eye(12))


@pytest.mark.parametrize(('zoom', 'shift'), [(1.2, 0.0), (0.9, 0.05), (1.0, -0.08)])
def test_zoom_matrix_averages_within_the_row_and_is_empty_outside(zoom, shift):
    weights = zoom_matrix(56, 48, zoom, shift, CPU)
    assert weights.shape == (48, 56) and weights.min() >= 0
    sums = weights.sum(1)
    torch.testing.assert_close(sums[12:36], torch.ones(24))
    assert sums.max() <= 1 + 1e-5
    assert (zoom_matrix(56, 48, 1.0, 2.0, CPU) == 0).all()


def test_spline_weights_sum_to_one():
    weights = spline_matrix(torch.linspace(-1, 1, 33), 0.3)
    torch.testing.assert_close(weights.sum(1), torch.ones(33))
    assert weights.min() >= 0


def test_separable_product_is_the_full_one():
    volume = random(0, 2, 3, 4, 5)
    matrices = [random(n, 6, n) for n in (3, 4, 5)]
    expected = torch.einsum('nabc,xa,yb,zc->nxyz', volume, *matrices)
    torch.testing.assert_close(apply_separable(volume, matrices), expected)


@pytest.mark.parametrize('sides', [(6, 6, 6), (2, 9, 4), (1, 1, 12)])
def test_the_order_of_axes_changes_rounding_only(sides):
    volume = random(0, 3, 4, 5)
    matrices = [random(side, side, n) for side, n in zip(sides, (3, 4, 5), strict=True)]
    found = apply_shrinking_first(volume, matrices)
    assert found.shape == sides and found.is_contiguous()
    torch.testing.assert_close(found, apply_separable(volume, matrices))
