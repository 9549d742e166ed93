"""One volume for a series of volumes: the mean of those that are like the others.

For BOLD and ASL series that is every volume but outliers: volumes before the magnetization is
steady, calibration scans, spikes, the worst of the movement. For diffusion series it is the
unweighted volumes, for PET series all frames by their duration. Where the head moved between
volumes, they are aligned to the best one first. An ASL series is stood for by its M0 image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json
from pumba_pipe.common.statistics import robust_z
from pumba_pipe.images.reading import open_image
from pumba_pipe.images.saving import check_images, save_map
from pumba_pipe.images.volume import MAX_VOLUMES, Volume, load_volume
from pumba_pipe.preprocessing.head_motion import Aligner, Motion, brought_onto
from pumba_pipe.preprocessing.volume_choice import Choice, asl_volumes, b0_volumes, pet_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.reading import ImageFile, StoredVolumes

OUTLIER = 3.5  # robust z
LEAST_SPREAD = 0.005  # of the median; series may be steadier than any outlier is worth
SAMPLES_PER_AXIS = 24  # voxels along each axis that are compared
MIN_VOLUMES = 4  # fewer cannot tell an outlier
STILL = 0.25  # voxels that a head may be off without being moved back: less blurs nothing
MAX_MOVED = 60  # volumes that are enough where some have to be moved


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
    moved : tuple of int
        Indices of volumes that were averaged after head motion was undone.
    """

    volume: Volume
    used: tuple[int, ...]
    dropped: tuple[int, ...]
    moved: tuple[int, ...] = ()


@dataclass(frozen=True)
class Beside:
    """Files that lie beside a series and say what its volumes are.

    Attributes
    ----------
    b_values : Path or None
        ``.bval`` file of a diffusion series; only volumes of at most 50 s/mm^2 are used.
    context : Path or None
        ``aslcontext.tsv`` of an ASL series: its M0 volumes are used, else its control volumes.
    m0 : Path or None
        M0 image of an ASL series, which goes before M0 volumes.
    frames : sequence of Path or None
        Of a PET series, its JSON files, which may have durations of frames; None for others.
    diffusion : bool
        It is a diffusion series, whose volumes cannot be told from each other without `b_values`.
    sidecars : sequence of Path
        JSON files by which the M0 image was found, or none: one that cannot be read is an error.
    """

    b_values: Path | None = None
    context: Path | None = None
    m0: Path | None = None
    frames: Sequence[Path] | None = None
    diffusion: bool = False
    sidecars: Sequence[Path] = ()


def make_reference(path: Path, beside: Beside | None = None) -> Reference:
    """Average the volumes of a series that are like the others.

    Volumes that moved against the best one, which is nearest to the median, are resampled to where
    it lies.

    Parameters
    ----------
    path : Path
        3D image, or series of which 200 volumes at most are read, evenly spaced; where the head
        moved, the 60 that moved least.
    beside : Beside, optional
        Files that say what the volumes are.

    Raises
    ------
    InputError
        A file cannot be read or does not fit the series.
    """
    beside = beside or Beside()
    for sidecar in beside.sidecars:
        read_json(sidecar)
    file = open_image(path)
    m0: Choice | None = None
    choice = Choice(tuple(range(file.count)))
    if file.count == 1:
        reference = Reference(load_volume(path), (0,), ())
    else:
        if beside.b_values is not None:
            choice = b0_volumes(beside.b_values, file.count)
        elif beside.diffusion:
            raise InputError(
                f'{path}: no .bval file says which of {file.count} volumes have no diffusion '
                'weighting; put it beside the image'
            )
        elif beside.context is not None:
            m0, choice = asl_volumes(beside.context, file.count)
        elif beside.frames is not None:
            choice = pet_frames(beside.frames, file.count)
        reference = _mean(file, choice)
    if beside.m0 is not None:
        image = make_reference(beside.m0)
        return _calibration(image, reference, f'M0 image {beside.m0.name}')
    if m0 is not None and m0 != choice:
        found = _mean(file, m0)
        reference = replace(reference, used=found.used, dropped=found.dropped, moved=found.moved)
        return _calibration(found, reference, f'mean of {len(found.used)} m0scan volumes')
    return reference


def _calibration(m0: Reference, series: Reference, what: str) -> Reference:
    """Put an M0 image in the place of a reference, where the head was in the series."""
    data, way = brought_onto(m0.volume, series.volume)
    if data.min() == data.max():
        raise InputError(
            f'{m0.volume.name}: this M0 image does not lie where its series {series.volume.name} '
            'does; repair the header of one of them, or name another series in IntendedFor'
        )
    note = f'ASL: {what}, moved by {way:.1f} mm to where the head is in the series'
    volume = series.volume
    return replace(series, volume=Volume(data, volume.affine, volume.path, (note,), volume.source))


def _mean(file: ImageFile, choice: Choice) -> Reference:
    """Mean of chosen volumes without outliers and without head motion."""
    chosen = list(choice.indices)
    weights = dict(zip(chosen, choice.weights or (1.0,) * len(chosen), strict=True))
    if len(chosen) > MAX_VOLUMES:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, MAX_VOLUMES).astype(int)]
    with file.stored_volumes() as volumes:
        samples = np.stack([_sampled(_values(volumes, index, file.name)) for index in chosen])
        kept = _comparable(samples, choice)
        used = [index for index, keep in zip(chosen, kept, strict=True) if keep]
        best = _best(samples[kept], [weights[index] for index in used])
        aligned = _Aligned(volumes, used, used[best], _voxel_size(file))
        if aligned.moved or aligned.unlike:
            used = aligned.steady(weights if choice.weights else None)
        total, weight = np.zeros(file.shape[:3]), 0.0
        for index, values in aligned.volumes(used):
            total += weights[index] * values
            weight += weights[index]
    data = (total / weight).astype(np.float32)
    if data.min() == data.max():
        raise InputError(f'{file.name}: every voxel of the mean has the same value')
    dropped = tuple(index for index in chosen if index not in used)
    moved = tuple(index for index in used if index in aligned.moved)
    note = (
        f'4D: mean of {len(used)} {choice.kind} of {file.count}, {len(dropped)} outliers left out'
    )
    if moved:
        note += f', head motion of {len(moved)} undone (up to {aligned.most(moved):.1f} voxels)'
    return Reference(
        Volume(data, file.affine, file.path, (note,), file.source), tuple(used), dropped, moved
    )


class _Aligned:
    """Volumes of a series, each where the best one is."""

    def __init__(
        self, volumes: StoredVolumes, used: Sequence[int], best: int, voxel: NDArray[np.float64]
    ) -> None:
        self.stored, self.best = volumes, best
        self.aligner = Aligner(_values(volumes, best), voxel)
        found = {
            index: self.aligner.motion(_values(volumes, index)) for index in used if index != best
        } | {best: (Motion.identity(), True)}
        self.motions = {index: motion for index, (motion, _) in found.items()}
        self.unlike = {index for index, (_, alike) in found.items() if not alike}
        self.ways = {index: self.aligner.distance(one) for index, one in self.motions.items()}
        self.moved = {index for index, way in self.ways.items() if way > STILL}

    def most(self, moved: Sequence[int]) -> float:
        """How far the head was off at most, in voxels."""
        return max(self.ways[index] for index in moved)

    def steady(self, weights: dict[int, float] | None) -> list[int]:
        """Volumes that are like the others once motion is undone, those that moved least.

        With weights all volumes are needed, and no two are alike. Where most are unlike the best,
        as in noise, that says nothing of them.
        """
        indices = sorted(self.motions)
        if weights is not None:
            return indices
        if 2 * len(self.unlike) <= len(indices):
            indices = [index for index in indices if index not in self.unlike]
        nearest = sorted(sorted(indices, key=self.ways.__getitem__)[:MAX_MOVED])
        samples = np.stack([_sampled(values) for _, values in self.volumes(nearest)])
        kept = inliers(samples)
        return [index for index, keep in zip(nearest, kept, strict=True) if keep]

    def volumes(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read volumes, with motion undone where there is some."""
        for index in indices:
            values = _values(self.stored, index)
            if index in self.moved:
                values = self.aligner.undone(values, self.motions[index])
            yield index, values


def _comparable(samples: NDArray[np.float32], choice: Choice) -> NDArray[np.bool_]:
    """Say which volumes are used: of those that hold something all, or those like the others."""
    kept = samples.min(axis=1) < samples.max(axis=1)
    if not kept.any():
        return np.ones(len(samples), bool)
    if not choice.weights:
        kept[kept] = inliers(samples[kept])
    return kept


def _best(samples: NDArray[np.float32], weights: Sequence[float]) -> int:
    """Volume that is nearest to the median, or the one with the largest weight."""
    if len(set(weights)) > 1:
        return int(np.argmax(weights))
    return int(np.abs(samples - np.median(samples, axis=0)).mean(1).argmin())


def _voxel_size(file: ImageFile) -> NDArray[np.float64]:
    from nibabel.affines import voxel_sizes

    return np.asarray(voxel_sizes(file.affine), dtype=float)


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


def _values(volumes: StoredVolumes, index: int, name: Path | str = '') -> NDArray[np.float32]:
    """One volume, with finite values.

    Raises
    ------
    InputError
        A `name` is given, and values are lost because single precision cannot hold them.
    """
    stored = volumes[index]
    with np.errstate(over='ignore', invalid='ignore'):
        data = stored.astype(np.float32)
        scaled = data * np.float32(volumes.slope) + np.float32(volumes.inter)
    if name and (np.isinf(scaled) & np.isfinite(stored)).any():
        raise InputError(f'{name}: has values above 3.4e38; scale them, or repair the header')
    return np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)


def _sampled(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Voxels on a coarse grid, in a row."""
    steps = tuple(slice(None, None, max(1, side // SAMPLES_PER_AXIS)) for side in volume.shape)
    return volume[steps].ravel()


def make_reference_file(
    in_file: Path,
    out_file: Path,
    out_record: Path,
    beside: Beside | None = None,
) -> Reference:
    """Write the reference of a series and a JSON record of the volumes it was made from.

    Raises
    ------
    InputError, OutputError
    """
    beside = beside or Beside()
    others = (beside.b_values, beside.context, beside.m0)
    check_images([out_file], [in_file, *others], [out_record])
    reference = make_reference(in_file, beside)
    save_map(reference.volume, reference.volume.data, out_file)
    record: dict[str, Sequence[Any]] = {
        'Notes': reference.volume.notes,
        'Used': reference.used,
        'Dropped': reference.dropped,
        'Moved': reference.moved,
    }
    write_json(out_record, record)
    return reference
