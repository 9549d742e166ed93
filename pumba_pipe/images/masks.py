"""Masks: reading, the grid they must lie on, overlap, components, holes, border, distance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError, first_line
from pumba_pipe.common.imports import import_ndimage
from pumba_pipe.images.components import FACES, connected_components
from pumba_pipe.images.grids import span_of
from pumba_pipe.images.headers import mm_per_unit
from pumba_pipe.images.reading import open_source, with_sound_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

SAME_GRID = 0.5  # voxels by which the corners of two grids may differ
SAME_SIZE = 1e-3  # share of a voxel by which its sides may differ and still be those of a cube
FAR = 4.0  # times the longest way within an image


def load_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a mask, shape (x, y, z), and its affine; values above 0.5 are inside.

    Raises
    ------
    InputError
        The file cannot be read, or is not 3D.
    """
    try:
        image, _ = with_sound_header(open_source(path))
        if image.get_data_dtype().fields is not None:
            raise InputError(f'{path}: is a colour (RGB) image, not a mask of numbers')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # NaN, scales that overflow
            inside = np.asarray(image.dataobj) > 0.5
        affine = _affine_in_mm(image)
    except InputError:
        raise
    except Exception as error:  # nibabel's readers raise many kinds on broken files
        raise InputError(f'{path}: cannot read this mask ({first_line(error)})') from None
    if inside.ndim < 3 or any(side != 1 for side in inside.shape[3:]):
        raise InputError(f'{path}: a mask must be 3D, this one has the shape {inside.shape}')
    return inside.reshape(inside.shape[:3]), affine


def grid_of(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape (x, y, z) and affine in millimetres that an image's header has.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    image, _ = with_sound_header(open_source(path))
    return tuple(int(side) for side in image.shape[:3]), _affine_in_mm(image)


def _affine_in_mm(image: Any) -> NDArray[np.float64]:
    return np.asarray(np.diag([*[mm_per_unit(image)[0]] * 3, 1.0]) @ image.affine, dtype=float)


def check_grid(
    path: Path,
    shape: Sequence[int],
    affine: NDArray[np.float64],
    image_shape: Sequence[int],
    image_affine: NDArray[np.float64],
) -> None:
    """Refuse a mask that does not lie on its image's grid.

    Raises
    ------
    InputError
        The shapes differ, or a corner of the grid is more than half a voxel off.
    """
    if tuple(shape) != tuple(image_shape):
        raise InputError(
            f'{path}: the mask is {tuple(shape)}, its image {tuple(image_shape)}; '
            'resample the mask to the image'
        )
    corners = np.array([(x, y, z, 1) for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(shape) - 1
    offset = np.linalg.solve(image_affine, affine @ corners.T)[:3] - corners[:, :3].T
    worst = float(np.abs(offset).max())
    if worst > SAME_GRID:
        raise InputError(
            f"{path}: the mask lies {worst:.1f} voxels away from its image's grid; "
            'resample the mask to the image, or repair its header'
        )


def load_mask_of(volume: Volume, path: Path) -> NDArray[np.bool_]:
    """Read the mask of an image, shape (x, y, z).

    Raises
    ------
    InputError
        The file cannot be read, or the mask does not lie on the image's grid.
    """
    mask, affine = load_mask(path)
    check_grid(path, mask.shape, affine, volume.data.shape, volume.affine)
    return mask


def millilitres(mask: NDArray[Any], volume: Volume) -> float:
    """Volume of a mask of an image, by the voxel size in the image's header."""
    return float(np.count_nonzero(mask)) * float(np.prod(volume.voxel_size)) / 1000


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks; one when both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else 1.0


def bounding_block(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice, slice]:
    """Smallest block of voxels that holds a mask, grown by `margin` within the grid."""
    plane = np.asarray(mask.any(0))
    second, third = plane.any(1), plane.any(0)
    # all of the mask is looked at once, what is left of it a second time
    first = mask[:, span_of(second), span_of(third)].any((1, 2))
    sides = zip((first, second, third), mask.shape, strict=True)
    x, y, z = (_grown(span_of(used), margin, side) for used, side in sides)
    return x, y, z


def _grown(span: slice, margin: int, length: int) -> slice:
    return slice(max(0, span.start - margin), min(length, span.stop + margin))


def largest_component(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, float]:
    """Keep the largest connected component (26 neighbours).

    Returns
    -------
    component : ndarray of bool
    count : int
        Components that were there.
    share : float
        Share of all voxels that the largest held.
    """
    labels, count = connected_components(mask)
    if count <= 1:
        return mask, count, 1.0
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax(), count, float(sizes.max() / sizes.sum())


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is not connected to the outside (6 neighbours)."""
    padded = np.pad(~mask, 1, constant_values=True)
    labels, _ = connected_components(padded, FACES)
    return (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]


def clean(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, float]:
    """Keep the largest component and fill its holes, working in its bounding block only.

    Returns
    -------
    mask : ndarray of bool, shape (x, y, z)
    count : int
        Components before.
    share : float
        Share of the voxels in the largest one.
    """
    if not mask.any():
        return mask, 0, 0.0
    block = bounding_block(mask)
    component, count, share = largest_component(mask[block])
    result = np.zeros_like(mask)
    result[block] = filled(component)
    return result, count, share


def signed_distance(
    mask: NDArray[np.bool_], voxel_size: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Distance in millimetres to the mask's surface, negative inside, shape (x, y, z).

    The surface lies between voxels: half a voxel beyond the centre of the outermost one, along
    each axis half of that axis' voxel.
    """
    half = float(np.min(voxel_size)) / 2
    inside = _distance_to(~mask, voxel_size)
    outside = _distance_to(mask, voxel_size)
    return np.where(mask, half - inside, outside - half).astype(np.float32)


def _distance_to(where: NDArray[np.bool_], voxel_size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in millimetres from the centre of each voxel to the cores of some voxels.

    The core of a voxel is the part farther than half of the smallest voxel side from its faces:
    a point where voxels are cubes, a line across the slice where slices are thick.

    Distances within the axes of the smallest voxels come first, in each plane for itself; they
    are then carried along the other axes. Where there are no such voxels, all are infinite.
    """
    ndimage = import_ndimage()
    if not where.any():
        return np.full(where.shape, np.inf)
    core = (voxel_size - voxel_size.min()) / 2
    thick = core > SAME_SIZE * voxel_size.min()
    if not thick.any():
        return np.asarray(ndimage.distance_transform_edt(~where, sampling=voxel_size))
    # Voxels of other planes are so far away that they are nearest only where a plane has none.
    far = FAR * float(voxel_size.max()) * max(where.shape)
    distance = ndimage.distance_transform_edt(~where, sampling=np.where(thick, far, voxel_size))
    squared = np.where(distance < far, distance**2, np.inf)
    for axis in np.flatnonzero(thick):
        squared = _carried(squared, int(axis), float(voxel_size[axis]), float(core[axis]))
    return np.sqrt(squared)


def _carried(
    squared: NDArray[np.float64], axis: int, size: float, core: float
) -> NDArray[np.float64]:
    """Least sum, over the voxels along an axis, of their value and the squared way to their core.

    Voxels are tried from the nearest on, until the way alone is longer than what was found.
    """
    source = np.moveaxis(squared, axis, 0)
    best = source.copy()
    for step in range(1, len(source)):
        cost = (step * size - core) ** 2
        if cost >= best.max():
            break
        np.minimum(best[step:], source[:-step] + cost, out=best[step:])
        np.minimum(best[:-step], source[step:] + cost, out=best[:-step])
    return np.moveaxis(best, 0, axis)


def moved_border(
    mask: NDArray[np.bool_], voxel_size: NDArray[np.float64], border_mm: float
) -> NDArray[np.bool_]:
    """Grow (positive) or shrink (negative) a mask by a length in millimetres.

    Voxels are taken whose distance to the border is below it, as in SynthStrip.
    """
    if border_mm == 0 or not mask.any():
        return mask
    margin = 2 + int(np.ceil(max(0.0, border_mm) / float(np.min(voxel_size))))
    block = bounding_block(mask, margin)
    result = np.zeros_like(mask)
    result[block] = signed_distance(mask[block], voxel_size) < border_mm
    return result
