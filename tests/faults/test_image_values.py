"""Grey values that are odd: tiny, huge, shifted, missing, below zero, turned around."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import pumba_pipe
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.images.intensity import without_padding, without_spikes
from pumba_pipe.images.masks import dice
from pumba_pipe.images.saving import masked_image, save_masked
from pumba_pipe.images.volume import load_volume, outside_value

HEAD = Path(__file__).parents[1] / 'data' / 'bids' / 'sub-ixi015' / 'anat'
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
INVERTED = 'bright background: the network was shown the image with inverted grey values'


@pytest.fixture(scope='module')
def model():
    return pumba_pipe.load_weights()


@pytest.fixture(scope='module')
def real():
    """A real head, float32, its affine, and its mask."""
    image = nib.load(HEAD / 'sub-ixi015_T1w.nii.gz')
    mask = pumba_pipe.extract(image, device='cpu').mask > 0
    return image.get_fdata(dtype=np.float32), image.affine, mask


@pytest.fixture(scope='module')
def surroundings(real):
    """What is outside that head."""
    bright = real[0] > 0.08 * np.percentile(real[0], 99)
    closed = ndimage.binary_closing(np.pad(bright, 5), iterations=4)[5:-5, 5:-5, 5:-5]
    return ~ndimage.binary_fill_holes(closed)


@pytest.fixture
def strip(real, model):
    def run(values):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            return pumba_pipe.extract(values, model, 'cpu', affine=real[1])

    return run


# Magnitudes.


@pytest.mark.parametrize('largest', [1e-48, 1e-38, 1e-9, 1e12, 1e300])
def test_any_magnitude_gives_the_same_mask(largest, strip, real):
    data, _, expected = real
    result = strip(data.astype(np.float64) / float(data.max()) * largest)
    assert dice(result.mask > 0, expected) > 0.999
    assert result.quality.flags == ()


@pytest.mark.parametrize('largest', [1e-40, 3e38])
def test_any_magnitude_of_single_precision(largest, strip, real):
    data = (real[0].astype(np.float64) / float(real[0].max()) * largest).astype(np.float32)
    assert dice(strip(data).mask > 0, real[2]) > 0.99


@pytest.mark.parametrize(('slope', 'inter'), [(1e-45, 0), (1e-12, 1e-9), (3e38, 0), (1e30, -1e33)])
def test_any_scale_of_a_file(slope, inter, real, model, tmp_path):
    stored = np.round(real[0] / real[0].max() * 30000).astype(np.int16)
    image = nib.Nifti1Image(stored, real[1])
    nib.save(image, tmp_path / 'x.nii')
    content = bytearray((tmp_path / 'x.nii').read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, buffer=content)
    header['scl_slope'], header['scl_inter'] = slope, inter
    (tmp_path / 'x.nii').write_bytes(bytes(content))
    result = pumba_pipe.extract(tmp_path / 'x.nii', model, 'cpu')
    assert dice(result.mask > 0, real[2]) > 0.99
    brain = result.brain()
    assert np.isfinite(brain).all()
    values = stored * float(header['scl_slope']) + inter
    np.testing.assert_allclose(brain[result.mask > 0], values[result.mask > 0], rtol=1e-5)


@pytest.mark.parametrize('offset', [1e9, -1e14])
def test_an_offset_that_single_precision_would_lose(offset, strip, real):
    result = strip(np.round(real[0]).astype(np.float64) + offset)
    assert dice(result.mask > 0, real[2]) > 0.999
    assert any('was subtracted' in note for note in result.quality.notes)
    stored = np.round(real[0]).astype(np.int64) + int(offset)
    assert dice(strip(stored).mask > 0, real[2]) > 0.999


def test_ordinary_values_are_not_changed():
    data = np.random.default_rng(0).normal(0, 1000, (12, 12, 12)).astype(np.float32)
    for values in (data, data.astype(np.int16), data.astype(np.float64)):
        volume = load_volume_of(values)
        np.testing.assert_array_equal(volume.data, values.astype(np.float32))
        assert volume.notes == ()


def load_volume_of(values):
    return pumba_pipe.images.conversion.as_volume(values, AFFINE)


# Missing values.


def test_nan_around_a_head_below_zero(strip, real, surroundings):
    """29: NaN became zero, the brightest value, and the mask was all of the image."""
    shifted = real[0] / np.percentile(real[0], 99.9) * 2000 - 2500
    result = strip(np.where(surroundings, np.nan, shifted).astype(np.float32))
    assert dice(result.mask > 0, real[2]) > 0.98
    assert not result.quality.already_stripped
    assert any('set to the least value, -2500' in note for note in result.quality.notes)


def test_infinite_values_around_a_head(strip, real, surroundings):
    for value in (np.inf, np.nan):
        result = strip(np.where(surroundings, value, real[0]).astype(np.float32))
        assert dice(result.mask > 0, real[2]) > 0.98
        assert np.isfinite(result.brain()).all()


@pytest.mark.parametrize(
    ('values', 'background'), [([5, 7, np.nan], 0), ([-5, 7, np.nan], -5), ([-5, -4, np.inf], -5)]
)
def test_what_missing_values_become(values, background):
    data = np.resize(np.array(values, np.float32), (9, 9, 9))
    volume = load_volume_of(data)
    np.testing.assert_array_equal(volume.data[~np.isfinite(data)], background)
    np.testing.assert_array_equal(volume.data[np.isfinite(data)], data[np.isfinite(data)])


def test_missing_values_of_a_series_do_not_darken_its_mean():
    data = np.random.default_rng(0).normal(-1000, 50, (9, 9, 9, 3)).astype(np.float32)
    data[0] = np.nan  # in all volumes
    data[4, 4, 4, 1] = np.nan  # in one
    volume = load_volume_of(data)
    assert volume.data[4, 4, 4] == pytest.approx(data[4, 4, 4, [0, 2]].mean(), rel=1e-5)
    np.testing.assert_array_equal(volume.data[0], volume.data.min())


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_nothing_but_missing_values(value):
    with pytest.raises(InputError, match='no voxel has a value that is a number'):
        load_volume_of(np.full((9, 9, 9), value))


# Below zero.


@pytest.mark.parametrize('shift', [-1024, -30000])
def test_values_below_zero(shift, strip, real):
    """Hounsfield units, and images all of whose values are below zero."""
    result = strip(np.round(real[0]).astype(np.int16) + np.int16(shift))
    assert dice(result.mask > 0, real[2]) > 0.999
    brain = result.brain()
    assert brain.dtype == np.int16
    np.testing.assert_array_equal(brain[result.mask == 0], brain.min())


def test_values_less_their_mean(strip, real):
    data = (real[0] - real[0].mean()) / real[0].std()
    result = strip(data)
    assert dice(result.mask > 0, real[2]) > 0.999
    np.testing.assert_array_equal(result.brain()[result.mask == 0], data.min())


@pytest.mark.parametrize(
    ('dtype', 'slope', 'inter'),
    [('i2', 1, 0), ('i2', 0.5, 0), ('i2', -2, 0), ('i2', 0.5, -1024), ('u2', 1, -1024),
     ('u1', 1, 0), ('f4', 1, 0), ('f8', 1, 0), ('f4', -1, 0), ('i4', 1, 0)],
)  # fmt: skip
@pytest.mark.parametrize('end', ['.nii', '.nii.gz', '.mgz'])
def test_outside_is_the_least_value_or_zero(dtype, slope, inter, end, tmp_path):
    """By the values, not by how they are stored: where the scale is negative, too."""
    rng = np.random.default_rng(0)
    low = 0 if dtype[0] == 'u' else -100
    stored = rng.integers(low, 200, (9, 10, 11)).astype(dtype)
    image = nib.Nifti1Image(stored, AFFINE)
    nib.save(image, tmp_path / 'x.nii')
    content = bytearray((tmp_path / 'x.nii').read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, buffer=content)
    header['scl_slope'], header['scl_inter'] = slope, inter
    (tmp_path / 'x.nii').write_bytes(bytes(content))
    values = stored * np.float64(slope) + inter
    mask = rng.random(stored.shape) > 0.5
    volume = load_volume(tmp_path / 'x.nii')
    save_masked(volume, mask, tmp_path / f'y{end}')
    expected = np.where(mask, values, min(0, values.min()))
    for written in (nib.load(tmp_path / f'y{end}'), masked_image(volume, mask)):
        np.testing.assert_allclose(np.asarray(written.dataobj), expected, rtol=1e-6)


def test_missing_values_in_the_mask_are_blank():
    data = np.full((9, 9, 9), -3, np.float32)
    data[4, 4, 4], data[5, 5, 5], data[0, 0, 0] = np.nan, np.inf, -70
    made = np.asarray(masked_image(load_volume_of(data), np.ones(data.shape)).dataobj)
    assert made[4, 4, 4] == made[5, 5, 5] == -70


def test_outside_value():
    assert outside_value(np.array([3, 4], np.int16)) == 0
    assert outside_value(np.array([-3, 4], np.int16)).dtype == np.int16
    assert outside_value(np.array([np.nan, -3, -np.inf], np.float32)) == -3
    assert outside_value(np.array([np.nan], np.float32)) == 0
    assert outside_value(np.array([7], np.uint8)).dtype == np.uint8


def test_a_format_that_cannot_hold_the_values(tmp_path):
    data = np.random.default_rng(0).random((9, 9, 9)) * 1e300
    volume = load_volume_of(data)
    with pytest.raises(OutputError, match='too large for this format'):
        save_masked(volume, data > 0, tmp_path / 'x.mgz')
    save_masked(volume, data > 0, tmp_path / 'x.nii.gz')
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'x.nii.gz').dataobj), data)


def test_warped_images_are_dark_outside():
    sitk = pytest.importorskip('SimpleITK')
    from pumba_pipe.images.itk import resampled

    small = load_volume_of(np.random.default_rng(0).normal(-500, 100, (9, 9, 9)))
    large = load_volume_of(np.random.default_rng(0).normal(0, 1, (20, 20, 20)))
    warped = resampled(small.data, small, large, sitk.Transform(), smooth=False)
    assert warped[-1, -1, -1] == small.data.min()


# Turned around.


def test_a_bright_background_is_turned_around(strip, real, surroundings):
    """29: a mask twice too large, and no flag."""
    data, _, expected = real
    for values in (data.max() - data, np.where(surroundings, data.max(), data.max() - data)):
        result = strip(values)
        assert INVERTED in result.quality.notes
        assert dice(result.mask > 0, expected) > 0.98
        assert result.quality.flags == ()
        np.testing.assert_array_equal(result.brain()[result.mask > 0], values[result.mask > 0])


def test_a_bright_background_with_blank_planes_around(strip, real):
    padded = np.pad(real[0].max() - real[0], 5)
    result = strip(padded)
    assert INVERTED in result.quality.notes
    assert dice(result.mask[5:-5, 5:-5, 5:-5] > 0, real[2]) > 0.98


def test_other_backgrounds_are_not_turned_around():
    """Made heads of any contrast, whole and cut: none; turned around, most of them."""
    from pumba_pipe import load_recipe, synthesize
    from pumba_pipe.images.intensity import has_bright_background

    found = []
    for seed in range(24):
        sample = synthesize(load_recipe(), seed, (48, 48, 48))
        image, inside = sample.image.numpy(), np.argwhere(sample.inside.numpy())
        view = tuple(map(slice, inside.min(0), inside.max(0) + 1))
        brain = np.argwhere(sample.label.numpy() > 0)
        cut = tuple(map(slice, brain.min(0), brain.max(0) + 1))
        for part in (view, cut):
            assert min(image[part].shape) == 0 or not has_bright_background(image[part])
        found.append(has_bright_background(image.max() - image[view]))
    assert np.mean(found) > 0.9
    assert not has_bright_background(np.full((9, 9, 9), 7, np.float32))


@pytest.mark.parametrize(
    ('b_values', 'note'),
    [('1000 2000 3000', 'no b-value up to 50'), ('0 1000', 'does not fit the image')],
)
def test_b_values_that_are_ignored_have_their_reason(tmp_path, b_values, note):
    data = np.random.default_rng(0).normal(500, 100, (8, 9, 10, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / 'dwi.nii.gz')
    (tmp_path / 'dwi.bval').write_text(b_values)
    notes = load_volume(tmp_path / 'dwi.nii.gz').notes
    assert note in notes[0]


# Values far beyond all others.


@pytest.mark.parametrize(('value', 'count'), [(1e6, 1), (1e20, 30), (-1e7, 300)])
def test_spikes_hide_no_head(value, count, strip, real):
    """Of a map that was divided by nearly zero, no brain was found, or a piece of noise."""
    data, _, expected = real
    data = data.copy()
    places = np.random.default_rng(1).choice(data.size, count, replace=False)
    data.flat[places] = value
    result = strip(data)
    assert dice(result.mask > 0, expected) > 0.98
    note = f'values far beyond all others, in {count} voxels, were clipped for the network'
    assert note in result.quality.notes
    inside = places[result.mask.flat[places] > 0]
    assert (result.brain().flat[inside] == np.float32(value)).all()


@pytest.mark.parametrize('value', [-32768, -1e10])
def test_what_an_image_is_filled_up_with_hides_no_head(value, strip, real, surroundings):
    """The whole head was taken for brain: beside such a value all of it is of one grey."""
    data, _, expected = real
    result = strip(np.where(surroundings, np.float32(value), data))
    assert dice(result.mask > 0, expected) > 0.95


def test_odd_voxels_below_what_an_image_is_filled_up_with_do_not_hide_that(
    strip, real, surroundings
):
    data, _, expected = real
    odd = np.where(surroundings, np.float32(-32768), data)
    odd.flat[np.flatnonzero(surroundings)[:: surroundings.sum() // 5]] = -60000
    result = strip(odd)
    assert dice(result.mask > 0, expected) > 0.95


def test_ordinary_values_are_left_to_the_network(real):
    data, _, mask = real
    hounsfield = data / data.max() * 2000 - 1024
    few = np.zeros((64, 64, 64), np.float32)
    few += np.random.default_rng(0).random(few.shape, np.float32) * 1e-3
    few[30:35, 30:35, 30:35] = 5.0  # a small head in a large field of view
    for values in (data, hounsfield, few, np.where(mask, data, 0), np.zeros_like(few)):
        assert without_padding(values) is values
        changed, spikes = without_spikes(values)
        assert changed is values
        assert spikes == 0
