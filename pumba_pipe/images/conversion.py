"""What a user holds in memory -> Volume: a nibabel image, or an array with its affine."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.arguments import path_of, require
from pumba_pipe.common.errors import InputError, PumbaError, first_line
from pumba_pipe.images.headers import nifti_class
from pumba_pipe.images.reading import check_affine, check_shape, data_file
from pumba_pipe.images.volume import Volume, load_volume, volume_from_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACCEPTED = 'a path, a nibabel image, an array with affine= or a Volume is needed'
NUMBERS = 'biufc'  # kinds of numpy types that can be intensities


def as_volume(image: Any, affine: Any = None) -> Volume:
    """Volume of an image file, a nibabel image, an array, or a Volume.

    Parameters
    ----------
    image : str, Path, nibabel SpatialImage, Volume or array
        3D, or a 4D series, see `pumba_pipe.load_volume`. Arrays, (x, y, z[, t]), are those of
        numpy, of any real or complex type, and whatever has ``__array__``, such as a torch tensor
        on the CPU. The data of arrays and images are not copied where they need not be converted.
    affine : array-like, shape (4, 4), optional
        Voxel indices to millimetres, RAS; for an array, and only for an array.

    Returns
    -------
    Volume
        Its `source` is a nibabel image on the same grid, whose data are those of `image`.

    Raises
    ------
    InputError
        The image is of another type, its file cannot be read, or it holds no scan.

    Examples
    --------
    >>> array = np.arange(1000, dtype='>i2').reshape(10, 10, 10)
    >>> as_volume(array, affine=np.diag([2, 2, 3, 1])).voxel_size.tolist()
    [2.0, 2.0, 3.0]
    """
    import nibabel as nib

    kind = type(image).__name__
    known = isinstance(image, (Volume, str, os.PathLike, nib.spatialimages.SpatialImage))
    if known and affine is not None:
        raise InputError(f'affine= goes with an array; this {kind} has its own')
    if isinstance(image, Volume):
        return _checked(image) if image.source is None else _with_its_source(image)
    if isinstance(image, (str, os.PathLike)):
        return load_volume(path_of(image, 'image'))
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _from_image(image)
    if type(image).__module__.startswith('SimpleITK'):
        raise InputError('a SimpleITK image: give it to pumba_pipe.sitk.extract')
    other = isinstance(image, (type, nib.filebasedimages.FileBasedImage))
    if other or not hasattr(image, '__array__'):
        raise InputError(f'cannot find a brain in a {kind}: {ACCEPTED}')
    return _from_array(image, affine)


def _from_array(array: Any, affine: Any) -> Volume:
    """Wrap an array in a nibabel image, and read it as any other."""
    masked = isinstance(array, np.ma.MaskedArray)
    data = _numbers(array.filled(0) if masked else array)
    check_shape('array', data.shape)
    if affine is None:
        raise InputError(
            'an array needs affine=, the 4x4 matrix from voxel indices to millimetres (RAS); '
            'where only voxel sizes are known: numpy.diag([x_mm, y_mm, z_mm, 1])'
        )
    image = nifti_class(data.shape)(data, _matrix(affine), dtype=data.dtype)
    volume = volume_from_image(image)
    if masked and np.ma.is_masked(array):
        volume = replace(volume, notes=(*volume.notes, 'masked voxels were set to zero'))
    return volume


def _numbers(array: Any) -> NDArray[Any]:
    """Numpy array of a type that NIfTI has, with the same values."""
    kind = type(array).__name__
    try:
        data = np.asarray(array)
    except Exception as error:  # torch on a GPU: TypeError; with a gradient: RuntimeError; ...
        reason = first_line(error)
        raise InputError(f'this {kind} does not become a numpy array: {reason}') from None
    if data.dtype.fields is not None:
        raise InputError('array: is a colour (RGB) image; a grey-scale scan is needed')
    if data.dtype.kind not in NUMBERS:
        raise InputError(f'array: has the type {data.dtype}, numbers are needed')
    if data.dtype.kind == 'b':
        return data.astype(np.uint8)
    if data.dtype.kind == 'f' and data.dtype.itemsize not in (4, 8):
        return data.astype(np.float32 if data.dtype.itemsize < 4 else np.float64)
    return data if data.dtype.itemsize <= 16 else data.astype(np.complex128)


def _matrix(affine: Any) -> NDArray[np.float64]:
    """Read an affine that a user gave."""
    try:
        if np.iscomplexobj(affine):  # numpy would leave out the imaginary part
            raise TypeError
        matrix = np.asarray(affine, np.float64)
    except (TypeError, ValueError):
        raise InputError(f'affine= is a {type(affine).__name__} that is no 4x4 matrix') from None
    if matrix.shape != (4, 4):
        raise InputError(
            f'affine= has the shape {matrix.shape}, (4, 4) is needed; where only voxel sizes are '
            'known: numpy.diag([x_mm, y_mm, z_mm, 1])'
        )
    check_affine('affine=', matrix, 'give the 4x4 matrix from voxel indices to millimetres')
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise InputError(f'affine=: its last row is {matrix[3].tolist()}, not [0, 0, 0, 1]')
    return matrix


def _checked(volume: Volume) -> Volume:
    """Refuse a Volume that was put together by hand and is none; make its data fit to work on.

    It may hold the same value everywhere: then no brain is found.
    """
    data = _numbers(volume.data)
    if data.ndim != 3:
        raise InputError(
            f'{volume.name}: a Volume has 3 dimensions, this one has {data.ndim}; give a series '
            'as an array with affine='
        )
    check_shape(volume.name, data.shape)
    _check_notes(volume)
    affine = _matrix(volume.affine)
    if data.dtype == np.float32 and data is volume.data and np.isfinite(data).all():
        return volume if affine is volume.affine else replace(volume, affine=affine)
    import nibabel as nib

    read = volume_from_image(nib.Nifti1Image(data, affine, dtype=data.dtype), flat=True)
    return replace(volume, data=read.data, affine=affine, notes=(*volume.notes, *read.notes))


def _with_its_source(volume: Volume) -> Volume:
    """Refuse a Volume whose source is no image."""
    import nibabel as nib

    require(volume.source, 'source', nib.spatialimages.SpatialImage, 'a nibabel image, or None')
    _check_notes(volume)
    return volume


def _check_notes(volume: Volume) -> None:
    require(volume.notes, 'notes', (tuple, list), 'a tuple of str')


def _from_image(image: Any) -> Volume:
    """Read a nibabel image, in memory or in its file."""
    file = data_file(image)
    if file is not None and not file.is_file():  # indexed_gzip can crash, not only raise
        raise InputError(f'{file}: the file of this image is not there any more')
    try:
        return volume_from_image(_consistent(image))
    except (PumbaError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # what gives its values may be anybody's, such as a closed HDF5 file
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise InputError(f'{file or "image"}: its values cannot be read ({reason})') from error


def _consistent(image: Any) -> Any:
    """Return an image whose header has its affine.

    After a change of ``image.affine`` in place, nibabel brings the header up to date only when
    the image is saved.
    """
    import nibabel as nib

    if not isinstance(image, nib.Nifti1Pair) or image.affine is None:
        return image
    if np.allclose(image.affine, image.header.get_best_affine()):
        return image
    return type(image)(image.dataobj, image.affine, image.header)
