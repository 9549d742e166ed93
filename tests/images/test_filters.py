"""Weights that carry values from one row of positions to another."""

import numpy as np

from pumba_pipe.images.filters import filter_matrix, triangle_weights


def test_filter_rows_sum_to_one_inside():
    source = np.arange(30) * 0.7 + 0.35
    for step in (0.3, 0.7, 2.9):
        target = np.arange(0.5, 20, step)
        sums = filter_matrix(source, target).sum(1)
        np.testing.assert_allclose(sums, 1, atol=1e-9)


def test_triangle_weights_interpolate():
    source = np.arange(5) + 0.5
    weights = triangle_weights(source, np.array([0.5, 1.25, 4.0]), 1.0)
    np.testing.assert_allclose(weights @ source, [0.5, 1.25, 4.0])
    assert (triangle_weights(source, np.array([-1.0, 9.0]), 1.0) == 0).all()
