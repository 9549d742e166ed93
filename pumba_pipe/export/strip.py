"""Strip the brain from a scan with exported networks of pumba_pipe, without pumba_pipe.

`pipeline.json` holds every number that is used here. This file shows how to use the networks: it
is a program to read and, beside ONNX files, to run.

    python strip.py head.nii.gz mask.nii.gz

It needs numpy, scipy, nibabel and, for networks as ONNX files, onnxruntime. Licence: Apache-2.0.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

Array = Any  # of numpy
Predict = Callable[[Array], Array]  # (size, size, size) -> (borders, size, size, size)


def strip_file(image: str, mask: str, networks: dict[str, Predict], numbers: dict) -> None:
    """Read a scan, 3D or 4D, and write its brain mask.

    Parameters
    ----------
    image, mask : str
        Files that nibabel reads and writes.
    networks : dict
        `coarse` and `fine`.
    numbers : dict
        Of `pipeline.json`.
    """
    import nibabel as nib

    scan: Any = nib.load(image)
    data = np.asarray(scan.dataobj, np.float32)
    data = data.reshape(*data.shape[:3], -1).mean(-1)
    finite = np.isfinite(data)
    data = np.where(finite, data, min(0, data.min(where=finite, initial=0)))
    found = strip(data, scan.affine, networks, numbers)
    nib.save(nib.Nifti1Image(found.astype(np.uint8), scan.affine), mask)


def strip(data: Array, affine: Array, networks: dict[str, Predict], numbers: dict) -> Array:
    """Find the brain in an array (x, y, z); the mask lies on the same voxels."""
    from nibabel import orientations as turns

    axes = turns.io_orientation(affine)
    there = turns.apply_orientation(data, axes)
    sizes = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(0))[np.argsort(axes[:, 0])]
    seen = content_block(there)
    view = without_far_values(np.ascontiguousarray(there[seen]), numbers)
    if has_bright_background(view, numbers):
        view = (view.max() - view) + view.min()
    coarse = run_coarse(view, sizes, networks['coarse'], numbers)
    logits, cube, volume = run_fine(view, sizes, coarse, networks['fine'], numbers)
    share = tight_share(volume, sizes, numbers['border'])
    wide, tight = logits[0], logits[1]
    mixed = wide + np.float32(share) * (tight - wide)
    mask = np.zeros(there.shape, bool)
    mask[seen] = cleaned(at_voxels(mixed, view.shape, sizes, cube, numbers) > 0)
    back = turns.ornt_transform(turns.axcodes2ornt('RAS'), axes)
    return turns.apply_orientation(mask, back)


def content_block(data: Array) -> tuple[slice, ...]:
    """All but the planes at the edges that hold a single value."""
    spans = []
    for axis in range(3):
        planes = np.moveaxis(data, axis, 0)
        varied = [i for i, plane in enumerate(planes) if (plane != plane.flat[0]).any()]
        if not varied or varied[-1] - varied[0] < 2:
            return tuple(slice(0, side) for side in data.shape)
        spans.append(slice(varied[0], varied[-1] + 1))
    return tuple(spans)


def without_far_values(data: Array, numbers: dict) -> Array:
    """Bring what hides a head nearer: what it was filled up with far below, and single spikes."""
    told = numbers['far_values']
    few = some(data, told['planes'])
    levels, counts = np.unique(few, return_counts=True)
    filling = levels[counts >= told['padding_share'] * few.size]
    if len(filling) and filling[0] < 0 and (few > filling[0]).any():
        least, most = (quantile(few[few > filling[0]], fraction) for fraction in told['common'])
        if least - filling[0] > told['padding_gap'] * (most - least):
            data = np.where(data <= filling[0], np.float32(least), data)
    low, high = (quantile(some(data, told['planes']), fraction) for fraction in told['common'])
    span = high - low
    far = (data > high + told['far'] * span) | (data < low - told['far'] * span)
    if span > 0 and far.any():
        groups, _ = ndimage.label(far, np.ones((3, 3, 3)))
        if np.bincount(groups[far]).max() < told['spike_voxels']:
            data = np.clip(data, low - told['closer'] * span, high + told['closer'] * span)
    largest, (least, most) = np.abs(data).max(), told['magnitudes']
    if largest == 0 or least <= largest <= most:
        return data
    return np.ldexp(data, -int(np.floor(np.log2(largest))))


def some(data: Array, planes: int) -> Array:
    """Evenly spaced voxels: about so many planes along each axis."""
    return data[tuple(slice(None, None, max(1, side // planes)) for side in data.shape)]


def has_bright_background(data: Array, numbers: dict) -> bool:
    """Whether the faces of the image are brighter than most of it, as in an inverted one."""
    told = numbers['inversion']
    few = some(data, told['planes'])
    low, high = np.percentile(few, numbers['grey_values']['percentiles'])
    limit = low + told['level'] * (high - low)
    faces = [np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    bright = high > low and np.median(np.concatenate(faces)) >= limit
    return bool(bright and (few > limit).mean() > told['share'])


def run_coarse(data: Array, sizes: Array, predict: Predict, numbers: dict) -> tuple:
    """All of the field of view in one cube: logits, cube, grey values, field of view."""
    extent = np.array(data.shape) * sizes
    cube = (extent / 2, float(extent.max()), numbers['networks']['coarse']['size'])
    values, inside = to_cube(data, sizes, cube)
    scaled = rescaled(values, inside, numbers)
    logits = averaged(predict, scaled, numbers['coarse']['views'])
    return logits, cube, values, inside


def run_fine(data: Array, sizes: Array, coarse: tuple, predict: Predict, numbers: dict) -> tuple:
    """A box around the brain, moved until it fits: logits, cube, volume within in millilitres."""
    told = numbers['fine']
    logits, cube, values, inside = coarse
    likely = blank(values)
    likely[inside] = cleaned(logits[0][inside] > 0)
    brain = values[likely]
    ceiling = quantile(brain, told['ceiling_quantile']) if len(brain) else math.inf
    first, scaled = told['views_to_fit'], None
    for _ in range(told['tries']):
        sure = blank(logits[0])
        visible = logits[0][inside]
        sure[inside] = cleaned(visible > min(told['box_logit'], float(visible.max()) - 1))
        if not sure.any():
            break
        box = box_around(sure, cube, told['fill'], numbers['networks']['fine']['size'])
        if scaled is not None and fits(box, cube, told):
            break
        cube = box
        values, inside = to_cube(data, sizes, cube)
        scaled = rescaled(np.minimum(values, np.float32(ceiling)), inside, numbers)
        logits = averaged(predict, scaled, told['views'][:first])
    if scaled is not None:
        rest = averaged(predict, scaled, told['views'][first:])
        count = len(told['views'])
        logits = (logits * first + rest * (count - first)) / count
    voxel = cube[1] / cube[2]
    return logits, cube, float((logits[0][inside] > 0).sum()) * voxel**3 / 1000


def averaged(predict: Predict, image: Array, views: list[dict]) -> Array:
    """Mean logits of a cube, mirrored and brightened as `views` say."""
    total: Array = 0
    for view in views:
        axes = tuple(view['mirrored_axes'])
        shown = np.flip(image, axes) ** np.float32(view['power'])
        logits = predict(np.ascontiguousarray(shown))
        total = total + np.flip(logits, tuple(1 + axis for axis in axes))
    return total / len(views)


def box_around(mask: Array, cube: tuple, fill: float, size: int) -> tuple:
    """A cube in which the longest side of the mask fills the share `fill`."""
    where = np.argwhere(mask)
    voxel, start = cube[1] / cube[2], cube[0] - cube[1] / 2
    low, high = where.min(0) * voxel + start, (where.max(0) + 1) * voxel + start
    return (low + high) / 2, float((high - low).max()) / fill, size


def fits(wanted: tuple, present: tuple, told: dict) -> bool:
    """Whether the present box is near enough to the wanted one."""
    least, most = told['side_ratio']
    moved = float(np.abs(wanted[0] - present[0]).max()) / present[1]
    return least < wanted[1] / present[1] < most and moved < told['shift']


def tight_share(volume: float, sizes: Array, told: dict) -> float:
    """Share of the border without CSF, 0..1, for a brain of so many millilitres."""
    tiny, less_tiny = told['tiny_ml']
    small, large = told['large_ml']
    coarse, resolved = told['radius_voxels']
    by_size = max(
        math.log(less_tiny / max(volume, tiny)) / math.log(less_tiny / tiny),
        math.log(max(volume, small) / small) / math.log(large / small),
    )
    radius = (volume * 1000 / float(np.prod(sizes)) * 3 / (4 * math.pi)) ** (1 / 3)
    return min(1.0, by_size) * min(1.0, max(0.0, radius - coarse) / (resolved - coarse))


def rescaled(image: Array, inside: tuple, numbers: dict) -> Array:
    """Grey values in 0..1 in the field of view, 0 beyond it."""
    told = numbers['grey_values']
    values = image[inside]
    low, high = (quantile(values, percentile / 100) for percentile in told['percentiles'])
    top = float(values.max())
    if high - low < told['least_share'] * (top - low):
        high = top
    scaled = np.zeros_like(image)
    scaled[inside] = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def quantile(values: Array, fraction: float) -> float:
    """A quantile, from at most about 200,000 evenly spaced values."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, len(flat) // 200_000)]
    rank = round(fraction * (len(flat) - 1))
    # never one rank alone: numpy is slow then where many values are alike
    return float(np.partition(flat, [rank, len(flat) - 1])[rank])


def to_cube(data: Array, sizes: Array, cube: tuple) -> tuple[Array, tuple[slice, ...]]:
    """Sample an image into a cube; and the block of the cube where the image is."""
    matrices, spans = [], []
    for axis in range(3):
        source = (np.arange(data.shape[axis]) + 0.5) * sizes[axis]
        target = cube_positions(cube, axis)
        matrix = triangle(source, target, max(sizes[axis], cube[1] / cube[2]))
        edge = sizes[axis] / 2 * (1 + 1e-6)
        matrix *= ((target >= source[0] - edge) & (target <= source[-1] + edge))[:, None]
        matrices.append(matrix.astype(np.float32))
        spans.append(span_of(matrix.sum(1) > 0.5))
    return sampled(data, matrices), tuple(spans)


def at_voxels(logits: Array, shape: tuple, sizes: Array, cube: tuple, numbers: dict) -> Array:
    """Sample a cube of logits, linearly, at the voxels of an image; what lies beyond is no brain.

    Sampling goes axis by axis, so the same matrices serve for all voxels.
    """
    matrices, block = [], []
    for axis in range(3):
        target = (np.arange(shape[axis]) + 0.5) * sizes[axis]
        start = cube[0][axis] - cube[1] / 2
        span = span_of((target >= start) & (target <= start + cube[1]))
        source = cube_positions(cube, axis)
        matrices.append(triangle(source, target[span], cube[1] / cube[2]).astype(np.float32))
        block.append(span)
    result = np.full(shape, numbers['fine']['logit_beyond'], np.float32)
    result[tuple(block)] = sampled(logits, matrices)
    return result


def cube_positions(cube: tuple, axis: int) -> Array:
    """Centres of a cube's voxels along an axis, in mm from the corner of the field of view."""
    centre, side, size = cube
    return centre[axis] - side / 2 + (np.arange(size) + 0.5) * (side / size)


def triangle(source: Array, target: Array, width: float) -> Array:
    """Weights that fall linearly to zero at `width`, shape (target, source); rows sum to one."""
    weights = np.maximum(0.0, 1 - np.abs(target[:, None] - source[None]) / width)
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


def sampled(data: Array, matrices: list[Array]) -> Array:
    """Multiply a matrix along each axis."""
    for axis, matrix in enumerate(matrices):
        data = np.moveaxis(np.tensordot(matrix, data, (1, axis)), 0, axis)
    return np.ascontiguousarray(data, np.float32)


def span_of(used: Array) -> slice:
    """From the first to the last that is true."""
    where = np.flatnonzero(used)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)


def blank(like: Array) -> Array:
    """A mask of nothing."""
    return np.zeros(like.shape, bool)


def cleaned(mask: Array) -> Array:
    """Keep the largest component (26 neighbours), fill its holes (6 neighbours)."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count > 1:
        counts = np.bincount(labels.ravel())
        counts[0] = 0
        mask = labels == counts.argmax()
    return ndimage.binary_fill_holes(mask)


def onnx_networks(folder: Path, numbers: dict) -> dict[str, Predict]:
    """Networks of ONNX files, by onnxruntime on the CPU."""
    import onnxruntime

    def ready(path: Path) -> Predict:
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        return lambda cube: session.run(None, {'image': cube[None, None]})[0][0]

    return {name: ready(folder / one['file']) for name, one in numbers['networks'].items()}


def torch_networks(modules: dict[str, Any], device: Any) -> dict[str, Predict]:
    """Networks of torch, as those of the MONAI bundle, on a device."""
    import torch

    def ready(module: Any) -> Predict:
        module = module.to(device).eval()

        def predict(cube: Array) -> Array:
            with torch.inference_mode():
                logits = module(torch.from_numpy(cube).to(device)[None, None])
            return logits[0].float().cpu().numpy()

        return predict

    return {name: ready(module) for name, module in modules.items()}


def main() -> None:
    """Strip the file named on the command line."""
    if len(sys.argv) != 3:
        sys.exit('usage: python strip.py IMAGE MASK')
    folder = Path(__file__).parent
    numbers = json.loads((folder / 'pipeline.json').read_text(encoding='utf-8'))
    strip_file(sys.argv[1], sys.argv[2], onnx_networks(folder, numbers), numbers)


if __name__ == '__main__':
    main()
