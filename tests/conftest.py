"""Fixtures shared by all tests: synthetic heads, made once."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

HEAD_SEED = 5
HEAD_VOXEL = 3.0  # mm


@pytest.fixture(scope='session')
def head():
    """One synthetic head and its brain, arrays (64, 64, 64)."""
    from pumba_pipe import load_recipe, synthesize

    sample = synthesize(load_recipe(), HEAD_SEED, (64, 64, 64))
    return sample.image.numpy(), sample.label.numpy()


@pytest.fixture(scope='session')
def head_file(head, tmp_path_factory):
    """That head as a NIfTI file of 3 mm voxels."""
    path = tmp_path_factory.mktemp('head') / 'head.nii.gz'
    affine = np.diag([HEAD_VOXEL, HEAD_VOXEL, HEAD_VOXEL, 1.0])
    nib.save(nib.Nifti1Image((head[0] * 1000).astype(np.int16), affine), path)
    return path


@pytest.fixture(scope='session')
def bids_dir(tmp_path_factory):
    """A small valid BIDS data set: three participants, two with sessions or several contrasts."""
    from pumba_pipe import load_recipe, synthesize

    root = tmp_path_factory.mktemp('data') / 'bids'
    names = (
        'sub-01/anat/sub-01_T1w.nii.gz',
        'sub-01/anat/sub-01_T2w.nii.gz',
        'sub-02/ses-a/anat/sub-02_ses-a_acq-x_run-01_T1w.nii.gz',
        'sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii',
        'sub-03/anat/sub-03_inv-1_part-mag_MP2RAGE.nii.gz',
        'sub-03/anat/sub-03_inv-1_part-phase_MP2RAGE.nii.gz',
    )
    sample = synthesize(load_recipe(), HEAD_SEED, (48, 48, 48)).image.numpy()
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image((sample * 1000 / (number + 1)).astype(np.int16), affine)
        image.header.set_xyzt_units('mm')
        nib.save(image, path)
    # what the validator wants to know about such an image
    sequence = {
        'FlipAngle': 4,
        'InversionTime': 0.7,
        'MagneticFieldStrength': 7,
        'NumberShots': 48,
        'RepetitionTimeExcitation': 0.006,
        'RepetitionTimePreparation': 5.0,
        'Units': 'rad',
    }
    for part in ('mag', 'phase'):
        sidecar = root / f'sub-03/anat/sub-03_inv-1_part-{part}_MP2RAGE.json'
        sidecar.write_text(json.dumps(sequence))
    description = {'Name': 'Synthetic heads', 'BIDSVersion': '1.9.0', 'License': 'CC0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    (root / 'README').write_text('Heads made of random shapes, to try the BIDS-App on.\n')
    return root


@pytest.fixture
def own_bids_dir(bids_dir, tmp_path):
    """A copy of that data set, to be changed."""
    return Path(shutil.copytree(bids_dir, tmp_path / 'bids'))
