"""Masks that stay where an image has signal.

Diffusion images have none where the field of view was cut by an earlier correction, or where the
signal is lost altogether: models that are fitted there fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.images.masks import clean, millilitres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.extraction.result import BrainExtraction

LEAST = 0.05  # of the median in the mask; the noise of magnitude images is often below it


def within_signal(mask: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Leave voxels without signal out of a mask, but for holes that it encloses.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    values : ndarray of float32, shape (x, y, z)
        The image.

    Returns
    -------
    ndarray of bool, shape (x, y, z)
        The mask itself where no voxel of it has signal.
    """
    inside = values[mask]
    level = LEAST * float(np.median(inside)) if inside.size else 0.0
    kept, _, _ = clean(mask & (values > max(level, 0.0)))
    kept &= mask
    return kept if kept.any() else mask


def kept_within_signal(found: BrainExtraction) -> BrainExtraction:
    """Apply `within_signal` to the mask that was found in an image, and to its quality record."""
    mask = found.mask > 0
    kept = within_signal(mask, found.volume.data)
    lost = int(np.count_nonzero(mask) - np.count_nonzero(kept))
    if not lost:
        return found
    note = f'{lost} voxels without signal were left out of the mask'
    quality = replace(
        found.quality,
        volume_ml=millilitres(kept, found.volume),
        notes=(*found.quality.notes, note),
    )
    return replace(found, mask=kept.view(np.uint8), quality=quality)
