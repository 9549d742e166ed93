"""One volume for a series of volumes: the mean of those that are like the others.

For BOLD and ASL series that is every volume but outliers: volumes before the magnetization is
steady, calibration scans, spikes, the worst of the movement. For diffusion series it is the
unweighted volumes. Head motion between volumes is not corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json
from pumba_pipe.common.statistics import robust_z
from pumba_pipe.images.reading import open_image
from pumba_pipe.images.saving import check_images, save_map
from pumba_pipe.images.volume import B0_LIMIT, MAX_FRAMES, Volume, load_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pumba_pipe.images.reading import Frames

OUTLIER = 3.5  # robust z
LEAST_SPREAD = 0.005  # of the median; series may be steadier than any outlier is worth
SAMPLES_PER_AXIS = 24  # voxels along each axis that are compared
MIN_VOLUMES = 4  # fewer cannot tell an outlier


@dataclass(frozen=True)
class Reference:
    """A reference and where it comes from.

    Attributes
    ----------
    volume : Volume
        On the grid of the series.
    used : tuple of int
        Indices of the volumes that were averaged.
    dropped : tuple of int
        Indices of outliers.
    """

    volume: Volume
    used: tuple[int, ...]
    dropped: tuple[int, ...]


def make_reference(path: Path, bval_file: Path | None = None) -> Reference:
    """Average the volumes of a series that are like the others.

    Parameters
    ----------
    path : Path
        3D image, or series of which 200 volumes at most are read, evenly spaced.
    bval_file : Path, optional
        b-values of a diffusion series; only volumes of at most 50 s/mm^2 are used.

    Raises
    ------
    InputError
        A file cannot be read, the b-values do not fit, or there is no volume without weighting.
    """
    file = open_image(path)
    count = file.count
    if count == 1:
        return Reference(load_volume(path), (0,), ())
    chosen = list(range(count)) if bval_file is None else _unweighted(bval_file, count)
    if len(chosen) > MAX_FRAMES:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, MAX_FRAMES).astype(int)]
    with file.frames() as frames:
        kept = inliers(np.stack([_sampled(_values(frames, index)) for index in chosen]))
        used = [index for index, keep in zip(chosen, kept, strict=True) if keep]
        total = np.zeros(file.shape[:3])
        for index in used:
            total += _values(frames, index)
    data = (total / len(used)).astype(np.float32)
    if data.min() == data.max():
        raise InputError(f'{path}: every voxel of the mean has the same value')
    dropped = tuple(index for index in chosen if index not in used)
    kind = 'volumes' if bval_file is None else 'b0 volumes'
    note = f'4D: mean of {len(used)} {kind} of {count}, {len(dropped)} outliers left out'
    return Reference(
        Volume(data, file.affine, path, (note,), file.source), tuple(used), dropped
    )  # fmt: skip


def inliers(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which volumes are like the others.

    Parameters
    ----------
    samples : ndarray, shape (volumes, voxels)

    Returns
    -------
    ndarray of bool, shape (volumes,)
        False where the mean, or the distance from the median volume, is unlike that of others.
    """
    if len(samples) < MIN_VOLUMES:
        return np.ones(len(samples), bool)
    means = samples.mean(1)
    level = max(float(np.abs(np.median(means))), 1e-12)
    distances = np.abs(samples - np.median(samples, axis=0)).mean(1)
    least = LEAST_SPREAD * level
    kept = np.ones(len(samples), bool)
    for measure in (means, distances):
        kept &= np.abs(robust_z(measure, least)) <= OUTLIER
    return kept if kept.any() else np.ones(len(samples), bool)


def _values(frames: Frames, index: int) -> NDArray[np.float32]:
    """One volume, with finite values."""
    data = frames[index].astype(np.float32)
    scaled = data * np.float32(frames.slope) + np.float32(frames.inter)
    return np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)


def _sampled(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Voxels on a coarse grid, in a row."""
    steps = tuple(slice(None, None, max(1, side // SAMPLES_PER_AXIS)) for side in volume.shape)
    return volume[steps].ravel()


def _unweighted(bval_file: Path, count: int) -> list[int]:
    try:
        values = np.array(bval_file.read_text().split(), dtype=float)
    except (OSError, ValueError) as error:
        raise InputError(f'{bval_file}: cannot be read as b-values ({error})') from None
    if len(values) != count:
        raise InputError(f'{bval_file}: {len(values)} b-values for {count} volumes')
    chosen = [int(index) for index in np.flatnonzero(values <= B0_LIMIT)]
    if not chosen:
        raise InputError(f'{bval_file}: no volume of at most {B0_LIMIT:g} s/mm^2')
    return chosen


def make_reference_file(
    in_file: Path, out_file: Path, out_record: Path, bval_file: Path | None = None
) -> Reference:
    """Write the reference of a series and a JSON record of the volumes it was made from.

    Raises
    ------
    InputError, OutputError
    """
    check_images([out_file], [in_file, bval_file], [out_record])
    reference = make_reference(in_file, bval_file)
    save_map(reference.volume, reference.volume.data, out_file)
    record: dict[str, Sequence[Any]] = {
        'Notes': reference.volume.notes,
        'Used': reference.used,
        'Dropped': reference.dropped,
    }
    write_json(out_record, record)
    return reference
