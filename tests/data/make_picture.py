"""Draw the picture that README opens with: the heads of this folder and their predicted masks.

``python tests/data/make_picture.py docs/images/masks.png`` strips each image and cuts it through
the centre of its mask in three planes. The picture shows images of the IXI data set and is, like
those, under CC BY-SA 3.0; ATTRIBUTION.md has the rest.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from pumba_pipe.commands.strip import main as strip
from pumba_pipe.images.drawing import Canvas
from pumba_pipe.reports.drawing import PLANES, cut
from pumba_pipe.reports.image_and_mask import load_scan

HEADS = {
    'sub-ixi012_T1w': 'T1w, 2 mm',
    'sub-ixi015_T1w': 'T1w, 2 mm',
    'sub-ms12_T1w': 'T1w, MS, slices of 3 mm',
    'sub-ms12_FLAIR': 'FLAIR of the same patient',
}
BIDS = Path(__file__).parent / 'bids'
SIDE_MM = 210.0  # of the square that is shown of a plane
SIDE, GAP, HEADER = 230, 4, 26  # pixels
TEXT_SIZE = 15


def predicted(name, folder):
    """An image with its predicted mask."""
    image = BIDS / name.split('_')[0] / 'anat' / f'{name}.nii.gz'
    mask = folder / f'{name}.nii.gz'
    if strip(['-i', str(image), '-m', str(mask)]) != 0:
        sys.exit(1)
    return load_scan(image, mask)


def shown(scan, axis, side_mm=SIDE_MM):
    """Cut across an axis, and where its upper left corner lies in its square, in pixels."""
    centre = (scan.box.mean(axis=1) + 0.5)[:, None]
    half = side_mm / 2 / scan.voxel_size[:, None] * np.array([-1, 1])
    spans = np.clip(centre + half, 0, np.array(scan.image.shape)[:, None])
    across, up = PLANES[axis]
    scale = SIDE / side_mm
    left = (spans[across, 0] - (centre + half)[across, 0]) * scan.voxel_size[across] * scale
    top = ((centre + half)[up, 1] - spans[up, 1]) * scan.voxel_size[up] * scale
    middle = [int(places.mean()) for places in np.nonzero(scan.mask)]
    return cut(scan, axis, middle[axis], spans, scale), int(left), int(top)


def draw(path):
    """Write the picture: a column a head, a row a plane."""
    width, height = (GAP + count * (SIDE + GAP) for count in (len(HEADS), len(PLANES)))
    canvas = Canvas(width, HEADER + height)
    with tempfile.TemporaryDirectory() as folder:
        for column, (name, label) in enumerate(HEADS.items()):
            scan = predicted(name, Path(folder))
            left = GAP + column * (SIDE + GAP)
            for row, axis in enumerate(PLANES):
                plane, right, down = shown(scan, axis)
                place = (left + right, HEADER + row * (SIDE + GAP) + down)
                canvas.place(plane.grey, *place)
                canvas.draw(plane.outline(), *place)
            canvas.write(label, left + SIDE // 2, 5, TEXT_SIZE, 'ma')
    canvas.save(path)


if __name__ == '__main__':
    draw(Path(sys.argv[1]))
