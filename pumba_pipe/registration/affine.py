"""Affine registration by SimpleITK."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.itk import to_itk
from pumba_pipe.registration.options import RegistrationOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

WORK_SIDE = 100  # voxels along the longest side of what is compared
METRIC_SAMPLES = 60_000  # voxels compared in each step
BINS = 32
MARGIN = 0.06  # of a brain's diameter, compared around it
TURNS = (0.0, -0.45, 0.45)  # radians about each axis, tried before the search
TURN_SHRINK = 3
MIN_MASK_VOXELS = 20  # of the shrunken grid; fewer say nothing about place and size


def register_affine(
    moving: Volume,
    fixed: Volume,
    moving_mask: NDArray[np.bool_] | None = None,
    fixed_mask: NDArray[np.bool_] | None = None,
    *,
    sloppy: bool = RegistrationOptions.sloppy,
    seed: int = RegistrationOptions.seed,
    threads: int | None = RegistrationOptions.threads,
) -> Any:
    """Find the affine transform that resamples `moving` onto `fixed`.

    Mattes mutual information, compared at random voxels of ever finer grids. The start is given
    by the centres and sizes of what is compared and the best of 27 turns; then a similarity is
    searched for, then all twelve parameters.

    Parameters
    ----------
    moving, fixed : Volume
    moving_mask, fixed_mask : ndarray of bool, shape (x, y, z), optional
        Brain masks; images are compared inside and a little around them.
    sloppy, seed, threads
        See `pumba_pipe.registration.register.register_files`.

    Returns
    -------
    SimpleITK.AffineTransform
        From points of `fixed` to points of `moving`, LPS mm.

    Raises
    ------
    InputError
        The images do not match at all, or a mask is too small or too thin to go by.
    """
    import SimpleITK as sitk

    images, masks = [], []
    for volume, mask in ((fixed, fixed_mask), (moving, moving_mask)):
        factors = _shrink_factors(volume)
        images.append(sitk.BinShrink(to_itk(volume.data, volume.affine), factors))
        masks.append(None if mask is None else _shrunken_mask(mask, volume, factors))
    try:
        start = _start(images, masks)
        masks = [None if mask is None else _grown(mask) for mask in masks]
        start = _best_turn(images, masks, start)
        similarity = _optimized(images, masks, start, (4, 2), sloppy, seed, threads)
        affine = _as_affine(similarity)
        affine = _optimized(
            images, masks, affine, (2,) if sloppy else (2, 1), sloppy, seed, threads
        )
    except RuntimeError as error:
        reason = ' '.join(str(error).strip().split('\n')[-1].split())
        raise InputError(f'{moving.name}: does not match {fixed.name} ({reason})') from None
    return _as_affine(affine)


def _shrink_factors(volume: Volume) -> list[int]:
    """Factor for each axis that brings voxels to about a hundredth of the longest side."""
    voxel = (volume.voxel_size * volume.data.shape).max() / WORK_SIDE
    return [max(1, math.floor(voxel / size)) for size in volume.voxel_size]


def _shrunken_mask(mask: NDArray[np.bool_], volume: Volume, factors: Sequence[int]) -> Any:
    import SimpleITK as sitk

    share = sitk.BinShrink(to_itk(mask.astype('float32'), volume.affine), list(factors))
    shrunken = sitk.Cast(share > 0.5, sitk.sitkUInt8)
    left = int(sitk.GetArrayViewFromImage(shrunken).sum())
    if left < MIN_MASK_VOXELS:
        raise InputError(
            f'{volume.name}: its mask of {int(mask.sum())} voxels is too small or too thin to '
            'register the image by; look at the mask, or register without it'
        )
    return shrunken


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


def _best_turn(images: Sequence[Any], masks: Sequence[Any], start: Any) -> Any:
    """Try turns about all axes on coarse images: a search by gradient alone goes astray.

    With a mask of the moving image alone each turn compares other voxels, and the metric of one
    says nothing about that of another.
    """
    import SimpleITK as sitk

    if masks[0] is None and masks[1] is not None:
        return start
    factors = [[min(TURN_SHRINK, side) for side in image.GetSize()] for image in images]
    coarse = [sitk.BinShrink(image, by) for image, by in zip(images, factors, strict=True)]
    method = _method(masks)
    tried = []
    for angles in itertools.product(TURNS, repeat=3):
        turned = sitk.Similarity3DTransform(start)
        euler = sitk.Euler3DTransform()
        euler.SetRotation(*angles)
        turned.SetMatrix([turned.GetScale() * value for value in euler.GetMatrix()])
        method.SetInitialTransform(turned, inPlace=True)
        tried.append((method.MetricEvaluate(*coarse), turned))
    return min(tried, key=lambda pair: pair[0])[1]


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
    fixed, moving = images
    method = _method(masks)
    if threads:
        method.SetNumberOfThreads(threads)
    voxels = math.prod(fixed.GetSize())
    wanted = METRIC_SAMPLES / 4 if sloppy else METRIC_SAMPLES
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(
        [min(1.0, wanted * factor**3 / voxels) for factor in shrink], seed
    )
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


def _method(masks: Sequence[Any]) -> Any:
    """What transforms are judged by: mutual information inside the masks."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    fixed_mask, moving_mask = masks
    if fixed_mask is not None:
        method.SetMetricFixedMask(fixed_mask)
    if moving_mask is not None:
        method.SetMetricMovingMask(moving_mask)
    return method


def _as_affine(transform: Any) -> Any:
    """The same transform as an affine one, with the same centre."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(3)
    affine.SetCenter(transform.GetCenter())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    return affine
