"""Pictures of images with the outlines of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.files import atomic_path
from pumba_pipe.images.orientation import canonical_axes, oriented, oriented_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_COLOUR, FOUND_COLOUR = '#35d07f', '#ff5a4e'
DISPLAY_PERCENTILES = (1, 99.5)  # of the image's grey values, black to white
INCHES = 2.2  # a panel's side
DPI = 110


@dataclass(frozen=True)
class Outline:
    """One mask's cut through a plane, shape (rows, columns), and the colour of its outline."""

    mask: NDArray[np.bool_]
    colour: str


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
    masks: Sequence[tuple[NDArray[Any], str]],
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
    legend: Sequence[tuple[str, str]] = (),
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    size = (columns * INCHES, len(rows) * (INCHES + 0.2) + 0.3)
    figure = Figure(figsize=size, dpi=DPI, facecolor='black')
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (name, colour) in enumerate(legend):
        figure.text(0.01 + 0.2 * index, 0.995, name, color=colour, fontsize=8, va='top')
    top = 1 - 0.45 / size[1]
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.03, hspace=0.12)
    names = iter(titles)
    for row, line in zip(rows, grid, strict=True):
        for index, (panel, axes) in enumerate(zip(row, line, strict=False)):
            _draw_panel(axes, panel)
            if index % titled == 0:
                place = axes.get_position(original=True)
                figure.text(
                    place.x0, place.y1 + 0.02 / size[1], next(names), color='white', fontsize=7
                )
    with atomic_path(path) as partial:
        figure.savefig(partial, format='png', facecolor='black')


def _draw_panel(axes: Any, panel: Panel) -> None:
    axes.imshow(
        panel.image, cmap='gray', vmin=0, vmax=1, origin='lower', aspect=panel.aspect
    )  # fmt: skip
    axes.autoscale(False)
    for outline in panel.outlines:
        # Padding closes the outline of a mask that is cut by the edge of the image.
        closed = np.pad(outline.mask, 1).astype(float)
        if closed.any():
            rows, columns = (np.arange(-1, side - 1) for side in closed.shape)
            axes.contour(
                columns, rows, closed, levels=[0.5], colors=[outline.colour], linewidths=0.8
            )
