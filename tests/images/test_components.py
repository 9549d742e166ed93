"""Connected components are those of scipy, whatever the order of the axes in memory."""

import numpy as np
import pytest
from scipy import ndimage

from pumba_pipe.images.components import CORNERS, FACES, connected_components

STRUCTURES = {FACES: None, CORNERS: np.ones((3, 3, 3))}


@pytest.mark.parametrize('neighbours', STRUCTURES)
@pytest.mark.parametrize('share', [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize('view', [np.asarray, np.transpose, lambda mask: mask[::2, ::-1, 1:]])
def test_components_are_those_of_scipy(neighbours, share, view):
    mask = view(np.random.default_rng(3).random((20, 9, 14)) < share)
    labels, count = connected_components(mask, neighbours)
    wanted, number = ndimage.label(mask, STRUCTURES[neighbours])
    assert count == number
    assert labels.shape == mask.shape
    np.testing.assert_array_equal(labels > 0, mask)
    pairs = set(zip(labels.ravel().tolist(), wanted.ravel().tolist(), strict=True))
    assert len(pairs - {(0, 0)}) == count
