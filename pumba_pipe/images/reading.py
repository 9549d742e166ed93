"""Image files before they are volumes: headers that can be used, values read once."""

from __future__ import annotations

import bz2
import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError, first_line
from pumba_pipe.common.files import check_readable, files_of
from pumba_pipe.images.compression import DAMAGE, GZIP, GZIP_MAGIC, open_gzip
from pumba_pipe.images.headers import invented_sizes, mm_per_unit, repaired
from pumba_pipe.images.mistakes import what_folder_is, what_it_is

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SIDE = 3  # voxels; fewer slices show no volume
MAX_GZIP_RATIO = 1040  # deflate cannot do better
UNREADABLE: tuple[type[Exception], ...] = (*DAMAGE, ValueError, OverflowError)
COMPRESSED = (*GZIP, '.bz2', '.zst')


@dataclass(frozen=True)
class StoredVolumes:
    """Volumes of a series as they are stored, one at a time.

    A volume's values are ``volumes[index] * volumes.slope + volumes.inter``.

    Attributes
    ----------
    stored : array-like, shape (x, y, z, volumes, ...)
        In memory where the file is compressed, else left on disk.
    trailing : tuple of int
        Zeros, one for each further axis.
    slope, inter : float
    """

    stored: Any
    trailing: tuple[int, ...] = ()
    slope: float = 1.0
    inter: float = 0.0

    def __getitem__(self, index: int) -> NDArray[Any]:
        return real(np.asarray(self.stored[(..., int(index), *self.trailing)]))


@dataclass(frozen=True)
class ImageFile:
    """An image with a usable header, its values not yet read where they lie in a file.

    Attributes
    ----------
    path : Path or None
        None for values in memory.
    source : nibabel image
    shape : tuple of int
        Of three axes, or of four for a series; trailing axes of length one are left out.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres, whatever the header's unit of length.
    notes : tuple of str
        What is odd about the header and how it was understood, in plain words.
    """

    path: Path | None
    source: Any
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call this image in messages."""
        return str(self.path or 'image')

    @property
    def count(self) -> int:
        """How many volumes there are."""
        return self.shape[3] if len(self.shape) == 4 else 1

    def values(self) -> NDArray[Any]:
        """Read a 3D image, shape (x, y, z).

        Raises
        ------
        InputError
            The file is damaged, or too large for this machine's memory.
        """
        with self._damage_named(), values_of(self.source, self._data_file) as proxy:
            return np.asarray(proxy[(..., *self._trailing)])

    @contextlib.contextmanager
    def stored_volumes(self) -> Iterator[StoredVolumes]:
        """Read a series; errors while its volumes are cut out count as damage, too.

        A compressed file is held in memory: each cut would decompress it from its start.

        Raises
        ------
        InputError
            As of `values`.
        """
        with self._damage_named():
            with values_of(self.source, self._data_file) as proxy:
                if not hasattr(proxy, 'get_unscaled'):
                    yield StoredVolumes(proxy, self._trailing)
                    return
                stored = proxy.get_unscaled()
            yield StoredVolumes(stored, self._trailing, float(proxy.slope), float(proxy.inter))

    @property
    def _trailing(self) -> tuple[int, ...]:
        return (0,) * (len(self.source.shape) - len(self.shape))

    @property
    def _data_file(self) -> Path | None:
        """File that values are read from: of a pair, not the one with the header."""
        if self.path is None:
            return None
        return data_file(self.source) or Path(self.source.file_map['image'].filename or self.path)

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn what readers raise on damaged files into one clear error."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)
                yield
        except MemoryError:
            raise InputError(
                f'{self.name}: does not fit into memory (shape {self.shape})'
            ) from None
        except UNREADABLE as error:
            raise InputError(
                f'{self.name}: damaged or incomplete image ({first_line(error)})'
            ) from None


def open_image(path: Path) -> ImageFile:
    """Read a file's header and check it.

    Raises
    ------
    InputError
        The file is missing, not an image, smaller than its header says, or of a shape or
        orientation that no head has.
    """
    source = open_source(path)
    image = usable_image(source, path)
    _check_size(path, source)
    return replace(image, notes=(*image.notes, *invented_sizes(source)))


def usable_image(source: Any, path: Path | None = None) -> ImageFile:
    """Check the header of a nibabel image, read from a file or made in memory.

    Raises
    ------
    InputError
        It is of a shape or orientation that no head has.
    """
    name = path or 'image'
    source, notes = with_sound_header(source)
    shape, affine = _check_shape(name, source), _check_affine(name, source)
    scale, more = mm_per_unit(source)
    if scale != 1:
        affine = np.diag([scale, scale, scale, 1.0]) @ affine
    return ImageFile(path, source, shape, affine, (*notes, *more))


def with_sound_header(source: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the image, or one of the same data with a repaired header, and what was repaired."""
    header, notes = repaired(source.header)
    if header is source.header:
        return source, ()
    affine = header.get_best_affine()
    return type(source)(source.dataobj, affine, header, file_map=source.file_map), notes


def data_file(image: Any) -> Path | None:
    """File that the data of a nibabel image still lie in; None for data in memory."""
    file = getattr(image.dataobj, 'file_like', None)
    return Path(file) if isinstance(file, (str, os.PathLike)) else None


@contextlib.contextmanager
def values_of(image: Any, file: Path | None) -> Iterator[Any]:
    """Give what the values of a nibabel image are cut from.

    A gzip file is read through one stream from its start to its end, where its checksum is:
    nibabel stops before that.

    Parameters
    ----------
    image : nibabel image
    file : Path or None
        Where its values lie; None for those in memory.
    """
    from nibabel.arrayproxy import ArrayProxy

    proxy = image.dataobj
    if file is None or file.suffix.lower() not in GZIP:
        yield proxy
    elif type(proxy) is not ArrayProxy:  # formats that know their file by its name only
        _read_to_end(file)
        yield proxy
    else:
        layout = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
        with open_gzip(file) as stream:
            yield ArrayProxy(stream, layout, order=proxy.order)
            while stream.read(1 << 20):
                pass


def open_source(path: Path) -> Any:
    """Read a file's header: a nibabel image whose values lie on disk.

    Raises
    ------
    InputError
        The file is missing, no regular file, damaged or not an image.
    """
    import nibabel as nib

    broken: tuple[type[Exception], ...] = (nib.filebasedimages.ImageFileError, *DAMAGE)
    _check_files(path)
    try:
        with path.open('rb') as file:
            if not file.read(1):
                raise InputError(f'{path}: the file is empty')
        with _quiet_nibabel():
            image = _load(path)
    except OSError as error:
        # gzip's own errors carry no errno
        if error.errno is None:
            if mistake := what_it_is(path):
                raise InputError(f'{path}: {mistake}') from None
            raise InputError(
                f'{path}: damaged or incomplete image ({first_line(error)})'
            ) from None
        raise InputError(f'{path}: cannot read this file: {error.strerror}') from None
    except broken as error:
        if mistake := what_it_is(path):
            raise InputError(f'{path}: {mistake}') from None
        if kind := _damaged_compression(path):
            raise InputError(f'{path}: damaged or incomplete image ({kind})') from None
        raise InputError(
            f'{path}: not an image in a format nibabel reads ({first_line(error)})'
        ) from None
    except InputError:
        raise
    except ImportError as error:  # nibabel reads some formats with packages that it does not need
        raise InputError(
            f'{path}: this format cannot be read here ({first_line(error)}); install that, '
            'or convert the image to NIfTI'
        ) from None
    except Exception as error:  # nibabel's readers raise many kinds on broken headers
        if mistake := what_it_is(path):
            raise InputError(f'{path}: {mistake}') from None
        raise InputError(f'{path}: broken header ({first_line(error)})') from None
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise InputError(f'{path}: not an image of voxels')
    return image


def _check_files(path: Path) -> None:
    """Refuse files that a reader would wait for, or crash on, instead of raising an error."""
    folder = what_folder_is(path) if os.path.isdir(path) else None
    if folder is not None:
        raise InputError(f'{path}: {folder}')
    check_readable(path, 'image')
    files = [file for file in files_of(path) if file.exists()]
    for file in files:
        check_readable(file, 'image')
    try:
        str(path).encode('utf-8')
    except UnicodeEncodeError:
        if any(file.suffix.lower() in COMPRESSED for file in files):  # indexed_gzip crashes
            raise InputError(
                f'{path}: the name is not UTF-8, so this compressed image cannot be read; '
                'rename it, or give a link with another name'
            ) from None


def _load(path: Path) -> Any:
    """Have nibabel read a header; where it cannot use the orientation, repair that first."""
    import nibabel as nib

    try:
        return nib.load(path)
    except ValueError as error:
        image = _load_repaired(path)
        if image is None:
            raise error from None
        return image


def _load_repaired(path: Path) -> Any:
    """NIfTI image whose header has another orientation than the file's; None if that is no use."""
    import nibabel as nib

    for kind in nib.imageclasses.all_image_classes:
        if not issubclass(kind, nib.Nifti1Pair) or not kind.path_maybe_image(path)[0]:
            continue
        files = kind.filespec_to_file_map(str(path))
        with files.get('header', files['image']).get_prepare_fileobj('rb') as stream:
            stored = kind.header_class.from_fileobj(stream)
        header, _ = repaired(stored)
        if header is stored:
            return None
        data = kind.ImageArrayProxy(files['image'].filename, header.copy())
        return kind(data, header.get_best_affine(), header, file_map=files)
    return None


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep nibabel from printing what it finds odd: what matters is said in an error or a note."""
    import nibabel as nib

    logger = nib.imageglobals.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


def _damaged_compression(path: Path) -> str:
    """How a file is compressed that cannot be decompressed; empty for all others.

    Where that hides the header, nibabel only says that it does not know such a file.
    """
    with path.open('rb') as file:
        start = file.read(3)
    kind = 'gzip' if start[:2] == GZIP_MAGIC else 'bzip2' if start == b'BZh' else ''
    try:
        if kind == 'gzip':
            _read_to_end(path)
        elif kind == 'bzip2':
            with bz2.open(path) as stream:
                while stream.read(1 << 20):
                    pass
    except DAMAGE:
        return kind
    return ''


def _check_shape(name: Path | str, image: Any) -> tuple[int, ...]:
    """Return the shape without trailing axes of length one, three or four axes long."""
    shape = check_shape(name, image.shape)
    if image.get_data_dtype().fields is not None:
        raise InputError(f'{name}: is a colour (RGB) image; a grey-scale scan is needed')
    return shape


def check_shape(name: Path | str, shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without trailing axes of length one, three or four axes long.

    Raises
    ------
    InputError
        `name` and the shape, where it is not that of a 3D image or a 4D series.
    """
    shape = tuple(int(side) for side in shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise InputError(
            f'{name}: has {len(shape)} dimensions {shape}; a 3D image, or 4D series, is needed'
        )
    if min(shape) < 1 or min(shape[:3]) < MIN_SIDE:
        raise InputError(
            f'{name}: shape {shape} is too thin; at least {MIN_SIDE} voxels per axis are needed'
        )
    return shape


def _check_affine(name: Path | str, image: Any) -> NDArray[np.float64]:
    try:
        with _quiet_nibabel():
            affine = image.affine
        affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    except Exception as error:  # nibabel raises several kinds for a broken qform
        raise InputError(f'{name}: broken orientation header ({first_line(error)})') from None
    check_affine(name, affine, 'repair the header (sform, qform)')
    return affine


def check_affine(name: Path | str, affine: NDArray[np.float64], remedy: str) -> None:
    """Refuse an affine (4, 4) that leads nowhere.

    Raises
    ------
    InputError
        `name` and what is wrong, with `remedy`.
    """
    from nibabel.affines import voxel_sizes

    sizes = voxel_sizes(affine)
    if not np.isfinite(affine).all() or (sizes <= 0).any():
        raise InputError(f'{name}: voxel sizes or orientation are not usable; {remedy}')
    if abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f'{name}: the affine is singular; {remedy}')


def _check_size(path: Path, image: Any) -> None:
    """Refuse a header that promises more data than the file can hold, before allocating it."""
    header = image.header
    if not hasattr(header, 'get_data_offset'):
        return
    file = Path(image.file_map['image'].filename or path)
    if not file.exists():
        raise InputError(f'{file}: the file with the image data is missing')
    offset = getattr(image.dataobj, 'offset', 0)
    # nibabel reads voxels from the first byte on where a single file's header says zero
    if offset < int(getattr(header, 'single_vox_offset', 0)) * getattr(header, 'is_single', 0):
        raise InputError(f'{path}: broken header (its data begin at byte {offset})')
    expected = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    expected += int(offset)
    ratio = MAX_GZIP_RATIO if file.suffix.lower() in COMPRESSED else 1
    if file.stat().st_size * ratio < expected:
        raise InputError(
            f'{path}: incomplete image: the header promises {expected} bytes of data, '
            f'the file has {file.stat().st_size}'
        )


def _read_to_end(path: Path) -> None:
    with open_gzip(path) as file:
        while file.read(1 << 20):
            pass


def real(data: NDArray[Any]) -> NDArray[Any]:
    """Magnitude of complex values; other values as they are."""
    return np.abs(data) if np.iscomplexobj(data) else data
