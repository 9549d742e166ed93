"""Options of data sets of synthetic heads, with the defaults that command and node share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_SIZE, MOST_SIZE = 16, 512  # voxels


@dataclass(frozen=True)
class SynthesisOptions:
    """Options of a data set of synthetic heads.

    Attributes
    ----------
    count : int
        Number of heads.
    seed : int
        Of the whole data set; head `i` does not depend on `count`.
    size : int
        Side in voxels of the cube a head is made in, `LEAST_SIZE` to `MOST_SIZE`; where the field
        of view is smaller, the image is.
    suffixes : sequence of str
        Given to the images in turn. A name only: the contrast is random.
    voxel_mm : float
        Voxel size.
    """

    count: int = 10
    seed: int = 0
    size: int = 96
    suffixes: Sequence[str] = ('T1w', 'T2w')
    voxel_mm: float = 2.0
