"""N4, and the small steps around it: what they change, and what they leave alone."""

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.preprocessing.bias import correct_bias, correct_bias_file, shrink_factors
from pumba_pipe.preprocessing.conform import clip_file, conform_file, mask_file

SHAPE = (40, 36, 32)
TURN = np.array([[0.0, -0.96, 0.28], [1.0, 0.0, 0.0], [0.0, 0.28, 0.96]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN * (2.0, 2.1, 2.4)
OBLIQUE[:3, 3] = (40.0, -38.0, -35.0)
QUICK = {'n_iterations': (8, 8), 'threads': 1}


def two_tissues(seed=3):
    """A ball of two tissues in noise-free air: image, ball."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in SHAPE], indexing='ij'))
    ball = (grid**2).sum(0) < 0.8
    rng = np.random.default_rng(seed)
    coarse = rng.random([side // 4 for side in SHAPE]) > 0.5
    tissue = np.kron(coarse, np.ones((4, 4, 4)))
    image = ball * (100 + 60 * tissue + rng.normal(0, 2, SHAPE))
    return image.astype(np.float32), ball


def field():
    """A smooth field of factors between about 0.6 and 1.6."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, side) for side in SHAPE], indexing='ij')
    return np.exp(0.4 * x - 0.25 * y * y + 0.15 * z * x).astype(np.float32)


def save(path, data, affine=OBLIQUE, kind=nib.Nifti1Image, codes=(1, 2)):
    image = kind(data, affine)
    if isinstance(image, nib.Nifti1Image):
        image.set_qform(affine, codes[0])
        image.set_sform(affine, codes[1])
    nib.save(image, path)
    return path


def spread(values):
    return float(values.std() / values.mean())


@pytest.mark.parametrize('axes', [(0, 1, 2), (2, 0, 1)])
def test_a_known_field_is_found_in_any_orientation(axes):
    image, ball = two_tissues()
    spoiled, inside, truth = (
        np.ascontiguousarray(part.transpose(axes)[::-1])
        for part in (image * field(), ball, field())
    )
    result = correct_bias(spoiled, (2, 2, 2), where=inside, n_iterations=(20,) * 3, threads=1)
    error = np.log(result.bias / truth)[inside]
    assert np.corrcoef(np.log(result.bias)[inside], np.log(truth)[inside])[0, 1] > 0.97
    assert error.std() < 0.3 * np.log(truth)[inside].std()
    np.testing.assert_allclose(result.corrected * result.bias, spoiled, rtol=1e-4, atol=1e-3)
    assert np.log(result.bias[inside & (spoiled > 0)]).mean() == pytest.approx(0, abs=1e-4)
    assert result.notes == ()


def test_the_mask_says_where_the_field_comes_from():
    image, ball = two_tissues()
    spoiled = image * field()
    disturbed = spoiled + np.where(ball, 0, 900).astype(np.float32)
    plain = correct_bias(spoiled, (2, 2, 2), where=ball, **QUICK)
    masked = correct_bias(disturbed, (2, 2, 2), where=ball, **QUICK)
    unmasked = correct_bias(disturbed, (2, 2, 2), **QUICK)
    np.testing.assert_allclose(masked.bias, plain.bias, rtol=1e-3)
    assert np.abs(unmasked.bias - plain.bias).max() > 0.02


@pytest.mark.parametrize('value', [0.0, -3.0, 7.0])
def test_an_image_without_contrast_is_passed_through(value):
    flat = np.full(SHAPE, value, np.float32)
    result = correct_bias(flat, (1, 1, 1))
    np.testing.assert_array_equal(result.corrected, flat)
    assert (result.bias == 1).all()
    assert 'no contrast' in result.notes[0]


def test_negative_images_are_said_to_be_negative():
    """A factor cannot be estimated there; contrast there is."""
    data = -two_tissues()[0] - 1
    result = correct_bias(data, (1, 1, 1))
    assert np.array_equal(result.corrected, data)
    assert result.notes == ('no values above zero: the bias field was not estimated',)


def test_little_or_nothing_in_the_mask_is_no_crash():
    image, _ = two_tissues()
    few = np.zeros(SHAPE, bool)
    for count in (0, 1, 30):
        few.ravel()[np.flatnonzero(image > 0)[:count]] = True
        result = correct_bias(image, (1, 1, 1), where=few, **QUICK)
        assert np.isfinite(result.corrected).all() and np.isfinite(result.bias).all()


def test_thin_axes_are_shrunk_less():
    assert shrink_factors((256, 256, 20), 4) == (4, 4, 1)
    assert shrink_factors((60, 96, 24), 4) == (2, 4, 1)


def test_a_clip_touches_the_estimate_only():
    image, ball = two_tissues()
    image[20, 18, 16] = 1e6
    result = correct_bias(image, (2, 2, 2), clip=(10.0, 99.9), where=ball, **QUICK)
    assert result.corrected[20, 18, 16] > 1e5


def test_files_keep_grid_and_codes(tmp_path):
    image, ball = two_tissues()
    source = save(tmp_path / 'in.nii.gz', (image * field()).astype(np.int16))
    mask = save(tmp_path / 'm.nii.gz', ball.astype(np.uint8))
    correct_bias_file(
        source, tmp_path / 'o.nii.gz', tmp_path / 'b.nii.gz', weight_file=mask, **QUICK
    )
    for name in ('o', 'b'):
        out = nib.load(tmp_path / f'{name}.nii.gz')
        np.testing.assert_allclose(out.affine, OBLIQUE, atol=1e-5)
        assert (int(out.header['qform_code']), int(out.header['sform_code'])) == (1, 2)
        assert out.get_data_dtype() == np.float32
    before, after = nib.load(source).get_fdata()[ball], nib.load(tmp_path / 'o.nii.gz').get_fdata()
    assert spread(after[ball]) < 0.9 * spread(before)


def test_a_mask_of_another_grid_is_one_line(tmp_path):
    source = save(tmp_path / 'in.nii.gz', two_tissues()[0])
    mask = save(tmp_path / 'm.nii.gz', np.ones((5, 5, 5), np.uint8))
    for step in (
        lambda: correct_bias_file(source, tmp_path / 'o.nii.gz', mask_file=mask),
        lambda: mask_file(source, mask, tmp_path / 'o.nii.gz'),
    ):
        with pytest.raises(InputError, match='resample the mask') as caught:
            step()
        assert '\n' not in str(caught.value)
    assert not (tmp_path / 'o.nii.gz').exists()


def test_an_input_is_not_overwritten(tmp_path):
    source = save(tmp_path / 'in.nii.gz', two_tissues()[0])
    for step in (correct_bias_file, conform_file, clip_file):
        with pytest.raises(OutputError, match='is the input'):
            step(source, source)


def test_clipping(tmp_path):
    image, _ = two_tissues()
    image[0, 0, 0], image[1, 0, 0] = np.nan, 1e5
    source = save(tmp_path / 'in.nii.gz', image)
    low, high = clip_file(source, tmp_path / 'out.nii.gz', 10.0, 99.0)
    out = nib.load(tmp_path / 'out.nii.gz').get_fdata()
    assert out.min() == pytest.approx(low) and out.max() == pytest.approx(high)
    untouched = (image > low) & (image < high)
    np.testing.assert_allclose(out[untouched], image[untouched], rtol=1e-6)
    with pytest.raises(InputError, match='smaller'):
        clip_file(source, tmp_path / 'x.nii.gz', 90.0, 10.0)


@pytest.mark.parametrize('name', ['in.nii', 'in.nii.gz', 'in.mgz', 'in.img'])
@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.float32])
def test_conform_keeps_grid_values_and_plain_types(tmp_path, name, dtype):
    image, _ = two_tissues()
    kind = {'mgz': nib.MGHImage, 'img': nib.Nifti1Pair}.get(name.split('.')[1], nib.Nifti1Image)
    source = save(tmp_path / name, image.astype(dtype), kind=kind)
    assert conform_file(source, tmp_path / 'out.nii.gz') == ()
    out = nib.load(tmp_path / 'out.nii.gz')
    assert out.shape == SHAPE
    assert out.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(out.dataobj), np.asarray(nib.load(source).dataobj))
    for affine in (out.affine, out.get_qform(), out.get_sform()):
        np.testing.assert_allclose(affine, OBLIQUE, atol=1e-4)
    assert out.header['qform_code'] == out.header['sform_code'] > 0


def test_conform_makes_one_finite_volume(tmp_path):
    series = np.stack([two_tissues(seed)[0] for seed in (1, 2, 3)], -1)
    series[0, 0, 0] = np.inf
    source = save(tmp_path / 'in.nii.gz', series)
    notes = conform_file(source, tmp_path / 'out.nii.gz')
    assert any('mean of 3' in note for note in notes)
    data = nib.load(tmp_path / 'out.nii.gz').get_fdata()
    assert data.shape == SHAPE and np.isfinite(data).all()
    np.testing.assert_allclose(data[5:], series[5:].mean(-1), rtol=1e-5)


def test_conform_repairs_a_header_without_codes(tmp_path):
    image = nib.Nifti1Image(two_tissues()[0], OBLIQUE)
    image.set_sform(OBLIQUE, 2)
    image.set_qform(np.eye(4), 1)
    nib.save(image, tmp_path / 'a.nii.gz')
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / 'b.nii.gz')
    for name, code in (('a', 2), ('b', 1)):
        conform_file(tmp_path / f'{name}.nii.gz', tmp_path / 'out.nii.gz')
        out = nib.load(tmp_path / 'out.nii.gz')
        np.testing.assert_allclose(out.get_qform(), out.get_sform(), atol=1e-4)
        np.testing.assert_allclose(
            out.affine, nib.load(tmp_path / f'{name}.nii.gz').affine, atol=1e-4
        )
        assert int(out.header['sform_code']) == int(out.header['qform_code']) == code


def test_a_sheared_affine_is_kept(tmp_path):
    sheared = OBLIQUE.copy()
    sheared[0, 2] += 1.0
    image = nib.Nifti1Image(two_tissues()[0], None)
    image.set_sform(sheared, 1)
    nib.save(image, tmp_path / 'in.nii.gz')
    conform_file(tmp_path / 'in.nii.gz', tmp_path / 'out.nii.gz')
    out = nib.load(tmp_path / 'out.nii.gz')
    np.testing.assert_allclose(out.affine, sheared, atol=1e-4)
    assert int(out.header['qform_code']) == 0


def test_constant_images_pass_every_step(tmp_path):
    ones = save(tmp_path / 'm.nii.gz', np.ones(SHAPE, np.uint8))
    for value in (0, 5):
        source = save(tmp_path / 'in.nii.gz', np.full(SHAPE, value, np.int16))
        conform_file(source, tmp_path / 'a.nii.gz')
        clip_file(source, tmp_path / 'b.nii.gz')
        mask_file(source, ones, tmp_path / 'c.nii.gz')
        correct_bias_file(source, tmp_path / 'd.nii.gz', tmp_path / 'e.nii.gz')
        for name in 'abcd':
            assert (nib.load(tmp_path / f'{name}.nii.gz').get_fdata() == value).all()


def test_masking_keeps_type_and_volumes(tmp_path):
    image, ball = two_tissues()
    series = np.stack([image, image / 2], -1).astype(np.int16)
    source = save(tmp_path / 'in.nii.gz', series)
    mask = save(tmp_path / 'm.nii.gz', ball.astype(np.uint8))
    mask_file(source, mask, tmp_path / 'out.nii.gz')
    out = nib.load(tmp_path / 'out.nii.gz')
    assert out.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(out.dataobj), series * ball[..., None])
    assert (int(out.header['qform_code']), int(out.header['sform_code'])) == (1, 2)
