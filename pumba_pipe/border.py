"""Where the border of a mask is drawn in the network's answer, by the size of the brain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Trained labels reach a little into the fluid. Reference masks of human heads mostly hug the
# cortex, those of smaller brains leave more room: a matter of taste that no image shows.
SMALL, LARGE = 600.0, 1000.0  # ml
# In a brain of this radius in voxels that room is half a voxel, and the question an idle one.
COARSE, RESOLVED = 16.0, 20.0
WIDE_CUT, TIGHT_CUT = -0.75, 1.4  # logits


def cut_logit(logits: NDArray[np.float32], voxel_size: NDArray[np.float64]) -> float:
    """Logit above which a voxel belongs to the mask.

    Up to a brain of 600 ml it is the wide one, from 1,000 ml on the tight one, in between it
    follows the logarithm of the volume; brains of a radius below 16 voxels are not cut tightly.
    All of it was chosen on real scans (docs/experiments.md).

    Parameters
    ----------
    logits : ndarray, shape (x, y, z)
        Answer of the fine pass.
    voxel_size : ndarray, shape (3,)
        In millimetres.
    """
    count = np.count_nonzero(logits > WIDE_CUT)
    volume = count * float(np.prod(voxel_size)) / 1000
    size = math.log(max(volume, SMALL) / SMALL) / math.log(LARGE / SMALL)
    radius = (count * 3 / (4 * math.pi)) ** (1 / 3)
    resolved = max(0.0, radius - COARSE) / (RESOLVED - COARSE)
    return WIDE_CUT + min(1.0, size) * min(1.0, resolved) * (TIGHT_CUT - WIDE_CUT)
