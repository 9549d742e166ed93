"""From a cube of logits to mask and probability at the image's own voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe.extraction.passes import NOT_BRAIN
from pumba_pipe.images.field_of_view import content_block
from pumba_pipe.images.grids import Block, Cube, from_cube
from pumba_pipe.images.masks import clean
from pumba_pipe.images.orientation import canonical_axes, oriented_sizes, oriented_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

DOUBTFUL = math.log(9)  # a logit nearer to zero is a probability between 0.1 and 0.9


@dataclass(frozen=True)
class ImageSpace:
    """How an image lies in space: its axes in canonical order, as views of its own.

    Attributes
    ----------
    volume : Volume
    axes : ndarray, shape (3, 2)
        Of `pumba_pipe.images.orientation.canonical_axes`.
    voxel_size : ndarray, shape (3,)
        In millimetres, in canonical order.
    seen : three slices
        The field of view, in the image's own axes.
    """

    volume: Volume
    axes: NDArray[np.float64]
    voxel_size: NDArray[np.float64]
    seen: tuple[slice, ...]

    @classmethod
    def of(cls, volume: Volume) -> ImageSpace:
        """Look at a volume."""
        axes = canonical_axes(volume.affine)
        # headers of several formats say the same size, but for the last digits of a float64
        sizes = oriented_sizes(volume.voxel_size, axes).astype(np.float32).astype(np.float64)
        return cls(volume, axes, sizes, content_block(volume.data))

    def full(self, value: Any, dtype: Any) -> NDArray[Any]:
        """An array of the image's shape, which lies in memory as the image does."""
        return np.full_like(self.volume.data, value, dtype)

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """The field of view of an array of the image's shape, in canonical order."""
        return oriented_view(array[self.seen], self.axes)


class NativeMask(NamedTuple):
    """What lies within a border, at the image's own voxels.

    Attributes
    ----------
    part : ndarray of bool
        A block of the field of view; beyond it there is nothing.
    block : three slices
        That block, in canonical order.
    doubtful : int
        Voxels with a probability between 0.1 and 0.9, where those were asked for.
    """

    part: NDArray[np.bool_]
    block: Block
    doubtful: int

    @property
    def voxels(self) -> int:
        """Voxels of the mask."""
        return int(np.count_nonzero(self.part))

    def cleaned(self) -> tuple[NativeMask, int]:
        """Keep the largest component and fill its holes; and the number of components before."""
        mask, components, _ = clean(self.part)
        return self._replace(part=mask), components

    def on(self, space: ImageSpace) -> NDArray[np.bool_]:
        """The mask of the whole image, in its own axes."""
        mask = space.full(False, bool)
        space.view(mask)[self.block] = self.part
        return mask


@dataclass(frozen=True)
class NativeLogits:
    """Logits of the border that is asked for, in a cube.

    Attributes
    ----------
    values : ndarray of float32, shape (size, size, size)
    cube : Cube
    space : ImageSpace
        Of the image.
    """

    values: NDArray[np.float32]
    cube: Cube
    space: ImageSpace

    def mask(self, count_doubtful: bool = True) -> NativeMask:
        """What has a probability above one half, sampled within the brain's block alone."""
        block, planes = self._sampled(-DOUBTFUL if count_doubtful else 0.0)
        x, y, z = (span.stop - span.start for span in block)
        part, doubtful = np.zeros((z, y, x), bool), 0
        for plane, target in zip(planes, part, strict=False):  # an empty block has no planes
            np.greater(plane, 0, out=target)
            if count_doubtful:
                doubtful += int(np.count_nonzero(np.abs(plane) < DOUBTFUL))
        return NativeMask(part.T, block, doubtful)

    def probability(self) -> NDArray[np.float32]:
        """Probability of being brain, 0..1, shape (x, y, z), in the image's own axes."""
        result = self.space.full(1 / (1 + math.exp(-NOT_BRAIN)), np.float32)
        block, planes = self._sampled(-math.inf)
        part = self.space.view(result)[block].T
        for plane, target in zip(planes, part, strict=False):
            target[...] = 1 / (1 + np.exp(-plane))
        return result

    def _sampled(self, least: float) -> tuple[Block, Iterator[NDArray[np.float32]]]:
        """Block and planes as from `from_cube`."""
        shape = self.space.view(self.space.volume.data).shape
        return from_cube(self.values, shape, self.space.voxel_size, self.cube, least)


def overlap(first: NativeMask, second: NativeMask) -> float:
    """Dice overlap of two masks of one image; one when both are empty."""
    total = first.voxels + second.voxels
    if not total:
        return 1.0
    ours, theirs = [], []
    for one, other in zip(first.block, second.block, strict=True):
        low, high = max(one.start, other.start), min(one.stop, other.stop)
        high = max(low, high)
        ours.append(slice(low - one.start, high - one.start))
        theirs.append(slice(low - other.start, high - other.start))
    both = first.part[tuple(ours)] & second.part[tuple(theirs)]
    return 2 * int(np.count_nonzero(both)) / total
