"""Volumes as ITK images, and resampling from one grid to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # nibabel's x and y point the other way than ITK's


def to_itk(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """ITK image of an array (x, y, z) whose affine leads to RAS mm."""
    from nibabel.affines import voxel_sizes

    lps = LPS @ affine
    spacing = voxel_sizes(lps)
    image = to_itk_unoriented(data, spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def to_itk_unoriented(data: NDArray[Any], voxel_size: Sequence[float] | NDArray[Any]) -> Any:
    """ITK image of an array (x, y, z) with voxel sizes in mm alone, its axes those of ITK."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing([float(size) for size in voxel_size])
    return image


def from_itk(image: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Array (x, y, z[, t]) of an ITK image, and its affine, which leads to RAS mm.

    Raises
    ------
    InputError
        The image is not one of 3D or 4D with a number for each pixel.
    """
    import SimpleITK as sitk

    dimensions = image.GetDimension()
    if dimensions not in (3, 4):
        raise InputError(
            f'image: has {dimensions} dimensions {image.GetSize()}; a 3D image, or 4D series, is '
            'needed'
        )
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f'image: has {image.GetNumberOfComponentsPerPixel()} components per pixel, as colour '
            'images have; choose one with SimpleITK.VectorIndexSelectionCast'
        )
    labels = (
        sitk.sitkLabelUInt8,
        sitk.sitkLabelUInt16,
        sitk.sitkLabelUInt32,
        sitk.sitkLabelUInt64,
    )
    if image.GetPixelID() in labels:  # SimpleITK aborts when asked for the array of a label map
        raise InputError(
            f'image: is a {image.GetPixelIDTypeAsString()}; an image of numbers is needed'
        )
    data = sitk.GetArrayFromImage(image).T
    lps = np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))[:3, :3]
    lps[:3, :3] = direction * image.GetSpacing()[:3]
    lps[:3, 3] = image.GetOrigin()[:3]
    return data, LPS @ lps


def like_itk(image: Any, data: NDArray[Any]) -> Any:
    """ITK image of an array (x, y, z[, t]) with origin, spacing and direction of an ITK image.

    A 3D array of a 4D image has the place of each of its volumes.
    """
    import SimpleITK as sitk

    made = sitk.GetImageFromArray(np.ascontiguousarray(data.T), isVector=False)
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    made.SetOrigin(image.GetOrigin()[: data.ndim])
    made.SetSpacing(image.GetSpacing()[: data.ndim])
    made.SetDirection(direction[: data.ndim, : data.ndim].ravel().tolist())
    return made


def resampled(
    data: NDArray[np.float32], moving: Volume, fixed: Volume, transform: Any, *, smooth: bool
) -> NDArray[np.float32]:
    """Resample an array of the moving grid onto the fixed grid.

    Outside is zero, or the least value where that is below zero.

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
        min(0.0, float(data.min())),
        sitk.sitkFloat32,
    )
    values: NDArray[np.float32] = sitk.GetArrayFromImage(image).T
    return np.clip(values, min(0.0, float(data.min())), float(data.max()))
