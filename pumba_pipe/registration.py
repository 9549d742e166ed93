"""Registration of an image to a template: affine by SimpleITK, deformable by antspyx.

Transforms are ITK's: they take points of the template's space to points of the image's, in
millimetres, with x to the left and y to the back (LPS). So the forward transform resamples the
image onto the template, with `SimpleITK.Resample` or ``antsApplyTransforms``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pumba_pipe.errors import InputError, PumbaError
from pumba_pipe.evaluation_cases import check_grid, load_mask
from pumba_pipe.files import atomic_path
from pumba_pipe.saving import check_output, save_map, save_mask
from pumba_pipe.volume import load_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pumba_pipe.volume import Volume

WORK_SIDE = 100  # voxels along the longest side of what is compared
SAMPLES = 60_000  # voxels compared in each step
BINS = 32
MARGIN = 0.06  # of the template's brain, compared around it
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def register_files(
    in_file: Path,
    template: Path,
    *,
    forward_xfm: Path,
    inverse_xfm: Path,
    warped_file: Path,
    warped_mask: Path | None = None,
    in_mask: Path | None = None,
    template_mask: Path | None = None,
    transform: Literal['affine', 'syn'] = 'affine',
    sloppy: bool = False,
    seed: int = 1,
    threads: int | None = None,
) -> None:
    """Register an image file to a template and resample it onto the template's grid.

    Parameters
    ----------
    in_file, template : Path
    forward_xfm, inverse_xfm : Path
        Transform files to write.
    warped_file, warped_mask : Path
        Image and mask on the template's grid, to write; a mask needs `in_mask`.
    in_mask, template_mask : Path, optional
        Brain masks; images are compared inside and a little around them.
    transform : str
        ``'affine'``, or ``'syn'`` for a deformation on top of it.
    sloppy : bool
        Quick and rough, for tests.
    seed : int
        Of the choice of voxels that are compared; above zero.
    threads : int, optional
        CPU threads; default: what ITK chooses.

    Raises
    ------
    InputError
        A file cannot be used, or the images do not match at all.
    PumbaError
        ``'syn'`` without antspyx.
    OutputError
    """
    import SimpleITK as sitk

    if transform == 'syn':
        _check_ants()
    for path in (warped_file, warped_mask):
        if path is not None:
            check_output(path, (in_file, template))
    moving, fixed = load_volume(in_file), load_volume(template)
    moving_mask, fixed_mask = _mask(moving, in_mask), _mask(fixed, template_mask)
    found = register_affine(
        moving, fixed, moving_mask, fixed_mask, sloppy=sloppy, seed=seed, threads=threads
    )
    with atomic_path(forward_xfm) as partial:
        sitk.WriteTransform(found, str(partial))
    with atomic_path(inverse_xfm) as partial:
        sitk.WriteTransform(found.GetInverse(), str(partial))
    save_map(fixed, resampled(moving.data, moving, fixed, found, smooth=not sloppy), warped_file)
    if warped_mask is not None and moving_mask is not None:
        share = resampled(moving_mask.astype(np.float32), moving, fixed, found, smooth=False)
        save_mask(fixed, share > 0.5, warped_mask)


def register_affine(
    moving: Volume,
    fixed: Volume,
    moving_mask: NDArray[np.bool_] | None = None,
    fixed_mask: NDArray[np.bool_] | None = None,
    *,
    sloppy: bool = False,
    seed: int = 1,
    threads: int | None = None,
) -> Any:
    """Find the affine transform that resamples `moving` onto `fixed`.

    Mattes mutual information, compared at random voxels of ever finer grids; first a similarity,
    from the centres and sizes of what is compared, then all twelve parameters.

    Parameters
    ----------
    moving, fixed : Volume
    moving_mask, fixed_mask : ndarray of bool, shape (x, y, z), optional
        Brain masks; images are compared inside and a little around them.
    sloppy, seed, threads
        See `register_files`.

    Returns
    -------
    SimpleITK.AffineTransform
        From points of `fixed` to points of `moving`, LPS mm.

    Raises
    ------
    InputError
        The images do not match at all.
    """
    import SimpleITK as sitk

    images, masks = [], []
    for volume, mask in ((fixed, fixed_mask), (moving, moving_mask)):
        factors = _shrink_factors(volume)
        images.append(sitk.BinShrink(to_itk(volume.data, volume.affine), factors))
        masks.append(None if mask is None else _shrunken_mask(mask, volume, factors))
    start = _start(images, masks)
    masks = [None if mask is None else _grown(mask) for mask in masks]
    try:
        similarity = _optimized(images, masks, start, (4, 2), sloppy, seed, threads)
        affine = _as_affine(similarity)
        affine = _optimized(
            images, masks, affine, (2,) if sloppy else (2, 1), sloppy, seed, threads
        )
    except RuntimeError as error:
        reason = ' '.join(str(error).strip().split('\n')[-1].split())
        raise InputError(f'{moving.name}: does not match {fixed.name} ({reason})') from None
    return _as_affine(affine)


def to_itk(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """ITK image of an array (x, y, z) whose affine leads to RAS mm."""
    import SimpleITK as sitk

    lps = LPS @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(0))
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def resampled(
    data: NDArray[np.float32], moving: Volume, fixed: Volume, transform: Any, *, smooth: bool
) -> NDArray[np.float32]:
    """Resample an array of the moving grid onto the fixed grid; zero outside.

    Parameters
    ----------
    data : ndarray, shape of `moving`
    transform : SimpleITK.Transform
    smooth : bool
        Cubic B-splines, kept within the range of `data`; else linear.

    Returns
    -------
    ndarray of float32, shape of `fixed`
    """
    import SimpleITK as sitk

    image = sitk.Resample(
        to_itk(data, moving.affine),
        to_itk(np.zeros(fixed.data.shape, np.uint8), fixed.affine),
        transform,
        sitk.sitkBSpline if smooth else sitk.sitkLinear,
        0.0,
        sitk.sitkFloat32,
    )
    values: NDArray[np.float32] = sitk.GetArrayFromImage(image).T
    return np.clip(values, min(0.0, float(data.min())), float(data.max()))


def _mask(volume: Volume, path: Path | None) -> NDArray[np.bool_] | None:
    if path is None:
        return None
    mask, affine = load_mask(path)
    check_grid(path, mask.shape, affine, volume.data.shape, volume.affine)
    if not mask.any():
        raise InputError(f'{path}: the mask is empty')
    return mask


def _shrink_factors(volume: Volume) -> list[int]:
    """Factor for each axis that brings voxels to about a hundredth of the longest side."""
    voxel = (volume.voxel_size * volume.data.shape).max() / WORK_SIDE
    return [max(1, math.floor(voxel / size)) for size in volume.voxel_size]


def _shrunken_mask(mask: NDArray[np.bool_], volume: Volume, factors: Sequence[int]) -> Any:
    import SimpleITK as sitk

    share = sitk.BinShrink(to_itk(mask.astype(np.float32), volume.affine), list(factors))
    return sitk.Cast(share > 0.5, sitk.sitkUInt8)


def _grown(mask: Any) -> Any:
    """Mask with a margin, so that the outline counts."""
    import SimpleITK as sitk

    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(mask)
    radius = MARGIN * statistics.GetEquivalentSphericalRadius(1) * 2
    return sitk.BinaryDilate(mask, [max(1, round(radius / s)) for s in mask.GetSpacing()])


def _start(images: Sequence[Any], masks: Sequence[Any]) -> Any:
    """Similarity that brings the centres together, and of two brains the sizes."""
    import SimpleITK as sitk

    brains = all(mask is not None for mask in masks)
    fixed, moving = masks if brains else images
    moments = sitk.CenteredTransformInitializerFilter.MOMENTS
    start = sitk.Similarity3DTransform(
        sitk.CenteredTransformInitializer(fixed, moving, sitk.Similarity3DTransform(), moments)
    )
    if brains:
        start.SetScale((_volume(moving) / _volume(fixed)) ** (1 / 3))
    return start


def _volume(mask: Any) -> float:
    """Volume of a mask in mm^3."""
    import SimpleITK as sitk

    return float(sitk.GetArrayViewFromImage(mask).sum()) * math.prod(mask.GetSpacing())


def _optimized(
    images: Sequence[Any],
    masks: Sequence[Any],
    start: Any,
    shrink: Sequence[int],
    sloppy: bool,
    seed: int,
    threads: int | None,
) -> Any:
    """Improve a transform, from coarse to fine grids."""
    import SimpleITK as sitk

    fixed, moving = images
    method = sitk.ImageRegistrationMethod()
    if threads:
        method.SetNumberOfThreads(threads)
    method.SetMetricAsMattesMutualInformation(BINS)
    fixed_mask, moving_mask = masks
    if fixed_mask is not None:
        method.SetMetricFixedMask(fixed_mask)
    if moving_mask is not None:
        method.SetMetricMovingMask(moving_mask)
    voxels = math.prod(fixed.GetSize())
    wanted = SAMPLES / 4 if sloppy else SAMPLES
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(
        [min(1.0, wanted * factor**3 / voxels) for factor in shrink], seed
    )
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=50 if sloppy else 200,
        relaxationFactor=0.7,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([factor / 2 if factor > 1 else 0 for factor in shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def _as_affine(transform: Any) -> Any:
    """The same transform as an affine one, with the same centre."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(3)
    affine.SetCenter(transform.GetCenter())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    return affine


def _check_ants() -> None:
    from importlib.util import find_spec

    if find_spec('ants') is None:
        raise PumbaError(
            "transform 'syn' needs antspyx: pip install 'pumba_pipe[ants]', or use 'affine'"
        )
