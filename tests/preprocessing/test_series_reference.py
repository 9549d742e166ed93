"""One volume for a series: which volumes it is made from."""

import json

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.preprocessing.series_reference import (
    inliers,
    make_reference,
    make_reference_file,
)


def test_reference_of_a_diffusion_series_is_of_its_b0_volumes(head, tmp_path):
    weights = np.array([1.0, 0.3, 1.0, 0.2])
    series, bvals = tmp_path / 'dwi.nii.gz', tmp_path / 'other.bval'
    data = (head[0][..., None] * weights * 1000).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), series)
    bvals.write_text('0 1000 5 2000\n')
    reference = make_reference(series, bvals)
    assert reference.used == (0, 2)
    np.testing.assert_allclose(reference.volume.data, head[0] * 1000, rtol=1e-5)
    assert make_reference(series).volume.data.max() < 900
    bvals.write_text('0 1000')
    with pytest.raises(InputError, match='2 b-values for 4 volumes'):
        make_reference(series, bvals)
    bvals.write_text('700 1000 700 2000')
    with pytest.raises(InputError, match='no volume of at most 50'):
        make_reference(series, bvals)


def test_a_steady_series_loses_no_volume():
    rng = np.random.default_rng(1)
    steady = 100 + rng.normal(0, 1, (50, 500)).astype(np.float32)
    assert inliers(steady).all()
    assert inliers(np.repeat(steady[:1], 6, axis=0)).all()
    assert inliers(steady[:2] * [[1], [9]]).all()


def noisy(head, count):
    rng = np.random.default_rng(0)
    return np.stack([head[0] * 1000 + rng.normal(0, 5, head[0].shape) for _ in range(count)], -1)


@pytest.mark.parametrize('suffix', ['nii', 'nii.gz'])
@pytest.mark.parametrize('scale', [(1, 0), (0.5, 20)])
def test_outliers_are_left_out_of_the_mean(suffix, scale, head, tmp_path):
    stored = noisy(head, 8)
    stored[..., 0] *= 1.4  # not yet steady
    stored[..., 5] = np.roll(stored[..., 5], 9, axis=1)  # moved
    image = nib.Nifti1Image(stored.astype(np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_slope_inter(*scale)
    nib.save(image, tmp_path / f'bold.{suffix}')
    out, record = tmp_path / 'mean.nii.gz', tmp_path / 'record.json'
    reference = make_reference_file(tmp_path / f'bold.{suffix}', out, record)
    assert reference.dropped == (0, 5)
    assert reference.used == (1, 2, 3, 4, 6, 7)
    expected = stored.astype(np.int16)[..., reference.used].mean(-1) * scale[0] + scale[1]
    np.testing.assert_allclose(nib.load(out).get_fdata(), expected, atol=1e-2)
    content = json.loads(record.read_text())
    assert content['Dropped'] == [0, 5]
    assert content['Notes'] == ['4D: mean of 6 volumes of 8, 2 outliers left out']


def test_one_volume_is_its_own_reference(head, tmp_path):
    for name, data in (('3d', head[0]), ('4d', head[0][..., None])):
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f'{name}.nii.gz')
        reference = make_reference(tmp_path / f'{name}.nii.gz')
        assert (reference.used, reference.dropped, reference.volume.notes) == ((0,), (), ())
        np.testing.assert_array_equal(reference.volume.data, head[0])


def test_a_series_without_an_image(tmp_path):
    path = tmp_path / 'bold.nii.gz'
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 5), np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match='every voxel of the mean has the same value'):
        make_reference(path)
    content = path.read_bytes()
    path.write_bytes(content[:-6])
    with pytest.raises(InputError, match='damaged or incomplete image'):
        make_reference(path)
