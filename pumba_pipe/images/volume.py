"""Images from files: one 3D volume, its affine, and the header it came with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.arguments import path_of
from pumba_pipe.common.documents import read_text
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import stamps_of
from pumba_pipe.common.image_names import image_stem
from pumba_pipe.images.reading import data_file, open_image, real, usable_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.reading import ImageFile

LARGEST, SMALLEST = 1e37, 1e-30  # magnitudes that float32 has with all its digits
OFFSET = 1e4  # an offset as many times the range leaves float32 too few steps for the range
MAX_VOLUMES = 200  # volumes of a 4D image that are read for its mean
B0_LIMIT = 50.0  # s/mm^2; below it a diffusion volume counts as unweighted


@dataclass(frozen=True)
class Volume:
    """A 3D image in memory.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z)
        Finite intensities.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres.
    path : Path or None
        Where it was read from.
    notes : tuple of str
        What was done to read it, in plain words.
    source : nibabel image or None
        The file's image object: header, data on disk.

    Examples
    --------
    >>> import numpy as np
    >>> import pumba_pipe
    >>> data = np.random.default_rng(1).random((20, 20, 10), np.float32)
    >>> scan = pumba_pipe.Volume(data, np.diag([1.0, 1.0, 2.5, 1.0]))
    >>> scan.voxel_size.tolist()
    [1.0, 1.0, 2.5]
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    path: Path | None = None
    notes: tuple[str, ...] = ()
    source: Any = field(default=None, repr=False)
    _stamps: Mapping[Path, Mapping[str, int]] = field(
        default_factory=dict, repr=False, compare=False
    )  # of its files, before they were read

    @cached_property
    def voxel_size(self) -> NDArray[np.float64]:
        """Voxel size in millimetres, shape (3,)."""
        from nibabel.affines import voxel_sizes

        return np.asarray(voxel_sizes(self.affine))

    @property
    def name(self) -> str:
        """What to call this image in messages."""
        return str(self.path) if self.path else 'image'


def load_volume(path: str | Path, *, flat: bool = False) -> Volume:
    """Read one 3D volume from any format nibabel reads.

    Of a 4D image the mean of its unweighted volumes is taken when a ``.bval`` file lies beside
    it, and the mean of all volumes (at most 200, evenly spaced) otherwise.

    Parameters
    ----------
    path : str or Path
    flat : bool
        Accept an image whose voxels all have the same value.

    Returns
    -------
    Volume
        Values that are not finite are background: zero, or the least value where that is below
        zero. Values that float32 cannot hold are scaled or shifted, and a note says so. The
        affine is in millimetres, whatever the header's unit.

    Raises
    ------
    InputError
        The file is missing, damaged, not an image, or holds nothing that could be a head.

    Examples
    --------
    >>> import pumba_pipe
    >>> scan = pumba_pipe.load_volume('head.nii.gz')
    >>> scan.data.shape, scan.data.dtype.name, scan.voxel_size.tolist()
    ((48, 48, 48), 'float32', [4.0, 4.0, 4.0])
    """
    return _volume(open_image(path_of(path, 'path')), flat)


def volume_from_image(image: Any, *, flat: bool = False) -> Volume:
    """Read one 3D volume from a nibabel image, by the rules of `load_volume`.

    Parameters
    ----------
    image : nibabel SpatialImage
        With its data in memory or in a file.
    flat : bool
        Accept an image whose voxels all have the same value.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
    """
    return _volume(usable_image(image, data_file(image)), flat)


def _volume(file: ImageFile, flat: bool) -> Volume:
    notes: list[str] = list(file.notes)
    stamps = {} if file.path is None else stamps_of(file.path)
    data = file.values() if file.count == 1 else _mean_of_volumes(file, notes)
    values = _finite_values(data, notes)
    if not flat and values.min() == values.max():
        if not np.isfinite(data).any():  # all were replaced by one and the same
            raise InputError(
                f'{file.name}: no voxel has a value that is a number; there is no image'
            )
        raise InputError(
            f'{file.name}: every voxel has the same value ({values.min():g}); there is no image'
        )
    return Volume(values, file.affine, file.path, tuple(notes), file.source, stamps)


def _mean_of_volumes(file: ImageFile, notes: list[str]) -> NDArray[np.float64]:
    """Mean of the chosen volumes of a 4D image."""
    chosen = None if file.path is None else _unweighted(file.path, file.count, notes)
    if chosen is None:
        spread = np.linspace(0, file.count - 1, MAX_VOLUMES)
        chosen = np.unique(spread.astype(int)).tolist()
        notes.append(f'4D: mean of {len(chosen)} of {file.count} volumes')
    with file.stored_volumes() as volumes:
        total = np.zeros(file.shape[:3])
        missing: Any = 0
        for index in chosen:
            values = volumes[index]
            finite = np.isfinite(values)
            if not finite.all():
                missing = missing + ~finite
                values = np.where(finite, values, 0)
            total += values
        with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
            return total / (len(chosen) - missing) * volumes.slope + volumes.inter


def b_value_files(path: Path) -> list[Path]:
    """Files that may hold the b-values of an image, whether they exist or not."""
    # not with_name(): "." and "/" have no name
    return [path.parent / f'{image_stem(path)}.{end}' for end in ('bval', 'bvals')]


def read_b_values(path: Path) -> NDArray[np.float64]:
    """Read the b-values of a file: numbers in one or more rows, or in a column.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else than numbers.
    """
    words = read_text(path, what='file of b-values').split()
    try:
        values = np.array(words, dtype=float)
    except ValueError as error:
        raise InputError(f'{path}: cannot be read as b-values ({error})') from None
    if np.isnan(values).any():
        raise InputError(f'{path}: cannot be read as b-values (one is not a number, NaN)')
    return values


def _unweighted(path: Path, count: int, notes: list[str]) -> list[int] | None:
    """Indices of the volumes with b-values near zero, from a ``.bval`` file beside the image."""
    file = next((file for file in b_value_files(path) if file.is_file()), None)
    if file is None:
        return None
    try:
        values = read_b_values(file)
    except InputError:
        notes.append(f'{file.name} could not be read and was ignored')
        return None
    chosen = [int(index) for index in np.flatnonzero(values <= B0_LIMIT)]
    if len(values) != count:
        notes.append(f'{file.name} does not fit the image and was ignored')
        return None
    if not chosen:
        notes.append(f'{file.name} was ignored: it holds no b-value up to {B0_LIMIT:g}')
        return None
    notes.append(f'4D: mean of {len(chosen)} b0 volumes of {count}')
    return chosen


def _finite_values(data: NDArray[Any], notes: list[str]) -> NDArray[np.float32]:
    if np.iscomplexobj(data):
        notes.append('complex values: their magnitude')
    with np.errstate(over='ignore', invalid='ignore'):
        values = _within_float32(real(data), notes).astype(np.float32, copy=False)
    if data.dtype.kind in 'biu':
        return values
    finite = np.isfinite(values)
    if not finite.all():
        background = outside_value(values)
        word = 'zero' if background == 0 else f'the least value, {background:g}'
        notes.append(f'{int((~finite).sum())} values that are not finite were set to {word}')
        values = np.where(finite, values, background)
    return values


def outside_value(values: NDArray[Any]) -> Any:
    """Value of what is outside an image or a mask: zero, or the least value where that is less.

    Zero is bright where the background is below it, as in Hounsfield units or in values from
    which their mean was subtracted.

    Parameters
    ----------
    values : ndarray
        Those that are not finite do not count.

    Returns
    -------
    numpy scalar
        Of the type of `values`.
    """
    zero = values.dtype.type(0)
    if not values.size or values.dtype.kind in 'bu':
        return zero
    least = values.min()
    if not np.isfinite(least):
        least = values.min(where=np.isfinite(values), initial=0)
    return min(zero, least)


def _within_float32(values: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Scale by a power of two, or shift, values that float32 cannot hold or not tell apart."""
    if values.dtype.kind == 'b' or values.dtype.itemsize <= 2:
        return values
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = values[np.isfinite(values)]
        if not finite.size:
            return values
        low, high = finite.min(), finite.max()
    least, whole = low, values.dtype.kind in 'iu'
    # float64 does not tell large whole numbers apart: as such they are subtracted
    half = (int(high) - int(low)) / 2 if whole else float(high) / 2 - float(low) / 2
    low, high = float(low), float(high)
    largest = max(abs(low), abs(high))
    if values.dtype != np.float32 and largest > OFFSET * half > 0:
        notes.append(f'{low:g} was subtracted: the values differ by less than float32 can tell')
        values = (values - least).astype(np.float64) if whole else values.astype(np.float64) - low
        largest = 2 * half
    if largest == 0 or SMALLEST <= largest <= LARGEST:
        return values
    exponent = -int(np.floor(np.log2(largest)))
    notes.append(f'values up to {largest:g} were multiplied by 2^{exponent}')
    return np.ldexp(values.astype(np.float64), exponent)
