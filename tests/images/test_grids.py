"""Between an image's grid and the network's cubes."""

import numpy as np
import pytest
import torch

from pumba_pipe.images.grids import Cube, from_cube, to_cube, whole_cube


def test_cube_and_back_keeps_a_smooth_image():
    x, y, z = np.meshgrid(*[np.arange(40)] * 3, indexing='ij')
    image = torch.from_numpy((np.sin(x / 9) + np.cos(y / 7) + z / 40).astype(np.float32))
    voxel = np.array([1.0, 1.0, 1.0])
    cube = whole_cube((40, 40, 40), voxel, 64)
    values, inside = to_cube(image, voxel, cube)
    assert inside.all()
    back, block = from_cube(values, (40, 40, 40), voxel, cube)
    assert block == (slice(0, 40),) * 3
    assert float((back - image).abs()[2:-2, 2:-2, 2:-2].max()) < 0.02


def test_cube_beyond_the_image_is_empty():
    image = torch.ones(20, 20, 20)
    values, inside = to_cube(image, np.ones(3), Cube(np.array([0.0, 10.0, 10.0]), 20.0, 32))
    assert float(values[~inside].abs().max()) == 0
    assert float(values[inside].min()) == pytest.approx(1)
    assert inside.float().mean() == pytest.approx(0.5, abs=0.04)
