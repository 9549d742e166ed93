"""Pixels: cuts through a scan, outlines, and pictures put together from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.reports.scan import Scan

# Two axes of a plane, drawn to the right and up, by the axis it is cut across; and the letters
# at its left, right, lower and upper edge.
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
PLANE_NAMES = {2: 'axial', 1: 'coronal', 0: 'sagittal'}
LETTERS = (('L', 'R'), ('P', 'A'), ('I', 'S'))
OUTLINE = (255, 92, 64)
LINE_PX = 1.8
GREYS, MIXES, MIX_GREYS = 192, 4, 16  # a palette: greys, then the outline over some greys


@dataclass(frozen=True)
class Cut:
    """One plane of a scan in pixels, first row at the top.

    Attributes
    ----------
    grey : ndarray of uint8, shape (rows, columns)
        0..255.
    mask : ndarray of float32, shape (rows, columns)
        The mask, interpolated; one half at its border.
    """

    grey: NDArray[np.uint8]
    mask: NDArray[np.float32]

    @property
    def outline(self) -> NDArray[np.float32]:
        """Opacity of the outline, 0..1: a line of constant width, smooth at its edges."""
        down, right = np.gradient(self.mask)
        slope = np.hypot(down, right)
        distance = np.abs(self.mask - 0.5) / np.maximum(slope, 1e-3)
        line = np.clip(LINE_PX / 2 + 0.5 - distance, 0, 1)
        return np.where(slope > 1e-3, line, 0).astype(np.float32)


def cut(
    scan: Scan,
    axis: int,
    index: int,
    spans: NDArray[np.float64],
    px_per_mm: float,
) -> Cut:
    """Cut a scan across an axis, with pixels as wide as they are high.

    Parameters
    ----------
    scan : Scan
    axis, index : int
        Which slice.
    spans : ndarray, shape (3, 2)
        First and last edge of what is shown, in voxels along each axis; voxel i reaches from i
        to i + 1. One voxel beyond the image may be asked for, so that an outline closes there.
    px_per_mm : float
    """
    from PIL import Image

    across, up = PLANES[axis]
    size = picture_size(scan, axis, spans, px_per_mm)
    # padded by a voxel on each side, rows from the top of the picture to its bottom
    top = scan.image.shape[up] + 1 - spans[up][1]
    height = spans[up][1] - spans[up][0]
    box = (spans[across][0] + 1, top, spans[across][1] + 1, top + height)

    def pixels(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        picture = Image.fromarray(np.pad(plane, 1).T[::-1])
        return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box))

    # not np.take, which copies the whole volume first
    place: tuple[Any, ...] = (*(slice(None),) * axis, index)
    grey = pixels(scan.grey(scan.image[place]))
    mask = pixels(scan.mask[place].astype(np.float32))
    return Cut(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), mask)


def picture_size(
    scan: Scan, axis: int, spans: NDArray[np.float64], px_per_mm: float
) -> tuple[int, int]:
    """Width and height in pixels of what `cut` gives."""
    width, height = (
        max(
            4, round(float(spans[other][1] - spans[other][0]) * scan.voxel_size[other] * px_per_mm)
        )
        for other in PLANES[axis]
    )
    return width, height


class Canvas:
    """A black picture: greys, and outlines on top of them.

    Parameters
    ----------
    width, height : int
        In pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.grey = np.zeros((height, width), np.uint8)
        self.line = np.zeros((height, width), np.float32)

    def place(self, picture: Cut, left: int, top: int, outlined: bool = True) -> None:
        """Put a cut onto the canvas."""
        rows, columns = picture.grey.shape
        area = (slice(top, top + rows), slice(left, left + columns))
        self.grey[area] = picture.grey
        if outlined:
            self.line[area] = picture.outline

    def write(self, text: str, left: int, top: int, size: int, anchor: str = 'la') -> None:
        """Write white text with a dark seam; `anchor` as in Pillow."""
        from PIL import Image, ImageDraw

        picture = Image.fromarray(self.grey)
        ImageDraw.Draw(picture).text(
            (left, top), text, 235, font_of(size), anchor=anchor, stroke_width=2, stroke_fill=0
        )
        self.grey = np.array(picture)

    def bar(self, right: int, top: int, length: int) -> None:
        """Draw a scale bar that ends at `right`."""
        self.grey[top : top + 3, right - length : right] = 235

    def save(self, path: Path) -> None:
        """Write a PNG file of 256 colours."""
        from PIL import Image

        index = (self.grey.astype(np.uint16) * (GREYS - 1) // 255).astype(np.uint8)
        mix = np.rint(self.line * MIXES).astype(np.uint8)
        marked = mix > 0
        index[marked] = GREYS + (mix[marked] - 1) * MIX_GREYS + self.grey[marked] // MIX_GREYS
        picture = Image.fromarray(index, 'P')
        picture.putpalette(palette())
        with atomic_path(path) as partial:
            picture.save(partial, format='PNG', compress_level=5)


def palette() -> list[int]:
    """Colours of a picture: greys, then the outline's colour mixed with greys."""
    colours = [(round(255 * grey / (GREYS - 1)),) * 3 for grey in range(GREYS)]
    for mix in range(1, MIXES + 1):
        for grey in range(MIX_GREYS):
            under, share = 255 * grey / (MIX_GREYS - 1), mix / MIXES
            red, green, blue = (round(share * c + (1 - share) * under) for c in OUTLINE)
            colours.append((red, green, blue))
    return [value for colour in colours for value in colour]


def font_of(size: int) -> Any:
    """Pillow's own font, which needs no file on this machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
