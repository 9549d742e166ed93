"""Masks of diffusion images: not where there is no signal."""

import json

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe import BrainExtraction, Volume, strip_file
from pumba_pipe.extraction.evidence import AgreementMetrics
from pumba_pipe.extraction.quality import quality_record
from pumba_pipe.extraction.signal_support import kept_within_signal, within_signal


def test_a_mask_stays_within_the_signal():
    ball = np.linalg.norm(np.indices((20, 20, 20)) - 9.5, axis=0) < 8
    values = np.where(ball, 500, 4).astype(np.float32)
    values[:6] = 0  # cut off
    values[9:11, 9:11, 9:11] = 0  # enclosed: part of the brain
    expected = ball.copy()
    expected[:6] = False
    np.testing.assert_array_equal(within_signal(ball, values), expected)
    np.testing.assert_array_equal(within_signal(expected, values), expected)
    np.testing.assert_array_equal(within_signal(ball, np.zeros_like(values)), ball)

    volume = Volume(values, np.diag([2.0, 2.0, 2.0, 1.0]))
    quality = quality_record(
        volume, (slice(None),) * 3, ball, 1, AgreementMetrics(1, 1, 1, 1), None
    )
    found = BrainExtraction(volume, ball.view(np.uint8), ball * np.float32(1), quality, {})
    cut = kept_within_signal(found)
    np.testing.assert_array_equal(cut.mask, expected)
    np.testing.assert_array_equal(cut.distance() < 0, expected)
    assert cut.quality.volume_ml == pytest.approx(expected.sum() * 8 / 1000)
    lost = np.count_nonzero(ball & ~expected)
    assert cut.quality.notes[-1] == f'{lost} voxels without signal were left out of the mask'
    assert cut.probability is found.probability and kept_within_signal(cut) is cut


def test_all_files_of_an_image_have_the_mask_that_was_cut(head, tmp_path):
    data = (head[0] * 1000).astype(np.int16)
    data[:, 32:] = 0
    nib.save(nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / 'b0.nii.gz')
    names = ('brain', 'mask', 'prob', 'sdt')
    files = {f'out_{name}'.replace('brain', 'file'): tmp_path / f'{name}.nii.gz' for name in names}
    record = tmp_path / 'quality.json'
    strip_file(tmp_path / 'b0.nii.gz', **files, out_quality=record, within_signal=True, threads=1)
    mask = nib.load(files['out_mask']).get_fdata() > 0
    assert mask.any() and not mask[data == 0].any()
    np.testing.assert_array_equal(nib.load(files['out_sdt']).get_fdata() < 0, mask)
    assert not nib.load(files['out_file']).get_fdata()[~mask].any()
    volume = json.loads(record.read_text())['volume_ml']
    assert volume == pytest.approx(mask.sum() * 0.027, rel=1e-3)
