"""From a cube of logits to mask and probability at the image's own voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe.extraction.passes import NOT_BRAIN
from pumba_pipe.images.field_of_view import content_block
from pumba_pipe.images.grids import Block, Cube, from_cube, slowest_first
from pumba_pipe.images.masks import clean
from pumba_pipe.images.orientation import canonical_axes, oriented_sizes, oriented_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

DOUBTFUL = math.log(9)  # a logit nearer to zero is a probability between 0.1 and 0.9


@dataclass(frozen=True)
class Frame:
    """How an image lies in memory and in space: axes in canonical order are views of its own.

    Attributes
    ----------
    axes : ndarray, shape (3, 2)
        Of `pumba_pipe.images.orientation.canonical_axes`.
    voxel_size : ndarray, shape (3,)
        In millimetres, in canonical order.
    seen : three slices
        The field of view, in the image's own axes.
    shape, order : tuple of int
        Of the image's own array: its shape, and its axes, slowest first.
    """

    axes: NDArray[np.float64]
    voxel_size: NDArray[np.float64]
    seen: tuple[slice, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """Look at a volume."""
        axes = canonical_axes(volume.affine)
        return cls(
            axes,
            oriented_sizes(volume.voxel_size, axes),
            content_block(volume.data),
            volume.data.shape,
            slowest_first(volume.data),
        )

    def full(self, value: Any, dtype: Any) -> NDArray[Any]:
        """An array of the image's shape and order in memory."""
        sides = [self.shape[axis] for axis in self.order]
        # np.zeros costs nothing where nothing is written
        made = np.full(sides, value, dtype) if value else np.zeros(sides, dtype)
        return made.transpose(np.argsort(self.order))

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
    def count(self) -> int:
        """Voxels of the mask."""
        return int(np.count_nonzero(self.part))

    def cleaned(self) -> tuple[NativeMask, int]:
        """Keep the largest component and fill its holes; and the number of components before."""
        mask, components, _ = clean(self.part)
        return self._replace(part=mask), components

    def on(self, frame: Frame) -> NDArray[np.bool_]:
        """The mask of the whole image, in its own axes."""
        mask = frame.full(False, bool)
        frame.view(mask)[self.block] = self.part
        return mask


@dataclass(frozen=True)
class NativeLogits:
    """Logits of the border that is asked for, in a cube.

    Attributes
    ----------
    values : ndarray of float32, shape (size, size, size)
    cube : Cube
    frame : Frame
        Of the image.
    """

    values: NDArray[np.float32]
    cube: Cube
    frame: Frame

    def mask(self, count_doubtful: bool = True) -> NativeMask:
        """What has a probability above one half, sampled within the brain's block alone."""
        least = -DOUBTFUL if count_doubtful else 0.0
        block, order, planes = self._sampled(least)
        sides = [block[axis].stop - block[axis].start for axis in order]
        part, doubtful = np.zeros(sides, bool), 0
        for plane, target in zip(planes, part, strict=True):
            np.greater(plane, 0, out=target)
            if count_doubtful:
                doubtful += int(np.count_nonzero(np.abs(plane) < DOUBTFUL))
        return NativeMask(part.transpose(np.argsort(order)), block, doubtful)

    def probability(self) -> NDArray[np.float32]:
        """Probability of being brain, 0..1, shape (x, y, z), in the image's own axes."""
        nowhere = 1 / (1 + math.exp(-NOT_BRAIN))
        result = self.frame.full(nowhere, np.float32)
        block, order, planes = self._sampled(-np.inf)
        for plane, target in zip(planes, self.frame.view(result)[block].transpose(order)):
            target[...] = 1 / (1 + np.exp(-plane))
        return result

    def _sampled(self, least: float) -> tuple[Block, tuple[int, ...], Any]:
        """Block and planes as from `from_cube`; planes lie as they do in memory."""
        frame = self.frame
        # which canonical axis each of the image's own is
        order = tuple(int(frame.axes[axis, 0]) for axis in frame.order)
        sides = [0, 0, 0]
        for span, axis in zip(frame.seen, frame.axes[:, 0], strict=True):
            sides[int(axis)] = span.stop - span.start
        block, planes = from_cube(
            self.values, sides, frame.voxel_size, self.cube, least, order
        )
        return block, order, planes


def overlap(first: NativeMask, second: NativeMask) -> float:
    """Dice overlap of two masks of one image; one when both are empty."""
    total = first.count + second.count
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
