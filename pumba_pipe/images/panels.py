"""Pictures of images with the outlines of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.images.drawing import (
    NETWORK_OUTLINE,
    OUTLINE,
    Canvas,
    fitted,
    outline_of,
    plane_pixels,
    text_width,
    to_grey,
)
from pumba_pipe.images.orientation import canonical_axes, oriented, oriented_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.drawing import Colour

# People with any colour vision tell them apart.
REFERENCE_COLOUR, FOUND_COLOUR = NETWORK_OUTLINE, OUTLINE
DISPLAY_PERCENTILES = (1, 99.5)  # of the image's grey values, black to white
PANEL, GAP, HEADER, TITLE = 260, 6, 26, 22  # pixels; PANEL is the longest side of a panel
TITLE_SIZE = 14


@dataclass(frozen=True)
class Outline:
    """One mask's cut through a plane, shape (rows, columns), and the colour of its outline."""

    mask: NDArray[np.bool_]
    colour: Colour


@dataclass(frozen=True)
class Panel:
    """One plane of an image, ready to draw.

    Attributes
    ----------
    image : ndarray of float32, shape (rows, columns)
        In 0..1, the first row at the bottom.
    outlines : tuple of Outline
    aspect : float
        Height of a voxel over its width.

    """

    image: NDArray[np.float32]
    outlines: tuple[Outline, ...]
    aspect: float


def planes(
    image: NDArray[Any],
    masks: Sequence[tuple[NDArray[Any], Colour]],
    affine: NDArray[np.float64],
) -> list[Panel]:
    """Cut an image along its three axes where its masks are most worth looking at.

    Parameters
    ----------
    image : ndarray, shape (x, y, z)
        Grey values.
    masks : sequence of (ndarray of shape (x, y, z), colour)
        One or two. With two the planes are those where they differ most.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.

    Returns
    -------
    list of three Panel

    """
    from nibabel.affines import voxel_sizes

    axes = canonical_axes(affine)
    sizes = oriented_sizes(voxel_sizes(affine), axes)
    image = oriented(image, axes)
    marked = [oriented(mask, axes).astype(bool) for mask, _ in masks]
    low, high = np.percentile(image, DISPLAY_PERCENTILES)
    interesting = marked[0] ^ marked[-1] if len(marked) > 1 else marked[0]
    if not interesting.any():
        interesting = marked[0]
    panels = []
    for axis in range(3):
        index = busiest_slice(interesting, axis)
        cut = [np.take(array, index, axis).T for array in (image, *marked)]
        grey = np.clip((cut[0] - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
        outlines = tuple(
            Outline(mask, colour) for mask, (_, colour) in zip(cut[1:], masks, strict=True)
        )
        width, height = np.delete(sizes, axis)
        panels.append(Panel(grey, outlines, float(height / width)))
    return panels


def busiest_slice(mask: NDArray[np.bool_], axis: int) -> int:
    """Index along `axis` of the slice with most of the mask; the middle one of an empty mask."""
    counts = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    if counts.max() == 0:
        return mask.shape[axis] // 2
    best = np.flatnonzero(counts == counts.max())
    return int(best[len(best) // 2])


def draw_grid(
    path: Path,
    rows: Sequence[Sequence[Panel]],
    titles: Sequence[str],
    legend: Sequence[tuple[str, Colour]] = (),
    titled: int = 3,
) -> None:
    """Draw rows of panels into a PNG file.

    Parameters
    ----------
    path : Path
        The picture to write.
    rows : sequence of sequences of Panel
        Drawn from top to bottom.
    titles : sequence of str
        One for every `titled` panels, above the first of them.
    legend : sequence of (name, colour)
        What the outlines are, at the top.
    titled : int
        How many panels share a title.

    """
    columns = max(len(row) for row in rows)
    drawn = [[_pixels(panel) for panel in row] for row in rows]
    heights = [max(grey.shape[0] for grey, _ in row) for row in drawn]
    head = HEADER if legend else GAP
    canvas = Canvas(
        columns * (PANEL + GAP) + GAP, head + sum(TITLE + height + GAP for height in heights)
    )
    left = GAP
    for name, colour in legend:
        canvas.write(name, left, 5, TITLE_SIZE, colour=colour)
        left += round(text_width(name, TITLE_SIZE)) + 3 * GAP
    names, top = iter(titles), head
    for row, height in zip(drawn, heights, strict=True):
        for index, (grey, lines) in enumerate(row):
            left = GAP + index * (PANEL + GAP)
            if index % titled == 0:
                room = min(titled, columns - index) * (PANEL + GAP) - GAP
                canvas.write(fitted(next(names), TITLE_SIZE, room), left, top + 3, TITLE_SIZE)
            place = (left + (PANEL - grey.shape[1]) // 2, top + TITLE)
            canvas.place(grey, *place)
            for colour, line in lines:
                canvas.draw(line, *place, colour)
        top += TITLE + height + GAP
    canvas.save(path)


def _pixels(panel: Panel) -> tuple[NDArray[np.uint8], list[tuple[Colour, NDArray[np.float32]]]]:
    """Grey values and outlines of a panel, as large as its place allows."""
    rows, columns = panel.image.shape
    scale = PANEL / max(columns, rows * panel.aspect)
    size = (max(4, round(columns * scale)), max(4, round(rows * panel.aspect * scale)))
    box = (0.5, 0.5, columns + 1.5, rows + 1.5)  # half a voxel more, where outlines close
    grey = to_grey(plane_pixels(panel.image.T, size, box))
    return grey, [
        (each.colour, outline_of(plane_pixels(each.mask.T.astype(np.float32), size, box)))
        for each in panel.outlines
    ]
