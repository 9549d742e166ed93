"""Add a participant whose image is no head to a BIDS data set, to see it flagged.

``python tests/data/make_phantom.py BIDS_DIR`` writes ``sub-phantom``: a bottle of water with
plastic rods in it, as scanners are tested with. There is no brain to find, and the mask that comes
out has to be flagged. The rods matter: a bottle without them looks like a smooth brain to the
network, and its mask is not flagged.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (96, 96, 80)
VOXEL = 2.0  # mm, as are all lengths here
RADIUS, HALF_HEIGHT = 80.0, 75.0  # of the bottle
ROD_RADIUS, ROD_DISTANCE = 6.0, 20.0
WATER, NOISE = 800.0, 20.0  # grey values
SEED = 1


def phantom():
    """Grey values, shape (96, 96, 80): noise of a magnitude image around and in the water."""
    x, y, z = ((np.arange(side) + 0.5 - side / 2) * VOXEL for side in SHAPE)
    x, y, z = np.meshgrid(x, y, z, indexing='ij')
    bottle = (np.hypot(x, y) < RADIUS) & (np.abs(z) < HALF_HEIGHT)
    to_rod = [np.abs((axis + ROD_DISTANCE / 2) % ROD_DISTANCE - ROD_DISTANCE / 2)
              for axis in (x, y)]  # fmt: skip
    water = WATER * (bottle & (np.hypot(*to_rod) >= ROD_RADIUS))
    real, imaginary = np.random.default_rng(SEED).normal(0, NOISE, (2, *SHAPE))
    return np.hypot(water + real, imaginary).astype(np.int16)


def add_phantom(bids_dir):
    """Write the image, and a row into participants.tsv unless it is there."""
    path = bids_dir / 'sub-phantom' / 'anat' / 'sub-phantom_T1w.nii.gz'
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
    affine[:3, 3] = -VOXEL * np.array(SHAPE) / 2
    image = nib.Nifti1Image(phantom(), affine)
    image.header.set_xyzt_units('mm')
    nib.save(image, path)
    table = bids_dir / 'participants.tsv'
    rows = table.read_text(encoding='utf-8')
    if 'sub-phantom' not in rows:
        table.write_text(f'{rows}sub-phantom\tn/a\tnot a head\n', encoding='utf-8')


if __name__ == '__main__':
    add_phantom(Path(sys.argv[1]))
