"""Intensity non-uniformity: N4 (Tustison et al. 2010), as SimpleITK has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.intensity import check_percentiles, clip_limits
from pumba_pipe.images.itk import to_itk_unoriented
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.saving import check_images, save_map
from pumba_pipe.images.volume import load_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

SHRINK = 4
ITERATIONS = (50, 50, 50, 50)  # at each level; each level doubles the field's detail
MIN_SHRUNKEN_SIDE = 24  # voxels that are left of a side when shrinking
MIN_USABLE_VOXELS = 200  # of the shrunken image; fewer say nothing about a field
SPREAD = 1e-3  # least coefficient of variation that counts as contrast


@dataclass(frozen=True)
class BiasCorrection:
    """An image and what was divided out of it.

    Attributes
    ----------
    corrected : ndarray of float32, shape (x, y, z)
    bias : ndarray of float32, shape (x, y, z)
        Factor of each voxel, above zero; its geometric mean is 1 where the field was estimated.
    notes : tuple of str
        What a user should know, in plain words.
    """

    corrected: NDArray[np.float32]
    bias: NDArray[np.float32]
    notes: tuple[str, ...] = ()


def correct_bias(
    data: NDArray[np.float32],
    voxel_size: Sequence[float] | NDArray[Any],
    *,
    where: NDArray[np.bool_] | None = None,
    clip: tuple[float, float] | None = None,
    shrink_factor: int = SHRINK,
    n_iterations: Sequence[int] = ITERATIONS,
    threads: int | None = None,
) -> BiasCorrection:
    """Estimate a smooth field of factors and divide by it.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Finite values. Those at or below zero take no part in the estimate.
    voxel_size : three floats
        In millimetres.
    where : ndarray of bool, shape (x, y, z), optional
        Voxels that take part; default: all.
    clip : two percentiles, optional
        Limit the values to these percentiles of the non-zero voxels, for the estimate only.
    shrink_factor : int
        The estimate is made on a grid coarser by this factor; thin axes are shrunk less.
    n_iterations : sequence of int
        Most iterations at each level, coarse to fine.
    threads : int, optional
        Default: what ITK chooses.

    Returns
    -------
    BiasCorrection
        The image itself, and a note, where there is nothing to estimate a field from.

    Raises
    ------
    InputError
        `clip` is no pair of percentiles.
    """
    seen = data
    if clip is not None:
        check_percentiles(*clip)
        seen = np.clip(data, *clip_limits(data, *clip))
    usable = (seen > 0) if where is None else (seen > 0) & where
    values = seen[usable]
    if values.size == 0 and np.ptp(seen) > 0:
        return _uncorrected(data, 'no values above zero')
    if values.size == 0 or values.std() <= SPREAD * values.mean():
        return _uncorrected(data, 'no contrast')
    factors = shrink_factors(data.shape, shrink_factor)
    if usable[tuple(slice(f // 2, None, f) for f in factors)].sum() < MIN_USABLE_VOXELS:
        factors = (1, 1, 1)
    log_bias = _log_bias(seen, usable, voxel_size, factors, n_iterations, threads)
    log_bias -= log_bias[usable].mean()
    bias: NDArray[np.float32] = np.exp(log_bias)
    return BiasCorrection(data / bias, bias)


def _uncorrected(data: NDArray[np.float32], reason: str) -> BiasCorrection:
    """Return an image as it is, with a note that says why."""
    note = f'{reason}: the bias field was not estimated'
    return BiasCorrection(data.copy(), np.ones_like(data), (note,))


def shrink_factors(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Factor for each axis: thin axes, such as those of thick slices, are shrunk less."""
    return tuple(max(1, min(factor, int(side) // MIN_SHRUNKEN_SIDE)) for side in shape)


def _log_bias(
    data: NDArray[np.float32],
    usable: NDArray[np.bool_],
    voxel_size: Sequence[float] | NDArray[Any],
    factors: Sequence[int],
    n_iterations: Sequence[int],
    threads: int | None,
) -> NDArray[np.float32]:
    """Logarithm of the field on the full grid, shape (x, y, z)."""
    import SimpleITK as sitk

    # the field does not depend on the orientation
    image, mask = (
        to_itk_unoriented(values, voxel_size) for values in (data, usable.astype(np.uint8))
    )
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(count) for count in n_iterations])
    if threads:
        n4.SetNumberOfThreads(threads)
    try:
        n4.Execute(sitk.Shrink(image, list(factors)), sitk.Shrink(mask, list(factors)))
        field = n4.GetLogBiasFieldAsImage(image)
    except RuntimeError as error:
        reason = str(error).strip().split('\n')[-1]
        raise InputError(f'the bias field could not be estimated ({reason})') from None
    return np.ascontiguousarray(sitk.GetArrayFromImage(field).T, dtype=np.float32)


def correct_bias_file(
    in_file: Path,
    out_file: Path,
    out_bias: Path | None = None,
    *,
    mask_file: Path | None = None,
    weight_file: Path | None = None,
    **options: Any,
) -> BiasCorrection:
    """Correct an image file; results are float32 on the image's own grid.

    Parameters
    ----------
    in_file, out_file, out_bias : Path
        `out_bias` receives the field of factors.
    mask_file, weight_file : Path, optional
        Masks on the image's grid. Voxels inside both take part; of weights, those above 0.5.
    **options
        Of `correct_bias`.

    Raises
    ------
    InputError, OutputError
    """
    check_images([out_file, out_bias], [in_file, mask_file, weight_file])
    volume = load_volume(in_file, flat=True)
    result = correct_bias(
        volume.data, volume.voxel_size, where=_inside(volume, mask_file, weight_file), **options
    )
    save_map(volume, result.corrected, out_file)
    if out_bias is not None:
        save_map(volume, result.bias, out_bias)
    return result


def _inside(volume: Volume, *masks: Path | None) -> NDArray[np.bool_] | None:
    """Voxels inside all masks; None without any."""
    inside = None
    for path in masks:
        if path is None:
            continue
        mask = load_mask_of(volume, path)
        inside = mask if inside is None else inside & mask
    return inside
