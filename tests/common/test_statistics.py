"""Robust statistics."""

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from pumba_pipe.common.statistics import mean_interval, robust_z


def test_robust_z_is_not_moved_by_outliers():
    usual = [float(value) for value in range(-10, 11)]
    moved = [*usual[:-1], 1e9]
    assert robust_z(moved)[:-1].tolist() == robust_z(usual)[:-1].tolist()
    assert robust_z([]).tolist() == []


def test_equal_values_have_no_outlier():
    assert robust_z([1.0] * 9).tolist() == [0.0] * 9
    assert robust_z([0.0] * 8 + [3.0])[-1] > 3.5


def test_it_is_the_deviation_of_scipy():
    values = np.random.default_rng(0).normal(3, 7, 101)
    expected = (values - np.median(values)) / median_abs_deviation(values, scale='normal')
    np.testing.assert_allclose(robust_z(values), expected, rtol=1e-5)


def test_a_deviation_is_at_least_what_is_asked():
    values = 100 + np.random.default_rng(1).normal(0, 0.01, 9)
    assert np.abs(robust_z(values)).max() > 1
    assert np.abs(robust_z(values, least_sd=1.0)).max() == pytest.approx(0, abs=0.1)


def test_an_interval_of_a_mean_holds_as_often_as_it_says():
    random = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        low, high = mean_interval(random.normal(0.3, 1, 40), range(40), repeats=400)
        held += low < 0.3 < high
    assert 0.88 < held / 200 < 0.99


def test_values_of_one_owner_are_drawn_together():
    values = np.repeat(np.random.default_rng(6).normal(size=12), 5)
    alone = mean_interval(values, range(60))
    together = mean_interval(values, np.repeat(np.arange(12), 5).tolist())
    assert together[1] - together[0] > 1.7 * (alone[1] - alone[0])
    assert mean_interval([1.0] * 60, [1] * 30 + [2] * 30) is None, 'two are too few'
