"""What an extraction shows of its own quality: the numbers that the expected Dice is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pumba_pipe.images.masks import bounding_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.extraction.plausibility import InnerContrast

LEAST_DOUBT = 1e-4  # of one minus an agreement
HALVED_SIDE = 96  # voxels: a cube of more is halved before its mask's surface is measured
# Faces of a ball's voxels over the area of the ball.
FACES_OF_BALL = 1.5


class AgreementMetrics(NamedTuple):
    """What passes and views agree on; see `pumba_pipe.extraction.quality.Quality`."""

    coarse_fine_dice: float
    tta_dice: float
    gamma_dice: float
    boundary_certainty: float


class ShapeMetrics(NamedTuple):
    """What the mask and the image inside it are like.

    Attributes
    ----------
    compactness : float
        Surface of a ball of the same volume over the mask's surface: 1 for a ball.
    coarse_excess : float
        Logarithm of the volume that the coarse pass found over that of the fine pass.
    detail, structure : float
        Logarithm of the spread of detail inside the mask: over the level there, and over what
        white noise would leave, see `pumba_pipe.extraction.plausibility.InnerContrast`.
    """

    compactness: float
    coarse_excess: float
    detail: float
    structure: float


class Evidence(NamedTuple):
    """All of it."""

    agreement: AgreementMetrics
    shape: ShapeMetrics

    def doubts(self) -> NDArray[np.float64]:
        """Agreements on a scale on which the best are apart: -log(1 - agreement), shape (4,)."""
        values = np.array(self.agreement)
        return np.asarray(-np.log(np.maximum(1 - values, LEAST_DOUBT)))

    def likeness(self) -> NDArray[np.float64]:
        """Everything that tells a brain from what is none, shape (8,)."""
        return np.concatenate([self.doubts(), np.array(self.shape)])


AGREEMENTS, SHAPES = AgreementMetrics._fields, ShapeMetrics._fields
LIKENESS = (*AGREEMENTS, *SHAPES)


def shape_metrics(
    mask: NDArray[np.bool_], coarse_ml: float, fine_ml: float, contrast: InnerContrast | None
) -> ShapeMetrics:
    """Gather what the mask is like.

    Parameters
    ----------
    mask : ndarray of bool, shape (size, size, size)
        Of the fine pass, on its cube.
    coarse_ml, fine_ml : float
        Volumes that the passes found.
    contrast : InnerContrast or None
        None where the mask is too small to say: then it counts as a contrast of one.
    """
    detail, structure = (1.0, 1.0) if contrast is None else contrast
    tiny, huge = 1e-6, 1e6
    return ShapeMetrics(
        compactness(mask),
        math.log(max(coarse_ml, tiny) / max(fine_ml, tiny)),
        math.log(max(detail, tiny)),
        math.log(min(max(structure, tiny), huge)),
    )


def compactness(mask: NDArray[np.bool_]) -> float:
    """Surface of a ball of the mask's volume over the mask's surface: about 1 for a ball.

    Examples
    --------
    >>> import numpy as np
    >>> grid = np.indices((40, 40, 40)) - 19.5
    >>> ball, plate = (grid**2).sum(0) < 15**2, np.abs(grid[0]) < 2
    >>> f'{compactness(ball):.2f}', bool(compactness(plate) < 0.8)
    ('1.00', True)
    """
    if not mask.any():
        return 0.0
    part = mask[bounding_block(mask)]
    if max(mask.shape) > HALVED_SIDE:
        part = _halved(part)
    part = np.pad(part, 1)
    faces = sum(np.count_nonzero(np.diff(part.view(np.int8), axis=axis)) for axis in range(3))
    volume = np.count_nonzero(part)
    ball = (36 * math.pi * volume**2) ** (1 / 3)
    return float(ball * FACES_OF_BALL / max(1, faces))


def _halved(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Half the resolution: a voxel counts where half of it does."""
    padded = np.pad(mask, [(0, side % 2) for side in mask.shape])
    x, y, z = (side // 2 for side in padded.shape)
    return np.asarray(padded.reshape(x, 2, y, 2, z, 2).sum((1, 3, 5)) >= 4)
