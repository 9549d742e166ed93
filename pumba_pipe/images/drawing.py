"""Pictures: planes as pixels, outlines of masks, a canvas they are put on. Pillow alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]

# Okabe and Ito's yellow, which people with any colour vision tell from greys, between dark seams:
# the line is seen on dark tissue, the seams on bright tissue.
OUTLINE = (240, 228, 66)
NETWORK_OUTLINE = (86, 180, 233)  # sky blue of the same set: a second mask
WHITE = 235
LINE_PX = 1.8
GREYS, MIXES, MIX_GREYS = 192, 4, 16  # a palette: greys, then one colour over some greys


def plane_pixels(
    plane: NDArray[np.float32], size: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Resample a plane to pixels, rows from the top of the picture to its bottom.

    Parameters
    ----------
    plane : ndarray, shape (right, up)
    size : two ints
        Width and height in pixels.
    box : four floats
        Left, upper, right and lower edge of what is shown, in voxels from the left upper corner
        of the plane with a voxel of zeros around it, where an outline closes.

    Returns
    -------
    ndarray of float32, shape (height, width)
    """
    from PIL import Image

    picture = Image.fromarray(np.pad(plane, 1).T[::-1])
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box))


def outline_of(mask: NDArray[np.float32], width: float = LINE_PX) -> NDArray[np.float32]:
    """Opacity of a mask's outline, 0..1: a line of constant width, smooth at its edges.

    Parameters
    ----------
    mask : ndarray, shape (rows, columns)
        The mask, interpolated; one half at its border.
    width : float
        Of the line, in pixels.
    """
    down, right = np.gradient(mask)
    slope = np.hypot(down, right)
    distance = np.abs(mask - 0.5) / np.maximum(slope, 1e-3)
    line = np.clip(width / 2 + 0.5 - distance, 0, 1)
    return np.where(slope > 1e-3, line, 0).astype(np.float32)


def widened(opacity: NDArray[np.float32], pixels: int) -> NDArray[np.float32]:
    """Make lines wider by so many pixels on either side."""
    for _ in range(pixels):
        for axis in (0, 1):
            before, after = (np.roll(opacity, step, axis) for step in (1, -1))
            first, last = ((slice(None),) * axis + (end,) for end in (0, -1))
            before[first] = after[last] = 0  # what rolled in from the other side
            opacity = np.maximum(opacity, np.maximum(before, after))
    return opacity


def to_grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn values, 0..1, into bytes."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


class Canvas:
    """A black picture: greys, and lines in one or more colours on top of them.

    Parameters
    ----------
    width, height : int
        In pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.grey = np.zeros((height, width), np.uint8)
        self.lines: dict[Colour, NDArray[np.float32]] = {}

    def line(self, colour: Colour = OUTLINE) -> NDArray[np.float32]:
        """Opacity of the lines of one colour, 0..1, shape (height, width); to be changed."""
        if colour not in self.lines:
            self.lines[colour] = np.zeros(self.grey.shape, np.float32)
        return self.lines[colour]

    def place(self, grey: NDArray[np.uint8], left: int, top: int) -> None:
        """Put a grey picture onto the canvas."""
        rows, columns = grey.shape
        self.grey[top : top + rows, left : left + columns] = grey

    def draw(
        self,
        opacity: NDArray[np.float32],
        left: int,
        top: int,
        colour: Colour = OUTLINE,
        seam: int = 1,
    ) -> None:
        """Put lines onto the canvas, with a dark seam of so many pixels on either side."""
        rows, columns = opacity.shape
        grey = self.grey[top : top + rows, left : left + columns]
        shade = np.minimum(1, 2 * widened(opacity, seam))  # dark where the line fades out
        grey[:] = np.rint(grey * (1 - shade))
        area = self.line(colour)[top : top + rows, left : left + columns]
        np.maximum(area, opacity, out=area)

    def write(
        self,
        text: str,
        left: int,
        top: int,
        size: int,
        anchor: str = 'la',
        colour: Colour | None = None,
    ) -> None:
        """Write text, white with a dark seam or in a line's colour; `anchor` as in Pillow."""
        from PIL import Image, ImageDraw

        if colour is None:
            picture = Image.fromarray(self.grey)
            ImageDraw.Draw(picture).text(
                (left, top), text, WHITE, font_of(size), anchor, stroke_width=2, stroke_fill=0
            )
            self.grey = np.array(picture)
        else:
            letters = Image.new('L', self.grey.shape[::-1])
            ImageDraw.Draw(letters).text((left, top), text, 255, font_of(size), anchor)
            line = self.line(colour)
            np.maximum(line, np.asarray(letters, np.float32) / 255, out=line)

    def bar(self, right: int, top: int, length: int) -> None:
        """Draw a scale bar that ends at `right`."""
        self.grey[top : top + 3, right - length : right] = WHITE

    def save(self, path: Path) -> None:
        """Write a PNG file; of 256 colours where all lines have one colour."""
        picture = self._in_full_colour() if len(self.lines) > 1 else self._of_256_colours()
        with atomic_path(path) as partial:
            picture.save(partial, format='PNG', compress_level=5)

    def save_small(self, path: Path) -> None:
        """Write a JPEG file, a tenth of the size of a PNG file."""
        with atomic_path(path) as partial:
            self._in_full_colour().save(partial, format='JPEG', quality=80, optimize=True)

    def _of_256_colours(self) -> Any:
        from PIL import Image

        (colour, line) = next(iter(self.lines.items()), (OUTLINE, np.float32(0)))
        index = (self.grey.astype(np.uint16) * (GREYS - 1) // 255).astype(np.uint8)
        mix = np.broadcast_to(np.rint(line * MIXES).astype(np.uint8), index.shape)
        marked = mix > 0
        index[marked] = GREYS + (mix[marked] - 1) * MIX_GREYS + self.grey[marked] // MIX_GREYS
        picture = Image.fromarray(index, 'P')
        picture.putpalette(palette(colour))
        return picture

    def _in_full_colour(self) -> Any:
        from PIL import Image

        pixels = np.repeat(self.grey[..., None], 3, axis=2).astype(np.float32)
        for colour, line in self.lines.items():
            pixels += line[..., None] * (np.array(colour, np.float32) - pixels)
        return Image.fromarray(np.rint(pixels).astype(np.uint8))


def palette(colour: Colour) -> list[int]:
    """Colours of a picture: greys, then one colour mixed with greys."""
    colours = [(round(255 * grey / (GREYS - 1)),) * 3 for grey in range(GREYS)]
    for mix in range(1, MIXES + 1):
        for grey in range(MIX_GREYS):
            under, share = 255 * grey / (MIX_GREYS - 1), mix / MIXES
            red, green, blue = (round(share * c + (1 - share) * under) for c in colour)
            colours.append((red, green, blue))
    return [value for each in colours for value in each]


def font_of(size: int) -> Any:
    """Pillow's own font, which needs no file on this machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> float:
    """Width of a line of text in pixels."""
    return float(font_of(size).getlength(text))


def fitted(text: str, size: int, room: float) -> str:
    """Cut a line of text so that it is not wider than `room` pixels; the end says that it was."""
    if text_width(text, size) <= room:
        return text
    while text and text_width(f'{text}…', size) > room:
        text = text[:-1]
    return f'{text}…'
