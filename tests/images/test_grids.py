"""Between an image's grid and the network's cubes."""

import numpy as np
import pytest
import torch

from pumba_pipe.finetuning import augmentation
from pumba_pipe.images.grids import (
    Cube,
    from_cube,
    sampling_matrices,
    to_cube,
    whole_cube,
)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def sampled(values, shape, voxel, cube, **options):
    """All planes of `from_cube` in one array (x, y, z), and their block."""
    block, planes = from_cube(values, shape, voxel, cube, **options)
    return np.array([plane.copy() for plane in planes]).T, block


def test_cube_and_back_keeps_a_smooth_image():
    x, y, z = np.meshgrid(*[np.arange(40)] * 3, indexing='ij')
    image = (np.sin(x / 9) + np.cos(y / 7) + z / 40).astype(np.float32)
    voxel = np.array([1.0, 1.0, 1.0])
    cube = whole_cube((40, 40, 40), voxel, 64)
    values, inside = to_cube(image, voxel, cube)
    assert inside == (slice(0, 64),) * 3
    back, block = sampled(values, (40, 40, 40), voxel, cube)
    assert block == (slice(0, 40),) * 3
    assert float(np.abs(back - image)[2:-2, 2:-2, 2:-2].max()) < 0.02


def test_cube_beyond_the_image_is_empty():
    image = np.ones((20, 20, 20), np.float32)
    values, inside = to_cube(image, np.ones(3), Cube(np.array([0.0, 10.0, 10.0]), 20.0, 32))
    shown = values[inside]
    assert float(shown.min()) == pytest.approx(1)
    assert values.sum() == pytest.approx(shown.sum())
    assert shown.size / values.size == pytest.approx(0.5, abs=0.04)


def test_a_cube_far_from_the_image_is_empty():
    values, inside = to_cube(random(9, 9, 9), np.ones(3), Cube(np.full(3, 50.0), 10.0, 8))
    assert not values.any() and values[inside].size == 0


@pytest.mark.parametrize('shape', [(30, 24, 9), (9, 41, 30), (50, 60, 70)])
@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_however_an_image_lies_in_memory_its_cube_is_the_same(shape, order):
    image, voxel = random(*shape), np.array([1.0, 1.3, 2.0])
    cube = Cube(np.array(shape) * voxel / 2 + [3.0, 0.0, -2.0], 45.0, 32)
    matrices, _ = sampling_matrices(shape, voxel, cube)
    expected = np.einsum('abc,xa,yb,zc->xyz', image, *matrices)
    stored = np.ascontiguousarray(image.transpose(order)).transpose(np.argsort(order))
    flipped = np.ascontiguousarray(stored[::-1, :, ::-1])[::-1, :, ::-1]
    values, _ = to_cube(image, voxel, cube)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    for array in (stored, flipped):
        np.testing.assert_array_equal(to_cube(array, voxel, cube)[0], values)


def test_torch_samples_a_cube_as_numpy_does():
    image, voxel = random(30, 24, 20), np.array([1.0, 1.3, 2.0])
    cube = Cube(np.array([12.0, 10.0, 25.0]), 45.0, 32)
    values, inside = to_cube(image, voxel, cube)
    same, shown = augmentation.to_cube(torch.from_numpy(image), voxel, cube)
    np.testing.assert_allclose(values, same.numpy(), atol=1e-5)
    where = np.zeros(values.shape, bool)
    where[inside] = True
    assert np.array_equal(where, shown.numpy())


def test_only_what_may_be_of_interest_is_sampled_back():
    cube, voxel, shape = Cube(np.array([20.0, 22.0, 18.0]), 30.0, 24), np.ones(3), (40, 44, 36)
    values = random(24, 24, 24) - 5
    values[8:15, 9:12, 4:20] += 6
    every, whole = sampled(values, shape, voxel, cube)
    some, block = sampled(values, shape, voxel, cube, above=0.0)
    assert whole == (slice(5, 35), slice(7, 37), slice(3, 33))
    within = tuple(
        slice(one.start - all_.start, one.stop - all_.start)
        for one, all_ in zip(block, whole, strict=True)
    )
    np.testing.assert_allclose(every[within], some, atol=1e-5)
    assert some.size < every.size / 3
    every[within] = -1
    assert every.max() <= 0


def test_where_nothing_is_of_interest_nothing_is_sampled():
    cube = Cube(np.full(3, 5.0), 10.0, 8)
    block, planes = from_cube(np.zeros((8, 8, 8), np.float32), (10, 10, 10), np.ones(3), cube, 1.0)
    assert list(planes) == [] and all(span.start == span.stop for span in block)
