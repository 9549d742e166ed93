"""The figures of one image: mosaic, before and after, thumbnail, data for the slice viewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.documents import read_json
from pumba_pipe.images.drawing import (
    LINE_PX,
    NETWORK_OUTLINE,
    Canvas,
    fitted,
    outline_of,
    text_width,
)
from pumba_pipe.images.panels import busiest_slice
from pumba_pipe.reports.drawing import LETTERS, PLANE_NAMES, PLANES, Cut, cut, picture_size
from pumba_pipe.reports.image_and_mask import Scan, load_scan
from pumba_pipe.reports.viewer import write_viewer_data
from pumba_pipe.reports.words import expected_quality, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = 7
MOSAIC_WIDTH, ROW_HEIGHT = 1400, 260  # pixels, at most
MAX_ENLARGED = 2.0  # times as much, for images that are finer than these pixels
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 420, 150  # pixels, at most
PAIR_WIDTH, PAIR_HEIGHT = 1200, 420  # pixels, of one half, at most
GAP, HEADER, LABEL = 4, 30, 22
MARGIN = 0.14  # around the brain, of its longest side
ENDS = (0.08, 0.92)  # where the first and the last slice lie, of the brain's extent
BARS = (1, 2, 5, 10, 20, 50, 100)  # mm
LETTER_SIZE, TEXT_SIZE = 13, 15


def write_figures(
    in_file: Path,
    in_mask: Path,
    out_paths: Mapping[str, Path],
    quality: Path | None = None,
    network_mask: Path | None = None,
) -> None:
    """Draw all figures of an image.

    Parameters
    ----------
    in_file, in_mask : Path
        The image and its mask, on one grid.
    out_paths : mapping of str to Path
        Where ``mosaic``, ``before_after``, ``thumbnail`` and ``viewer`` go.
    quality : Path, optional
        The quality record; its main figures stand above the mosaic.
    network_mask : Path, optional
        The network's own mask, where `in_mask` is a manual one: its outline is drawn, too.

    Raises
    ------
    InputError
    OutputError
    """
    scan = load_scan(in_file, in_mask, network_mask)
    draw_mosaic(scan, out_paths['mosaic'], _read_quality(quality))
    draw_before_after(scan, out_paths['before_after'])
    draw_thumbnail(scan, out_paths['thumbnail'])
    write_viewer_data(scan, out_paths['viewer'])


def draw_mosaic(scan: Scan, path: Path, quality: Mapping[str, Any] | None = None) -> None:
    """Draw slices in three planes with the outline of the mask, around the brain.

    The picture is larger where the image is finer than its pixels, so that no detail is lost.
    """
    spans = brain_spans(scan)
    scale = min(
        min(((MOSAIC_WIDTH - GAP) / COLUMNS - GAP) / width, ROW_HEIGHT / height)
        for width, height in (picture_mm(scan, axis, spans) for axis in PLANES)
    )
    larger = float(np.clip(1 / (scan.voxel_size.min() * scale), 1.0, MAX_ENLARGED))
    scale *= larger
    sizes = {axis: picture_size(scan, axis, spans, scale) for axis in PLANES}
    width = max(columns for columns, _ in sizes.values())
    canvas = Canvas(
        COLUMNS * (width + GAP) + GAP,
        HEADER + sum(height + LABEL + GAP for _, height in sizes.values()),
    )
    top = HEADER
    for axis, (columns, rows) in sizes.items():
        for column, index in enumerate(slice_indices(scan, axis)):
            left = GAP + column * (width + GAP) + (width - columns) // 2
            picture = cut(scan, axis, index, spans, scale)
            canvas.place(picture.grey, left, top)
            _outlines(canvas, picture, left, top, larger)
            label = position(scan, axis, index)
            if column == 0:
                label = f'{PLANE_NAMES[axis]}  {label}'
                _letters(canvas, axis, left, top, columns, rows)
            canvas.write(label, left, top + rows + 4, LETTER_SIZE)
        top += rows + LABEL + GAP
    _header(canvas, scan, scale, quality)
    canvas.save(path)


def draw_before_after(scan: Scan, path: Path) -> None:
    """Draw the whole image in three planes, and below it, in a half of equal height, the brain.

    A page can slide between the two halves; the picture also says all when it is looked at alone.
    """
    spans = np.array([[0.0, side] for side in scan.image.shape])
    extents = [picture_mm(scan, axis, spans) for axis in PLANES]
    scale = min(
        (PAIR_WIDTH - 4 * GAP) / sum(width for width, _ in extents),
        PAIR_HEIGHT / max(height for _, height in extents),
    )
    sizes = {axis: picture_size(scan, axis, spans, scale) for axis in PLANES}
    half = HEADER + max(rows for _, rows in sizes.values()) + GAP
    canvas = Canvas(GAP + sum(columns + GAP for columns, _ in sizes.values()), 2 * half)
    left = GAP
    for axis, (columns, rows) in sizes.items():
        whole = cut(scan, axis, busiest_slice(scan.mask, axis), spans, scale)
        brain = np.where(whole.mask >= 0.5, whole.grey, 0).astype(np.uint8)
        for row, grey in enumerate((whole.grey, brain)):
            top = row * half + HEADER + (half - HEADER - GAP - rows) // 2
            canvas.place(grey, left, top)
            _letters(canvas, axis, left, top, columns, rows)
        left += columns + GAP
    canvas.write('before', GAP + 2, 6, TEXT_SIZE)
    # at the end where a page that slides between the halves shows the lower one
    canvas.write('after', canvas.grey.shape[1] - GAP - 2, half + 6, TEXT_SIZE, 'ra')
    canvas.save(path)


def draw_thumbnail(scan: Scan, path: Path) -> None:
    """Draw one slice in each plane with the outline of the mask, small, side by side."""
    spans = brain_spans(scan)
    extents = [picture_mm(scan, axis, spans) for axis in PLANES]
    scale = min(
        (THUMBNAIL_WIDTH - 2 * GAP) / sum(width for width, _ in extents),
        THUMBNAIL_HEIGHT / max(height for _, height in extents),
    )
    sizes = {axis: picture_size(scan, axis, spans, scale) for axis in PLANES}
    height = max(rows for _, rows in sizes.values())
    canvas = Canvas(sum(columns + GAP for columns, _ in sizes.values()) - GAP, height)
    left = 0
    for axis, (columns, rows) in sizes.items():
        picture = cut(scan, axis, busiest_slice(scan.mask, axis), spans, scale)
        top = (height - rows) // 2
        canvas.place(picture.grey, left, top)
        _outlines(canvas, picture, left, top)
        left += columns + GAP
    canvas.save_small(path)


def brain_spans(scan: Scan) -> NDArray[np.float64]:
    """Edges in voxels, shape (3, 2), of a box around the brain that shows what is near it."""
    sides = (scan.box[:, 1] - scan.box[:, 0] + 1) * scan.voxel_size
    margin = np.maximum(MARGIN * sides.max() / scan.voxel_size, 1.0)
    first = np.maximum(scan.box[:, 0] - margin, -1)
    last = np.minimum(scan.box[:, 1] + 1 + margin, np.array(scan.image.shape) + 1)
    return np.stack([first, last], axis=1)


def slice_indices(scan: Scan, axis: int) -> list[int]:
    """Slices across an axis, evenly spread over the brain; each slice once."""
    first, last = (float(end) for end in scan.box[axis])
    places = np.linspace(*ENDS, COLUMNS) * (last - first) + first
    return sorted({int(place) for place in np.rint(places)})


def position(scan: Scan, axis: int, index: int) -> str:
    """Where a slice lies along its axis in scanner coordinates, in mm."""
    centre = scan.box.mean(axis=1)
    centre[axis] = index
    place = float((scan.affine @ [*centre, 1])[axis])
    return f'{place:.0f} mm' if scan.voxel_size.max() >= 0.7 else f'{place:.1f} mm'


def picture_mm(scan: Scan, axis: int, spans: NDArray[np.float64]) -> tuple[float, float]:
    """Width and height in mm of what is shown across an axis."""
    extent = (spans[:, 1] - spans[:, 0]) * scan.voxel_size
    across, up = PLANES[axis]
    return float(extent[across]), float(extent[up])


def _outlines(canvas: Canvas, picture: Cut, left: int, top: int, larger: float = 1.0) -> None:
    """Draw the outline of the mask, on top of that of the network's where there are two."""
    seam, width = round(larger), LINE_PX * larger
    if picture.network is not None:
        other = outline_of(picture.network, width)
        canvas.draw(other, left, top, NETWORK_OUTLINE, seam)
    canvas.draw(picture.outline(width), left, top, seam=seam)


def _letters(canvas: Canvas, axis: int, left: int, top: int, columns: int, rows: int) -> None:
    """Name the four edges of a picture by where they lie in the body, as the header has it."""
    (west, east), (south, north) = (LETTERS[other] for other in PLANES[axis])
    middle, centre = top + rows // 2, left + columns // 2
    canvas.write(west, left + 4, middle, LETTER_SIZE, 'lm')
    canvas.write(east, left + columns - 4, middle, LETTER_SIZE, 'rm')
    canvas.write(north, centre, top + 3, LETTER_SIZE, 'mt')
    canvas.write(south, centre, top + rows - 3, LETTER_SIZE, 'mb')


def _header(canvas: Canvas, scan: Scan, scale: float, quality: Mapping[str, Any] | None) -> None:
    """Write what is shown, how good it is, and a scale bar."""
    width = canvas.grey.shape[1]
    fitting = [bar for bar in BARS if bar * scale <= 0.09 * width] or [BARS[0]]
    length = round(fitting[-1] * scale)
    canvas.bar(width - GAP - 4, HEADER - 12, length)
    canvas.write(f'{fitting[-1]} mm', width - length - 16, 5, LETTER_SIZE, 'ra')
    words = [scan.name, *_in_words(quality)]
    room = width - length - 90
    while len(words) > 1 and text_width('   '.join(words), TEXT_SIZE) > room:
        words.pop()
    canvas.write(fitted('   '.join(words), TEXT_SIZE, room), GAP + 2, 6, TEXT_SIZE)


def _in_words(quality: Mapping[str, Any] | None) -> list[str]:
    if not quality:
        return []
    words = []
    overlap = number(quality.get('network_dice'))
    if quality.get('manual') and overlap is not None:
        words.append(f"manual mask, Dice {overlap:.3f} with the network's")
    volume, expected = number(quality.get('volume_ml')), expected_quality(quality)
    if volume is not None:
        words.append(f'{volume:.4g} mL')
    if expected is not None:
        words.append(f'expected Dice {expected.value:.2f}')
    if isinstance(quality.get('flags'), list) and quality['flags']:
        words.append('; '.join(str(flag) for flag in quality['flags']))
    return words


def _read_quality(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    return read_json(path)
