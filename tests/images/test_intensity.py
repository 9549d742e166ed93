"""Intensity scales."""

import numpy as np
import pytest
import torch

from pumba_pipe.images.intensity import clip_limits, quantiles, rescale, rescale_block


def test_percentiles_become_zero_and_one_and_the_rest_is_blank():
    image = torch.arange(1000.0).reshape(10, 10, 10) + 500
    inside = torch.ones(10, 10, 10, dtype=torch.bool)
    inside[0] = False
    scaled = rescale(image, inside, (10.0, 90.0))
    assert (scaled[0] == 0).all()
    assert scaled.min() == 0 and scaled.max() == 1
    assert float((scaled[inside] == 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((scaled[inside] == 1).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_nothing_in_view_and_nothing_but_one_value():
    image = torch.full((4, 4, 4), 3.0)
    nothing = torch.zeros(4, 4, 4, dtype=torch.bool)
    assert (rescale(image, nothing, (1.0, 99.0)) == 0).all()
    assert (rescale(image, ~nothing, (1.0, 99.0)) == 0).all()


def test_quantiles():
    values = torch.randperm(500_000, generator=torch.Generator().manual_seed(0)).float()
    assert quantiles(values, [0.0])[0] >= 0
    assert quantiles(values, [0.25])[0] == pytest.approx(125_000, rel=0.01)
    fractions = (0.0, 0.01, 0.5, 0.99, 1.0)
    together = quantiles(values.numpy(), fractions)
    assert together == quantiles(values, fractions)
    assert together == tuple(quantiles(values.numpy(), [one])[0] for one in fractions)


@pytest.mark.parametrize('block', [(2, 16), (0, 16), (5, 5)])
@pytest.mark.parametrize('bright', [1.0, 300.0])
def test_extraction_scales_grey_values_as_training_does(block, bright):
    image = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(0))
    image[3, 3, 3:9] *= bright
    inside = torch.zeros(16, 16, 16, dtype=torch.bool)
    spans = (slice(*block), slice(0, 16), slice(1, 9))
    inside[spans] = True
    np.testing.assert_allclose(
        rescale_block(image.numpy(), spans), rescale(image, inside).numpy(), atol=1e-6
    )


def test_what_fills_less_than_the_share_above_the_percentile_is_not_clipped():
    image = torch.zeros(20, 20, 20)
    image[0, 0, :10] = torch.linspace(0.1, 1, 10)
    scaled = rescale(image, torch.ones_like(image, dtype=torch.bool))
    torch.testing.assert_close(scaled, image)


def test_clip_limits_leave_zeros_out():
    values = np.concatenate([np.zeros(900), np.arange(1.0, 101.0)])
    assert clip_limits(values, 10, 90) == pytest.approx((10.9, 90.1))
    assert clip_limits(np.zeros(5), 10, 90) == (0, 0)
