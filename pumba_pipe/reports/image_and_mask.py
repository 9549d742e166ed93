"""An image and its mask, turned so that they can be cut into pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.orientation import canonical_axes, oriented, oriented_affine
from pumba_pipe.images.volume import Volume, load_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 400_000  # values that are enough to find percentiles
BLACK_PERCENTILE, WHITE_PERCENTILE = 0.5, 99.5  # percentiles: of all values, of those in the mask
HEADROOM = 1.15  # of the window above the brain's brightest values
MIDDLE, LEAST_GAMMA = 0.42, 0.55  # grey the brain's median gets; strongest brightening for it


@dataclass(frozen=True)
class Scan:
    """An image and its mask, axes closest to right, front and up.

    Attributes
    ----------
    image : ndarray of float32, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        Not empty.
    affine : ndarray, shape (4, 4)
        Voxel indices of these arrays to millimetres.
    name : str
        File name of the image.
    network : ndarray of bool, shape (x, y, z), or None
        The network's own mask, where `mask` is a manual one; may be empty.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    name: str
    network: NDArray[np.bool_] | None = None

    @cached_property
    def voxel_size(self) -> NDArray[np.float64]:
        """Voxel size in mm, shape (3,)."""
        from nibabel.affines import voxel_sizes

        return np.asarray(voxel_sizes(self.affine))

    @cached_property
    def box(self) -> NDArray[np.int64]:
        """First and last voxel of the mask, or of both, along each axis, shape (3, 2)."""
        shown = self.mask if self.network is None else self.mask | self.network
        ranges = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            ranges.append(np.flatnonzero(shown.any(axis=others))[[0, -1]])
        return np.array(ranges)

    @cached_property
    def window(self) -> tuple[float, float, float]:
        """Grey values shown black and white, and an exponent that brightens dark brains."""
        every = self.image.ravel()[:: max(1, self.image.size // SAMPLE)]
        low = float(np.percentile(every, BLACK_PERCENTILE))
        block = tuple(slice(first, last + 1) for first, last in self.box)
        brain = self.image[block][self.mask[block]]
        brain = brain[:: max(1, brain.size // SAMPLE)]
        high = low + HEADROOM * (float(np.percentile(brain, WHITE_PERCENTILE)) - low)
        if high <= low:
            low, high = float(every.min()), float(every.max())
        high = max(high, low + 1e-6 * max(1.0, abs(low)))
        middle = float(np.clip((np.median(brain) - low) / (high - low), 0.01, 0.99))
        gamma = float(np.clip(np.log(MIDDLE) / np.log(middle), LEAST_GAMMA, 1.0))
        return low, high, gamma

    def grey(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn intensities into grey, 0..1."""
        low, high, gamma = self.window
        return np.clip((values - low) / (high - low), 0, 1) ** np.float32(gamma)


def load_scan(in_file: Path, in_mask: Path, network_mask: Path | None = None) -> Scan:
    """Read an image and its mask, and the network's own mask where that is another.

    Raises
    ------
    InputError
        A file cannot be read, the mask is on another grid, or it is empty.
    """
    volume = load_volume(in_file)
    mask = load_mask_of(volume, in_mask)
    if not mask.any():
        raise InputError(f'{in_mask}: the mask is empty, there is nothing to show')
    network = None if network_mask is None else load_mask_of(volume, network_mask)
    return scan_of(volume, mask, in_file.name, network)


def scan_of(
    volume: Volume,
    mask: NDArray[np.bool_],
    name: str,
    network: NDArray[np.bool_] | None = None,
) -> Scan:
    """Turn an image in memory and its mask, see `Scan`."""
    axes = canonical_axes(volume.affine)
    return Scan(
        oriented(volume.data, axes),
        oriented(mask, axes),
        oriented_affine(volume.affine, axes, mask.shape),
        name,
        None if network is None else oriented(network, axes),
    )
