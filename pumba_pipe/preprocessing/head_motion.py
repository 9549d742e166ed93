"""Head motion between images of one head: how far they are apart, and one moved onto another.

Volumes of a series look alike but for noise, so their squared difference is minimized
(Gauss-Newton steps, from smooth to fine), which takes a fraction of a second a volume. Images of
other contrast, such as M0 and control images, are compared by mutual information.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.images.itk import from_itk, to_itk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

WORK_SIDE = 48  # voxels along an axis, at most, of what is compared
SMOOTH = (0.04, 0.02)  # of the field of view's longest side, from coarse to fine
STEPS = 12  # for each of these
CONVERGED = 0.02  # voxels of the shrunken grid that a step moves the corners
BRIGHT = 0.1  # of the range of values; darker voxels are background
FEW, ENOUGH = 200, 4000  # voxels that are too few to go by, and more than are needed
LIKE = 0.6  # correlation of volumes that show the same, once aligned
METRIC_SAMPLES, BINS = 40_000, 32
MAX_SHIFT = 0.15  # of the field of view; a registration that says more went astray


@dataclass(frozen=True)
class Motion:
    """A rigid motion on one grid, in mm from the middle of the field of view.

    Attributes
    ----------
    turn : ndarray, shape (3, 3)
        Rotation matrix.
    shift : ndarray, shape (3,)
        mm, along the grid's axes.
    """

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]

    @staticmethod
    def identity() -> Motion:
        """Stand still."""
        return Motion(np.eye(3), np.zeros(3))

    def of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points go, shape (3, n), in mm from the middle."""
        return self.turn @ points + self.shift[:, None]

    def before(self, small: NDArray[np.float64]) -> Motion:
        """Put in front of this motion the inverse of a small one of three mm and three radians."""
        from scipy.spatial.transform import Rotation

        back = Rotation.from_rotvec(small[3:]).as_matrix().T
        return Motion(self.turn @ back, self.shift - self.turn @ back @ small[:3])


class Aligner:
    """Finds how volumes are moved against one of them.

    Parameters
    ----------
    fixed : ndarray, shape (x, y, z)
    voxel_size : ndarray, shape (3,)
        mm.
    """

    def __init__(self, fixed: NDArray[np.float32], voxel_size: NDArray[np.float64]) -> None:
        self.shrink = np.array([max(1, -(-side // WORK_SIDE)) for side in fixed.shape])
        self.voxel = voxel_size * self.shrink
        self.full = (np.array(fixed.shape), voxel_size)
        small = shrunken(fixed, self.shrink)
        longest = float((voxel_size * fixed.shape).max())
        self.sigmas = [np.maximum(share * longest / self.voxel, 0.6) for share in SMOOTH]
        self.levels = [_Level.of(small, sigma, self.voxel) for sigma in self.sigmas]

    def motion(self, moving: NDArray[np.float32]) -> tuple[Motion, bool]:
        """Estimate the motion that leads from points of `fixed` to those of a volume.

        Returns
        -------
        motion : Motion
            `Motion.identity()` where the volumes do not show the same, as early and late frames
            of a PET series: what is found between them is not motion.
        alike : bool
            Whether they show the same.
        """
        found = Motion.identity()
        small = shrunken(moving, self.shrink)
        for level, sigma in zip(self.levels, self.sigmas, strict=True):
            if level.solve is None:
                return found, True
            smooth = _smooth(small, sigma)
            found = level.improved(found, smooth)
        reached, before = level.likeness(smooth, found), level.likeness(smooth, Motion.identity())
        alike = max(reached, before) > LIKE
        return (found if alike and reached > before else Motion.identity()), alike

    def distance(self, motion: Motion) -> float:
        """Mean way of the voxels that count, in voxels of the smallest side."""
        points = self.levels[-1].points
        if not points.size:
            return 0.0
        ways = np.linalg.norm(motion.of(points) - points, axis=0)
        return float(ways.mean() / self.full[1].min())

    def undone(self, moving: NDArray[np.float32], motion: Motion) -> NDArray[np.float32]:
        """Resample a volume to where `fixed` lies (cubic), shape (x, y, z)."""
        from scipy import ndimage

        shape, voxel = self.full
        middle = (shape - 1) / 2
        matrix = motion.turn * voxel[None, :] / voxel[:, None]
        offset = middle - matrix @ middle + motion.shift / voxel
        moved = ndimage.affine_transform(moving, matrix, offset, order=3, mode='nearest')
        # splines swing beyond the values they lie between
        return np.clip(moved, moving.min(), moving.max()).astype(np.float32)


@dataclass(frozen=True)
class _Level:
    """The fixed volume at one smoothness, and what its voxels say about a small motion."""

    values: NDArray[np.float64]  # of the voxels that count
    points: NDArray[np.float64]  # where they are, (3, n) mm from the middle
    solve: NDArray[np.float64] | None  # from differences to a motion; None with too few voxels
    voxel: NDArray[np.float64]
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, volume: NDArray[np.float32], sigma: NDArray[np.float64], voxel: NDArray[np.float64]
    ) -> _Level:
        from scipy import ndimage

        smooth = _smooth(volume, sigma)
        low, high = np.percentile(smooth, (2, 98))
        inner = np.zeros(smooth.shape, bool)
        inner[tuple(slice(side // 12, side - side // 12) for side in smooth.shape)] = True
        bright = ndimage.binary_dilation(smooth > low + BRIGHT * (high - low), iterations=2)
        index = np.nonzero(bright & inner)
        index = tuple(axis[:: max(1, len(axis) // ENOUGH)] for axis in index)
        middle = (np.array(smooth.shape) - 1) / 2
        points = (np.stack(index) - middle[:, None]) * voxel[:, None]
        values = smooth[index].astype(np.float64)
        if values.size < FEW:
            return cls(values, points, None, voxel, smooth.shape)
        slopes = np.stack(
            [
                np.gradient(smooth, float(size), axis=axis)[index]
                if smooth.shape[axis] > 1
                else np.zeros(values.size)
                for axis, size in enumerate(voxel)
            ]
        )
        turns = np.cross(points.T, slopes.T).T
        columns = np.vstack([slopes, turns, values, np.ones(values.size)]).T
        scale = np.linalg.norm(columns, axis=0)
        scale[scale == 0] = 1.0
        solve = np.linalg.pinv(columns / scale, rcond=1e-4) / scale[:, None]
        return cls(values, points, solve, voxel, smooth.shape)

    def improved(self, start: Motion, moving: NDArray[np.float64]) -> Motion:
        """Take Gauss-Newton steps as long as they bring the volumes closer."""
        assert self.solve is not None
        best, least = start, np.inf
        current = start
        for _ in range(STEPS):
            seen = self._sampled(moving, current)
            step = self.solve @ (seen - self.values)
            level, offset = 1 + step[6], step[7]
            error = float(np.square(seen - level * self.values - offset).mean())
            if error >= least:
                break
            best, least = current, error
            current = current.before(step[:6] / max(level, 0.1))
            if np.abs(current.of(self.points) - best.of(self.points)).max() < (
                CONVERGED * self.voxel.min()
            ):
                return current
        return best

    def likeness(self, moving: NDArray[np.float64], motion: Motion) -> float:
        """Correlation with a volume after a motion."""
        seen = self._sampled(moving, motion)
        if seen.min() == seen.max() or self.values.min() == self.values.max():
            return 0.0
        return float(np.corrcoef(self.values, seen)[0, 1])

    @cached_property
    def _middle(self) -> NDArray[np.float64]:
        return (np.array(self.shape) - 1) / 2

    def _sampled(self, moving: NDArray[np.float64], motion: Motion) -> NDArray[np.float64]:
        from scipy import ndimage

        places = motion.of(self.points) / self.voxel[:, None] + self._middle[:, None]
        return np.asarray(ndimage.map_coordinates(moving, places, order=1, mode='nearest'))


def shrunken(volume: NDArray[np.float32], factors: NDArray[np.int_]) -> NDArray[np.float32]:
    """Average blocks of voxels; what is left over at the far ends is left out."""
    sides = np.array(volume.shape) // factors
    cut = volume[tuple(slice(0, side * by) for side, by in zip(sides, factors, strict=True))]
    blocks = [number for pair in zip(sides, factors, strict=True) for number in pair]
    return np.asarray(cut.reshape(blocks).mean(axis=(1, 3, 5)))


def _smooth(volume: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(volume.astype(np.float64), sigma, mode='nearest'))


def brought_onto(
    moving: Volume, fixed: Volume, *, seed: int = 1
) -> tuple[NDArray[np.float32], float]:
    """Resample an image of the same head onto another's grid, with head motion in between undone.

    The images were taken one after the other, so the start is where the scanner has them. They may
    differ in contrast.

    Parameters
    ----------
    moving, fixed : Volume
    seed : int
        Of the voxels that are compared.

    Returns
    -------
    moved : ndarray of float32, shape of `fixed`
    way_mm : float
        How far the middle of the field of view was moved; zero where the registration went astray,
        and the image was only resampled.
    """
    import SimpleITK as sitk

    images = [to_itk(one.data, one.affine) for one in (fixed, moving)]
    transform = sitk.Euler3DTransform()
    middle = [(side - 1) / 2 for side in images[0].GetSize()]
    centre = images[0].TransformContinuousIndexToPhysicalPoint(middle)
    transform.SetCenter(centre)
    found = _by_mutual_information(images[0], images[1], transform, seed)
    way = float(np.linalg.norm(np.subtract(found.TransformPoint(centre), centre)))
    if way > MAX_SHIFT * float((fixed.voxel_size * fixed.data.shape).max()):
        found, way = transform, 0.0
    moved, _ = from_itk(sitk.Resample(images[1], images[0], found, sitk.sitkLinear, 0.0))
    return moved.astype(np.float32), way


def _by_mutual_information(fixed: Any, moving: Any, start: Any, seed: int) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    voxels = int(np.prod(fixed.GetSize()))
    method.SetMetricSamplingPercentage(min(1.0, METRIC_SAMPLES / voxels), seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)  # the same sum on any machine
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100, 0.6, 1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    found = sitk.Euler3DTransform(start)
    method.SetInitialTransform(found, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # the images do not overlap, or are flat
        return start
    return found
