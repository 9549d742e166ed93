"""Masks of diffusion images: not where there is no signal."""

import json

import nibabel as nib
import numpy as np

from pumba_pipe.extraction.signal_support import keep_within_signal, within_signal


def test_a_mask_stays_within_the_signal(tmp_path):
    ball = np.linalg.norm(np.indices((20, 20, 20)) - 9.5, axis=0) < 8
    values = np.where(ball, 500, 4).astype(np.float32)
    values[:6] = 0  # cut off
    values[9:11, 9:11, 9:11] = 0  # enclosed: part of the brain
    expected = ball.copy()
    expected[:6] = False
    np.testing.assert_array_equal(within_signal(ball, values), expected)
    np.testing.assert_array_equal(within_signal(expected, values), expected)
    np.testing.assert_array_equal(within_signal(ball, np.zeros_like(values)), ball)

    files = [tmp_path / name for name in ('b0.nii.gz', 'mask.nii.gz', 'brain.nii.gz')]
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for file, data in zip(files, (values, ball.astype(np.uint8), values), strict=True):
        nib.save(nib.Nifti1Image(data, affine), file)
    quality = tmp_path / 'quality.json'
    quality.write_text(json.dumps({'volume_ml': 1.0, 'notes': ['a note']}))
    lost = keep_within_signal(*files, quality)
    assert lost == np.count_nonzero(ball & ~expected)
    np.testing.assert_array_equal(nib.load(files[1]).get_fdata() > 0, expected)
    assert not nib.load(files[2]).get_fdata()[~expected].any()
    record = json.loads(quality.read_text())
    assert record['volume_ml'] == round(float(expected.sum()) * 8 / 1000, 4)
    assert record['notes'][1] == f'{lost} voxels without signal were left out of the mask'
    assert keep_within_signal(*files, quality) == 0
