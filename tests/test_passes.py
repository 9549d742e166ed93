"""The box between the coarse and the fine pass."""

import numpy as np
import torch

from pumba_pipe.grids import Cube
from pumba_pipe.passes import BOX_FILL, Pass, box_around


def seen(logits: torch.Tensor) -> Pass:
    """A pass with these logits over a cube of 2 mm voxels."""
    size = logits.shape[0]
    cube = Cube(np.full(3, float(size)), 2.0 * size, size)
    return Pass(cube, logits, torch.ones_like(logits, dtype=torch.bool), 1.0)


def test_a_doubtful_neck_stays_out_of_the_box():
    logits = torch.full((32, 32, 32), -8.0)
    logits[8:24, 8:24, 16:28] = 6.0  # a brain
    logits[10:22, 10:22, 2:16] = 1.0  # below it, what may be brain
    answer = seen(logits)
    assert answer.mask[16, 16, 20] and not answer.mask[16, 16, 8]
    box = box_around(answer.mask, answer.cube, 96)
    np.testing.assert_allclose(box.side, 16 * 2.0 / BOX_FILL)


def test_the_likeliest_place_is_taken_where_nothing_is_sure():
    for best in (1.0, -3.0):
        logits = torch.full((16, 16, 16), best - 6)
        logits[4:10, 4:10, 4:10] = best
        mask = seen(logits).mask
        assert mask.sum() == 6**3 and mask[5, 5, 5]
