"""Masks that stay where an image has signal.

Diffusion images have none where the field of view was cut by an earlier correction, or where the
signal is lost altogether: models that are fitted there fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.files import write_json
from pumba_pipe.images.masks import clean, load_mask_of
from pumba_pipe.images.saving import save_mask, save_masked
from pumba_pipe.images.volume import load_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def keep_within_signal(
    in_file: Path, mask_file: Path, masked_file: Path | None, quality_file: Path
) -> int:
    """Apply `within_signal` to what was written of an image: mask, masked image, quality record.

    Returns
    -------
    int
        Voxels that were left out; with none the files stay as they are.

    Raises
    ------
    InputError, OutputError
    """
    volume = load_volume(in_file)
    mask = load_mask_of(volume, mask_file)
    kept = within_signal(mask, volume.data)
    lost = int(np.count_nonzero(mask) - np.count_nonzero(kept))
    if not lost:
        return 0
    save_mask(volume, kept, mask_file)
    if masked_file is not None:
        save_masked(volume, kept, masked_file)
    record = read_json(quality_file)
    millilitres = float(np.count_nonzero(kept)) * float(np.prod(volume.voxel_size)) / 1000
    note = f'{lost} voxels without signal were left out of the mask'
    notes = [*record.get('notes', ()), note]
    write_json(quality_file, record | {'volume_ml': round(millilitres, 4), 'notes': notes})
    return lost
