"""Images that show no brain, or two: flagged, with the reason in words."""

import numpy as np
import pytest
from scipy import ndimage

import pumba_pipe
from pumba_pipe import load_recipe, synthesize
from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.extraction.plausibility import (
    LEAST_CONTRAST,
    NOISE,
    NOISE_RATIO,
    SECOND,
    UNIFORM,
    WHITE,
    doubts,
    inner_contrast,
    noise_ratio,
    second_object,
)

SHAPE = (80, 90, 84)
AFFINE = np.diag([2.5, 2.5, 2.5, 1.0])


@pytest.fixture(scope='module')
def model():
    return pumba_pipe.load_weights()


def radius(shape=SHAPE, centre=None, stretch=(1, 1, 1)):
    middle = np.array(shape) / 2 if centre is None else np.array(centre)
    grid = np.indices(shape) - middle[:, None, None, None]
    return np.sqrt(((grid / np.array(stretch)[:, None, None, None]) ** 2).sum(0))


def noise(level, shape=SHAPE, seed=0):
    return np.abs(np.random.default_rng(seed).normal(0, level, shape))


BALL = radius() < 28
X = np.indices(SHAPE)[0] / SHAPE[0]
PHANTOMS = {
    'no noise': BALL * 100.0,
    'little noise': BALL * 100 + noise(3),
    'much noise': BALL * 100 + noise(15),
    'smooth noise': BALL * 100 + ndimage.gaussian_filter(noise(10), 1),
    'ellipsoid': (radius(stretch=(1, 1.3, 0.9)) < 26) * 700 + noise(10),
    'bottle': ((np.hypot(*np.indices(SHAPE)[:2] - 40) < 26) & (np.indices(SHAPE)[2] > 20)) * 500
    + noise(10),
    'coil': BALL * 100 * np.exp(-1.5 * X) + noise(2),
    'a mask': BALL.astype(np.uint8),
    'white outside': np.where(BALL, 20, 100) + noise(2),
}


@pytest.mark.parametrize('name', PHANTOMS)
def test_a_uniform_phantom_is_flagged(name, model):
    """31: a brain with a confidence of 0.9, and no flag."""
    try:
        quality = pumba_pipe.extract(PHANTOMS[name], model, 'cpu', affine=AFFINE).quality
    except NothingFoundError:
        return
    assert UNIFORM in quality.flags


@pytest.mark.parametrize('kind', ['normal', 'rayleigh', 'uniform'])
def test_noise_is_flagged(kind, model):
    random = np.random.default_rng(0)
    data = getattr(random, kind)(size=SHAPE)
    try:
        quality = pumba_pipe.extract(data, model, 'cpu', affine=AFFINE).quality
    except NothingFoundError:
        return
    assert NOISE in quality.flags


def test_images_with_nothing_in_them(model):
    """A slope, a wave, a few bright voxels, smooth noise, one edge: an error or a flag."""
    few = np.zeros(SHAPE)
    few[40, 40, 40] = few[10, 20, 30] = 1
    waves = np.sin(np.indices(SHAPE).sum(0) / 7)
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 2)
    for data in (X, few, waves, smooth, (X > 0.5) * 1.0, (X > 0.5) * 100 + noise(5)):
        try:
            quality = pumba_pipe.extract(data, model, 'cpu', affine=AFFINE).quality
        except NothingFoundError:
            continue
        assert quality.flags
    with pytest.raises(InputError, match='same value'):
        pumba_pipe.extract(np.full(SHAPE, 3), model, 'cpu', affine=AFFINE)


def heads(count, size=56):
    """Made heads with their true brains, cut to their fields of view."""
    for seed in range(count):
        sample = synthesize(load_recipe(), seed, (size,) * 3)
        inside = np.argwhere(sample.inside.numpy())
        view = tuple(map(slice, inside.min(0), inside.max(0) + 1))
        yield sample.image.numpy()[view], sample.label.numpy()[view] > 0


def test_made_heads_are_far_from_the_limits():
    """Their contrast is drawn from all there may be; few have less than a phantom's noise."""
    ratios, contrasts = [], []
    for image, brain in heads(40):
        ratios.append(noise_ratio(image))
        white = not brain.any() or (image[brain] == 1).mean() > 0.5  # a small one, cut off
        found = None if white else inner_contrast(image, brain)
        if found is not None:
            contrasts.append(found)
    assert max(ratios) < NOISE_RATIO / 2
    assert np.mean([one.of_level > LEAST_CONTRAST for one in contrasts]) > 0.9
    assert np.median([one.of_level for one in contrasts]) > 5 * LEAST_CONTRAST
    assert np.mean([one.of_noise > WHITE for one in contrasts]) > 0.95


def test_contrast_is_measured_without_shading_and_noise():
    flat = inner_contrast((BALL * 100 + noise(5)).astype(np.float32), BALL)
    shaded = inner_contrast((BALL * (100 + 80 * X) + noise(5)).astype(np.float32), BALL)
    for one in (flat, shaded):
        assert one.of_level < LEAST_CONTRAST
        assert one.of_noise < WHITE
    folds = 100 + 10 * np.sin(np.indices(SHAPE)[0])
    folded = inner_contrast((BALL * folds + noise(5)).astype(np.float32), BALL)
    assert folded.of_level > LEAST_CONTRAST
    assert folded.of_noise > WHITE


@pytest.mark.parametrize('scale', [1e-3, 1, 1e6])
def test_the_scale_of_the_values_does_not_matter(scale):
    data = (BALL * 100 + noise(5)).astype(np.float32)
    first, second = (inner_contrast(values, BALL) for values in (data, data * np.float32(scale)))
    assert first.of_level == pytest.approx(second.of_level, rel=1e-3)
    assert first.of_noise == pytest.approx(second.of_noise, rel=1e-3)


def test_few_voxels_say_nothing():
    data = X[:9, :9, :9].astype(np.float32)
    assert inner_contrast(data, data > 0.07) is None
    assert doubts(data, None) == ()
    assert noise_ratio(np.ones((9, 9, 9), np.float32)) == 0


# Two heads.


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_two_heads_are_flagged(axis, model):
    images = [synthesize(load_recipe('easy'), 1, (48, 48, 48)).image.numpy() for _ in range(2)]
    data = np.concatenate(images, axis)
    quality = pumba_pipe.extract(data, model, 'cpu', affine=AFFINE).quality
    assert SECOND in quality.flags
    one = pumba_pipe.extract(images[0], model, 'cpu', affine=AFFINE).quality
    assert SECOND not in one.flags


def test_what_counts_as_a_second_object():
    shape = (64, 64, 64)
    one, two = radius(shape, (16, 32, 32)) < 10, radius(shape, (48, 32, 32)) < 10
    small, shell = radius(shape, (48, 32, 32)) < 5, radius(shape, (32, 32, 32))
    nothing = np.zeros(shape, bool)
    grey = np.float32(0.8)
    assert second_object(one | two, nothing * grey)
    assert second_object(one, (one | two) * grey)
    assert not second_object(one | small, (one | small) * grey)
    assert not second_object(one, one * grey)
    assert not second_object(nothing, nothing * grey)
    # a brain in its skin, and in skin that is open below, as where the field of view ends
    skin = (shell < 30) & (shell > 27)
    brain = shell < 22
    assert not second_object(brain, (brain | skin) * grey)
    skin[:, :, :14] = False
    assert not second_object(brain, (brain | skin) * grey)
