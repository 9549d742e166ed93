"""Volumes as ITK images, and resampling from one grid to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
