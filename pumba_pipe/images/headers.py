"""NIfTI headers that are odd but not useless: orientation, units of length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MAX_NIFTI1_SIDE = 32767  # voxels; its header has 16 bits for a side
LONGER = 1.01  # length of a quaternion, up to which it is one that was rounded
UNITS = {1: 'metre', 2: 'mm', 3: 'micron'}  # by their codes in NIfTI
MM_OF_UNIT = {'metre': 1000.0, 'mm': 1.0, 'micron': 0.001}
WIDEST_MM = 5000.0  # no field of view is wider than a scanner
NARROWEST_MM = 0.5  # nor is any smaller than a brain
DOUBTFUL = 'check its voxel sizes, which volumes in mL and borders in mm follow'


def nifti_class(shape: Sequence[int]) -> Any:
    """Return the class of images for a shape: NIfTI-1, or NIfTI-2 where a side is too long."""
    import nibabel as nib

    return nib.Nifti2Image if max(shape) > MAX_NIFTI1_SIDE else nib.Nifti1Image


def repaired(header: Any) -> tuple[Any, tuple[str, ...]]:
    """Header whose transforms can all be used, and what was changed, in plain words.

    Of two transforms of which one is sound, the other is unset. A quaternion a little too long,
    as rounding makes it, is shortened.

    Parameters
    ----------
    header : nibabel header
        Not changed. Returned as it is where nothing is to be done.
    """
    import nibabel as nib

    if not isinstance(header, nib.Nifti1Header):
        return header, ()
    notes: list[str] = []
    header = _unit_quaternion(header)
    codes = {name: int(header[f'{name}_code']) for name in ('sform', 'qform')}
    sound = {
        'sform': codes['sform'] > 0 and _is_sound(header.get_sform),
        'qform': codes['qform'] > 0 and _is_sound(header.get_qform),
    }
    for name, other in (('sform', 'qform'), ('qform', 'sform')):
        if codes[name] > 0 and not sound[name] and sound[other]:
            header = header.copy()
            header[f'{name}_code'] = 0
            notes.append(f'the {name} of the header cannot be used; its {other} was taken')
    return header, tuple(notes)


def _unit_quaternion(header: Any) -> Any:
    names = ('quatern_b', 'quatern_c', 'quatern_d')
    length = float(np.linalg.norm([float(header[name]) for name in names]))
    if not 1 < length <= LONGER:
        return header
    header = header.copy()
    for name in names:
        header[name] = float(header[name]) / length
    return header


def _is_sound(read: Callable[[], NDArray[Any]]) -> bool:
    """Whether a transform leads somewhere, and nibabel can read it."""
    try:
        affine = np.asarray(read(), dtype=np.float64)
    except Exception:  # nibabel raises several kinds
        return False
    return bool(np.isfinite(affine).all()) and abs(np.linalg.det(affine[:3, :3])) > 0


def invented_sizes(image: Any) -> tuple[str, ...]:
    """Note that the file's header gives no voxel size along some axis, where it is needed.

    nibabel reads a size of zero as 1 and the magnitude of a negative one. The first is a guess
    that volumes and the border depend on, so it is said.

    Parameters
    ----------
    image : nibabel image
        Read from a file: its header in memory has the sizes that nibabel put there.
    """
    import nibabel as nib

    header = image.header
    if not isinstance(header, nib.AnalyzeHeader | nib.freesurfer.mghformat.MGHHeader):
        return ()
    if isinstance(header, nib.Nifti1Header) and int(header['sform_code']) > 0:
        return ()
    files = image.file_map
    try:
        with files.get('header', files['image']).get_prepare_fileobj('rb') as stream:
            missing = _missing_sizes(type(header), stream)
    except Exception:  # readable a moment ago: nothing to say about it
        return ()
    if not missing:
        return ()
    axes = ', '.join('xyz'[i] for i in missing)
    return (f'the header gives no voxel size along {axes}: 1 mm was taken',)


def _missing_sizes(kind: Any, stream: Any) -> list[int]:
    """Axes of which a header, as it is stored, gives no voxel size."""
    import nibabel as nib

    if issubclass(kind, nib.freesurfer.mghformat.MGHHeader):
        stored = np.frombuffer(stream.read(kind.template_dtype.itemsize)[28:30], '>i2')
        return [] if stored[0] > 0 else [0, 1, 2]  # the flag of a geometry that counts
    stored = kind.from_fileobj(stream, check=False)
    return [i for i, size in enumerate(stored['pixdim'][1:4]) if size == 0]


def mm_per_unit(image: Any) -> tuple[float, tuple[str, ...]]:
    """Millimetres in a unit of a nibabel image's affine, and a note where that is not one.

    Unknown units are millimetres. So are those by which the image would be wider than a scanner
    or smaller than any brain: some converters write the code of a metre beside millimetres. Where
    it is so in millimetres, too, volumes and borders are wrong, and a note says so.
    """
    import nibabel as nib

    if image.affine is None:
        return 1.0, ()
    known = isinstance(image.header, nib.Nifti1Header)
    unit = UNITS.get(unit_code(image.header), 'mm') if known else 'mm'
    factor = MM_OF_UNIT[unit]
    sizes = np.linalg.norm(np.asarray(image.affine, float)[:3, :3], axis=0)
    width = float((sizes * image.shape[:3]).max())
    if not NARROWEST_MM <= width * factor <= WIDEST_MM:
        if factor != 1.0 and NARROWEST_MM <= width <= WIDEST_MM:
            return 1.0, (f'by its header the image is {width:g} {unit}s wide; mm were taken',)
        return factor, (f'by its header the image is {width * factor:g} mm wide: {DOUBTFUL}',)
    return factor, () if factor == 1.0 else (f'lengths in {unit}s, as the header says',)


def unit_code(header: Any) -> int:
    """Code of the unit of length in a NIfTI header; nibabel raises where it does not know it."""
    return int(header['xyzt_units']) % 8


def name_unit(header: Any) -> None:
    """Write millimetres into a NIfTI header that names no known unit of length."""
    if unit_code(header) not in UNITS:
        header['xyzt_units'] = int(header['xyzt_units']) // 8 * 8 + 2
