"""Images to files: on the input's own grid, each file complete or not there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.files import atomic_path, image_suffix
from pumba_pipe.images.reading import data_file, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

WRITABLE = ('.nii', '.nii.gz', '.mgh', '.mgz', '.img', '.hdr')


def check_output(path: Path, inputs: tuple[Path | None, ...] = ()) -> None:
    """Refuse, before any work, an output that cannot be written or would replace an input.

    Raises
    ------
    OutputError
    """
    if image_suffix(path) not in WRITABLE:
        raise OutputError(f'{path}: cannot write this format; use one of {", ".join(WRITABLE)}')
    for source in inputs:
        if source is not None and path.exists() and source.exists() and path.samefile(source):
            raise OutputError(f'{path}: is the input itself; choose another output')
    if path.is_dir():
        raise OutputError(f'{path}: is a folder; give a file name')
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a path whose folder cannot be made or written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None


def save_mask(volume: Volume, mask: NDArray[Any], path: str | Path) -> None:
    """Write a mask (x, y, z) as uint8 on the input's own grid, affine and codes."""
    _save(volume, mask.astype(np.uint8), Path(path))


def save_map(volume: Volume, values: NDArray[Any], path: str | Path) -> None:
    """Write a map (x, y, z) as float32 on the input's own grid, affine and codes."""
    _save(volume, values.astype(np.float32), Path(path))


def save_masked(volume: Volume, mask: NDArray[Any], path: str | Path) -> None:
    """Write the input with everything outside `mask` set to zero, all volumes of a 4D input.

    Integer data with a plain scale keep their type and scale.
    """
    data, scale = _masked(volume, mask, stored=True)
    _save(volume, data, Path(path), scale)


def grid_image(volume: Volume, data: NDArray[Any]) -> Any:
    """NIfTI image of an array (x, y, z[, t]) on the input's own grid, affine and codes."""
    return _nifti(volume, data, None)


def masked_image(volume: Volume, mask: NDArray[Any]) -> Any:
    """NIfTI image of what `save_masked` writes.

    Data with a scale are scaled, and have the type float32: nibabel knows no scale of data in
    memory.
    """
    return grid_image(volume, _masked(volume, mask, stored=False)[0])


def _masked(
    volume: Volume, mask: NDArray[Any], *, stored: bool
) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return the input's data, zero outside `mask`, and the scale of data as they are stored."""
    source = volume.source
    if source is None:
        return (volume.data * mask).astype(np.float32), None
    keep = mask.astype(bool)
    proxy = source.dataobj
    scale = getattr(proxy, 'slope', 1.0), getattr(proxy, 'inter', 0.0)
    # With an offset, a stored zero would not mean zero.
    raw = hasattr(proxy, 'get_unscaled') and scale[1] == 0 and _is_nifti(source)
    raw = raw and (stored or scale[0] == 1)
    file = data_file(source)
    if file is not None and not file.is_file():  # indexed_gzip can crash, not only raise
        raise InputError(f'{file}: this file is needed again, and is not there any more')
    try:
        data = real(np.asarray(proxy.get_unscaled() if raw else proxy))
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f'{volume.name}: cannot read this file again ({error})') from None
    in_memory = isinstance(proxy, np.ndarray)
    if data.dtype.kind == 'f' and not raw and not (in_memory and data.dtype.itemsize in (4, 8)):
        data = data.astype(np.float32)
    if data.dtype.kind == 'b':
        data = data.astype(np.uint8)
    data = np.where(keep.reshape(keep.shape + (1,) * (data.ndim - 3)), data, data.dtype.type(0))
    if data.dtype.kind == 'f':
        data = np.nan_to_num(data, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return data, scale if raw else None


def _is_nifti(image: Any) -> bool:
    import nibabel as nib

    return isinstance(image, nib.Nifti1Pair)


def _save(
    volume: Volume,
    data: NDArray[Any],
    path: Path,
    scale: tuple[float, float] | None = None,
) -> None:
    import nibabel as nib

    if image_suffix(path) in ('.mgh', '.mgz'):
        data = data.astype(np.float32) if data.dtype not in (np.uint8, np.float32) else data
        image: Any = nib.MGHImage(data, volume.affine)
    else:
        image = _nifti(volume, data, scale)
    with atomic_path(path) as partial:
        nib.save(image, partial)
        if image_suffix(path) in ('.img', '.hdr'):
            _move_pair(partial, path)


def _nifti(volume: Volume, data: NDArray[Any], scale: tuple[float, float] | None) -> Any:
    """Make a NIfTI image with the input's affine and, of a NIfTI input, its codes."""
    import nibabel as nib

    kind: Any = nib.Nifti2Image if max(data.shape) > 32767 else nib.Nifti1Image
    if volume.source is None or not _is_nifti(volume.source):
        image = kind(data, volume.affine, dtype=data.dtype)
        image.header.set_xyzt_units('mm')
        return image
    source = volume.source
    if isinstance(source, nib.Nifti2Pair):
        kind = nib.Nifti2Image
    header = source.header.copy()
    header.extensions.clear()
    header.set_data_dtype(data.dtype)
    header['cal_min'] = header['cal_max'] = 0
    header.set_slope_inter(None, None)
    if header.get_xyzt_units()[0] == 'unknown':
        header.set_xyzt_units('mm', header.get_xyzt_units()[1])
    image = kind(data, volume.affine, header, dtype=data.dtype)
    # Set both transforms with their codes: nibabel would else promote one to the other.
    image.set_sform(source.get_sform(), int(source.header['sform_code']), update_affine=False)
    if int(source.header['qform_code']) > 0:
        image.set_qform(source.get_qform(), int(source.header['qform_code']), update_affine=False)
    if scale is not None:
        image.header.set_slope_inter(*scale)
    return image


def _move_pair(partial: Path, path: Path) -> None:
    """Move the other half of an image pair; `atomic_path` moves the one it made."""
    other = '.hdr' if path.suffix == '.img' else '.img'
    partial.with_suffix(other).replace(path.with_suffix(other))
