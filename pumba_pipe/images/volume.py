"""Images from files: one 3D volume, its affine, and the header it came with."""

from __future__ import annotations

import gzip
import warnings
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import image_suffix

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SIDE = 3  # voxels; fewer slices show no volume
MAX_FRAMES = 200  # volumes of a 4D image that are read for its mean
B0_LIMIT = 50.0  # s/mm^2; below it a diffusion volume counts as unweighted
MAX_GZIP_RATIO = 1040  # deflate cannot do better


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
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    path: Path | None = None
    notes: tuple[str, ...] = ()
    source: Any = field(default=None, repr=False)

    @cached_property
    def voxel_size(self) -> NDArray[np.float64]:
        """Voxel size in millimetres, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(0))

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
        Values that are not finite are replaced by zero.

    Raises
    ------
    InputError
        The file is missing, damaged, not an image, or holds nothing that could be a head.
    """
    path = Path(path)
    image = _open(path)
    shape = _check_shape(path, image)
    affine = _check_affine(path, image)
    _check_size(path, image)
    _check_gzip(path)
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)
            data = _read_frames(path, image, shape, notes)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f'{path}: does not fit into memory (shape {shape})') from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f'{path}: damaged or incomplete image ({_first_line(error)})') from None
    values = _finite_values(data, notes)
    if not flat and values.min() == values.max():
        raise InputError(
            f'{path}: every voxel has the same value ({values.min():g}); there is no image'
        )
    return Volume(values, affine, path, tuple(notes), image)


def _open(path: Path) -> Any:
    import nibabel as nib

    if path.is_dir():
        raise InputError(f'{path}: is a folder, not an image')
    try:
        with path.open('rb') as file:
            if not file.read(1):
                raise InputError(f'{path}: the file is empty')
        return nib.load(path)
    except OSError as error:
        # gzip's own errors carry no errno
        if error.errno is None:
            raise InputError(
                f'{path}: damaged or incomplete image ({_first_line(error)})'
            ) from None
        hint = ' (a broken link?)' if path.is_symlink() else ''
        raise InputError(f'{path}: cannot read this file: {error.strerror}{hint}') from None
    except (nib.filebasedimages.ImageFileError, EOFError, zlib.error) as error:
        if _is_damaged_gzip(path):
            raise InputError(f'{path}: damaged or incomplete image (gzip)') from None
        raise InputError(
            f'{path}: not an image in a format nibabel reads ({_first_line(error)})'
        ) from None
    except InputError:
        raise
    except Exception as error:  # nibabel's readers raise many kinds on broken headers
        raise InputError(f'{path}: broken header ({_first_line(error)})') from None


def _is_damaged_gzip(path: Path) -> bool:
    """Whether a file begins as gzip does and cannot be decompressed.

    With indexed_gzip installed, nibabel only says that it does not know such a file.
    """
    with path.open('rb') as file:
        if file.read(2) != b'\x1f\x8b':
            return False
    try:
        with gzip.open(path) as content:
            while content.read(2**24):
                pass
    except (OSError, EOFError, zlib.error):
        return True
    return False


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0][:160] or type(error).__name__


def _check_shape(path: Path, image: Any) -> tuple[int, ...]:
    """Return the shape without trailing axes of length one, three or four axes long."""
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise InputError(
            f'{path}: has {len(shape)} dimensions {shape}; a 3D image, or 4D series, is needed'
        )
    if min(shape) < 1 or min(shape[:3]) < MIN_SIDE:
        raise InputError(
            f'{path}: shape {shape} is too thin; at least {MIN_SIDE} voxels per axis are needed'
        )
    dtype = image.get_data_dtype()
    if dtype.fields is not None:
        raise InputError(f'{path}: is a colour (RGB) image; a grey-scale scan is needed')
    return shape


def _check_affine(path: Path, image: Any) -> NDArray[np.float64]:
    try:
        affine = image.affine
        affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    except Exception as error:  # nibabel raises several kinds for a broken qform
        raise InputError(f'{path}: broken orientation header ({_first_line(error)})') from None
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    if not np.isfinite(affine).all() or (sizes <= 0).any():
        raise InputError(f'{path}: voxel sizes or orientation in the header are not usable')
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f'{path}: the affine is singular; repair the header (sform, qform)')
    return affine


def _check_size(path: Path, image: Any) -> None:
    """Refuse a header that promises more data than the file can hold, before allocating it."""
    header = image.header
    if not hasattr(header, 'get_data_offset'):
        return
    file = Path(image.file_map['image'].filename or path)
    if not file.exists():
        raise InputError(f'{file}: the file with the image data is missing')
    expected = int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    ratio = MAX_GZIP_RATIO if file.suffix in ('.gz', '.mgz', '.bz2', '.zst') else 1
    if file.stat().st_size * ratio < expected:
        raise InputError(
            f'{path}: incomplete image: the header promises {expected} bytes of data, '
            f'the file has {file.stat().st_size}'
        )


def _check_gzip(path: Path) -> None:
    """Read a gzip file to its end, where its checksum is: nibabel stops before it."""
    if path.suffix not in ('.gz', '.mgz'):
        return
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f'{path}: damaged or incomplete image ({_first_line(error)})') from None


def _read_frames(path: Path, image: Any, shape: tuple[int, ...], notes: list[str]) -> NDArray[Any]:
    """Read a 3D image, or the mean of the chosen volumes of a 4D one."""
    trailing = (0,) * (len(image.shape) - len(shape))
    if len(shape) == 3:
        return np.asarray(image.dataobj[(..., *trailing)])
    chosen = _unweighted(path, shape[3], notes)
    if chosen is None:
        chosen = list(np.unique(np.linspace(0, shape[3] - 1, MAX_FRAMES).astype(int)))
        notes.append(f'4D: mean of {len(chosen)} of {shape[3]} volumes')
    frames = _frames(path, image)
    total = np.zeros(shape[:3])
    for frame in chosen:
        data = np.asarray(frames[(..., int(frame), *trailing)])
        total += np.nan_to_num(real(data), nan=0.0, posinf=0.0, neginf=0.0)
    slope, inter = (1.0, 0.0) if frames is image.dataobj else _scale(image)
    return total / len(chosen) * slope + inter


def _frames(path: Path, image: Any) -> Any:
    """Return what volumes are cut from: the file, or its stored values when it is compressed.

    Each cut from a compressed file would decompress it from the start.
    """
    compressed = path.suffix in ('.gz', '.mgz', '.bz2', '.zst')
    if compressed and hasattr(image.dataobj, 'get_unscaled'):
        return image.dataobj.get_unscaled()
    return image.dataobj


def _scale(image: Any) -> tuple[float, float]:
    return float(image.dataobj.slope), float(image.dataobj.inter)


def _unweighted(path: Path, count: int, notes: list[str]) -> list[int] | None:
    """Indices of the volumes with b-values near zero, from a ``.bval`` file beside the image."""
    stem = path.name[: -len(image_suffix(path))]
    file = next((f for f in (path.with_name(f'{stem}.{e}') for e in ('bval', 'bvals'))
                 if f.is_file()), None)  # fmt: skip
    if file is None:
        return None
    try:
        values = np.array(file.read_text().split(), dtype=float)
    except (OSError, ValueError):
        notes.append(f'{file.name} could not be read and was ignored')
        return None
    chosen = [int(index) for index in np.flatnonzero(values <= B0_LIMIT)]
    if len(values) != count or not chosen:
        notes.append(f'{file.name} does not fit the image and was ignored')
        return None
    notes.append(f'4D: mean of {len(chosen)} b0 volumes of {count}')
    return chosen


def real(data: NDArray[Any]) -> NDArray[Any]:
    """Magnitude of complex values; other values as they are."""
    return np.abs(data) if np.iscomplexobj(data) else data


def _finite_values(data: NDArray[Any], notes: list[str]) -> NDArray[np.float32]:
    if np.iscomplexobj(data):
        notes.append('complex values: their magnitude')
    with np.errstate(over='ignore', invalid='ignore'):
        values = real(data).astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        notes.append(f'{int((~finite).sum())} values that are not finite were set to zero')
        values = np.where(finite, values, np.float32(0))
    return values
