"""Images to files: on the input's own grid, each file complete or not there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_records import check_stamps
from pumba_pipe.common.files import atomic_path, check_outputs, image_suffix
from pumba_pipe.images.compression import save_image
from pumba_pipe.images.headers import name_unit, nifti_class
from pumba_pipe.images.reading import UNREADABLE, data_file, real, values_of
from pumba_pipe.images.volume import outside_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

WITHOUT_SCALE = ('.mgh', '.mgz')
WRITABLE = ('.nii', '.nii.gz', '.mgh', '.mgz', '.img', '.hdr')


def check_images(
    images: Iterable[Path | None],
    inputs: Iterable[Path | None] = (),
    others: Iterable[Path | None] = (),
) -> None:
    """Refuse, before any work, image files that cannot be written or would replace an input.

    Parameters
    ----------
    images, inputs, others : iterable of Path or None
        Images to write, files that are read, further files to write; see `check_outputs`.

    Raises
    ------
    OutputError
    """
    wanted = [path for path in images if path is not None]
    for path in wanted:
        if image_suffix(path) not in WRITABLE:
            known = ', '.join(WRITABLE)
            raise OutputError(f'{path}: cannot write this format; use one of {known}')
    check_outputs([*wanted, *others], inputs)


def save_mask(volume: Volume, mask: NDArray[Any], path: str | Path) -> None:
    """Write a mask (x, y, z[, t]) as uint8 on the input's own grid, affine and codes."""
    _save(volume, mask.astype(np.uint8), Path(path))


def save_map(volume: Volume, values: NDArray[Any], path: str | Path) -> None:
    """Write a map (x, y, z[, t]) as float32 on the input's own grid, affine and codes."""
    _save(volume, values.astype(np.float32), Path(path))


def save_masked(volume: Volume, mask: NDArray[Any], path: str | Path) -> None:
    """Write the input with everything outside `mask` blank, all volumes of a 4D input.

    Blank is zero, or the least value of the input where that is below zero. Integer data with a
    plain scale keep their type and scale. The mask of a 4D input may be 4D as well.
    """
    path = Path(path)
    data, scale = _masked(volume, mask, stored=image_suffix(path) not in WITHOUT_SCALE)
    _save(volume, data, path, scale, measured=True)


def grid_image(volume: Volume, data: NDArray[Any]) -> Any:
    """NIfTI image of an array (x, y, z[, t]) on the input's own grid, affine and codes."""
    return _nifti(volume, data, None)


def masked_image(volume: Volume, mask: NDArray[Any]) -> Any:
    """NIfTI image of what `save_masked` writes.

    Data with a scale are scaled, and have the type float32: nibabel knows no scale of data in
    memory.
    """
    return _nifti(volume, _masked(volume, mask, stored=False)[0], None, measured=True)


def _masked(
    volume: Volume, mask: NDArray[Any], *, stored: bool
) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return the input's data, blank outside `mask`, and the scale of data as they are stored."""
    source, keep = volume.source, mask.astype(bool)
    if source is None:
        return np.where(keep, volume.data, outside_value(volume.data)).astype(np.float32), None
    proxy = source.dataobj
    scale = getattr(proxy, 'slope', 1.0), getattr(proxy, 'inter', 0.0)
    # With an offset, a stored zero would not mean zero.
    raw = hasattr(proxy, 'get_unscaled') and scale[1] == 0 and _is_nifti(source)
    raw = raw and (stored or scale[0] == 1)
    file = data_file(source)
    if file is not None and not file.is_file():  # indexed_gzip can crash, not only raise
        raise InputError(f'{file}: this file is needed again, and is not there any more')
    if file is not None and volume._stamps:
        check_stamps(file, volume._stamps)
    try:
        with values_of(source, file) as stored_values:
            data = real(np.asarray(stored_values.get_unscaled() if raw else stored_values))
    except UNREADABLE as error:
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise InputError(f'{volume.name}: cannot read this file again ({reason})') from None
    if data.shape[:3] != keep.shape[:3]:
        raise InputError(
            f'{volume.name}: the mask has the shape {keep.shape[:3]}, the source of the Volume '
            f'{data.shape[:3]}; leave source= out'
        )
    in_memory = isinstance(proxy, np.ndarray)
    if data.dtype.kind == 'f' and not raw and not (in_memory and data.dtype.itemsize in (4, 8)):
        data = _shorter(data)
    if data.dtype.kind == 'b':
        data = data.astype(np.uint8)
    # Where the scale is negative the greatest stored value is the least.
    blank = -outside_value(-data) if raw and scale[0] < 0 else outside_value(data)
    data = np.where(keep.reshape(keep.shape + (1,) * (data.ndim - keep.ndim)), data, blank)
    if data.dtype.kind == 'f':
        data = np.nan_to_num(data, copy=False, nan=blank, posinf=blank, neginf=blank)
    return data, scale if raw else None


def _shorter(data: NDArray[Any]) -> NDArray[Any]:
    """Values as float32, where that holds them."""
    with np.errstate(over='ignore', under='ignore', invalid='ignore'):
        short = data.astype(np.float32)
    lost = np.isfinite(data) & (~np.isfinite(short) | ((short == 0) & (data != 0)))
    return data if lost.any() else short


def _is_nifti(image: Any) -> bool:
    import nibabel as nib

    return isinstance(image, nib.Nifti1Pair)


def _save(
    volume: Volume,
    data: NDArray[Any],
    path: Path,
    scale: tuple[float, float] | None = None,
    *,
    measured: bool = False,
) -> None:
    import nibabel as nib

    if image_suffix(path) in WITHOUT_SCALE:
        image: Any = nib.MGHImage(_as_mgh(data, path), volume.affine)
    else:
        image = _nifti(volume, data, scale, measured=measured)
    with atomic_path(path) as partial, _pair_of(partial, path):
        save_image(image, partial)


def _as_mgh(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """Values of a type, and with as many axes, as the format has."""
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.dtype in (np.uint8, np.float32):
        return data
    with np.errstate(over='ignore'):
        short = data.astype(np.float32)
    if not np.isfinite(short).all():
        raise OutputError(f'{path}: the values are too large for this format; use .nii.gz')
    return short


def _nifti(
    volume: Volume,
    data: NDArray[Any],
    scale: tuple[float, float] | None,
    *,
    measured: bool = False,
) -> Any:
    """Make a NIfTI image with the input's affine and, of a NIfTI input, its codes.

    What the input's values mean (a vector, a z score, a label) is kept where `data` are these.
    """
    import nibabel as nib

    kind = nifti_class(data.shape)
    source = volume.source
    if source is None or not _is_nifti(source):
        image = kind(data, volume.affine, dtype=data.dtype)
        image.header.set_xyzt_units('mm')
        return image
    if isinstance(source.header, nib.nifti2.Nifti2Header):
        kind = nib.Nifti2Image
    header = source.header.copy()
    header.extensions.clear()
    header.set_data_dtype(data.dtype)
    header['cal_min'] = header['cal_max'] = 0
    if not measured:
        header.set_intent('none')
    header.set_slope_inter(None, None)
    name_unit(header)
    # the source's own affine: that of the volume is in mm, whatever the header's unit
    image = kind(data, source.affine, header, dtype=data.dtype)
    # Set both transforms with their codes: nibabel would else promote one to the other.
    image.set_sform(source.get_sform(), int(source.header['sform_code']), update_affine=False)
    if int(source.header['qform_code']) > 0:
        image.set_qform(source.get_qform(), int(source.header['qform_code']), update_affine=False)
    if scale is not None:
        image.header.set_slope_inter(*scale)
    return image


@contextlib.contextmanager
def _pair_of(partial: Path, path: Path) -> Iterator[None]:
    """Move the other half of an image pair, or remove it; `atomic_path` does so with its own."""
    other = {'.img': '.hdr', '.hdr': '.img'}.get(image_suffix(path))
    if other is None:
        yield
        return
    try:
        yield
        partial.with_suffix(other).replace(path.with_suffix(other))
    finally:
        with contextlib.suppress(OSError):
            partial.with_suffix(other).unlink(missing_ok=True)
