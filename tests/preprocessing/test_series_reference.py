"""One volume for a series: which volumes it is made from."""

import json

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.preprocessing.series_reference import (
    Beside,
    inliers,
    make_reference,
    make_reference_file,
)
from pumba_pipe.preprocessing.volume_choice import asl_volumes, b0_volumes, pet_frames


def test_reference_of_a_diffusion_series_is_of_its_b0_volumes(head, tmp_path):
    weights = np.array([1.0, 0.3, 1.0, 0.2])
    series, bvals = tmp_path / 'dwi.nii.gz', tmp_path / 'other.bval'
    data = (head[0][..., None] * weights * 1000).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), series)
    bvals.write_text('0 1000 5 2000\n')
    reference = make_reference(series, Beside(b_values=bvals))
    assert reference.used == (0, 2)
    np.testing.assert_allclose(reference.volume.data, head[0] * 1000, rtol=1e-5)
    assert make_reference(series).volume.data.max() < 900
    bvals.write_text('0 1000')
    with pytest.raises(InputError, match='2 b-values for 4 volumes'):
        make_reference(series, Beside(b_values=bvals))
    bvals.write_text('700 1000 700 2000')
    with pytest.raises(InputError, match='no volume of at most 50'):
        make_reference(series, Beside(b_values=bvals))


@pytest.mark.parametrize(
    'text',
    ['0\t1000 5\r\n2000', '0\n1e3\n5.0\n2E+3\n', '\ufeff0 1000 5 2000', '-1 1000 5 inf'],
)
def test_b_values_are_read_however_they_are_laid_out(text, tmp_path):
    (tmp_path / 'dwi.bval').write_text(text, 'utf-8')
    assert b0_volumes(tmp_path / 'dwi.bval', 4).indices == (0, 2)


@pytest.mark.parametrize('text', ['0,1000,5,2000', 'nan 1000 5 2000', 'b=0 1000 5 2000', '\udcff'])
def test_what_is_no_b_value_is_refused(text, tmp_path):
    """A volume whose b-value is not known may not be left out in silence."""
    (tmp_path / 'dwi.bval').write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(InputError, match=r'dwi\.bval: cannot (be )?read') as refused:
        b0_volumes(tmp_path / 'dwi.bval', 4)
    assert '\n' not in str(refused.value)


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


def moved_by(head, millimetres, degrees):
    """The head after a motion, what finds it against the head as it was, and the motion."""
    from scipy.spatial.transform import Rotation

    from pumba_pipe.preprocessing.head_motion import Aligner, Motion

    axis = np.array([0.6, -0.5, 0.62])
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    data = (head[0] * 1000).astype(np.float32)
    aligner = Aligner(data, np.full(3, 3.0))
    motion = Motion(turn.T, -turn.T @ (millimetres * axis))
    return aligner.undone(data, motion), aligner, Motion(turn, millimetres * axis)


@pytest.mark.parametrize(('millimetres', 'degrees'), [(1, 1), (4, 4), (9, 8)])
def test_head_motion_is_found_and_undone(millimetres, degrees, head):
    moved, aligner, motion = moved_by(head, millimetres, degrees)
    still = (head[0] * 1000).astype(np.float32)
    found, alike = aligner.motion(1.2 * moved)
    assert alike
    points = np.random.default_rng(0).uniform(-60, 60, (3, 100))  # mm
    assert np.abs(found.of(points) - motion.of(points)).mean() < 0.3
    back = aligner.undone(moved, found)
    inner = (slice(12, -12),) * 3  # what was out of view cannot come back
    before, after = (np.abs(one - still)[inner].mean() for one in (moved, back))
    assert after < 0.5 * before  # it was interpolated twice
    assert aligner.distance(aligner.motion(still)[0]) < 0.05


def test_what_shows_something_else_has_not_moved(head):
    moved, aligner, _ = moved_by(head, 4, 4)
    other = np.random.default_rng(0).normal(0, 1, moved.shape).astype(np.float32)
    for volume in (other, moved.max() - moved, np.zeros_like(moved)):
        found, alike = aligner.motion(volume)
        assert aligner.distance(found) == 0 and not alike


def test_head_motion_does_not_blur_a_reference(head, tmp_path):
    """The head lies elsewhere in a third of the volumes."""
    moved, _, _ = moved_by(head, 5, 4)
    series = noisy(head, 9)
    noise = np.random.default_rng(1).normal(0, 5, moved.shape)
    series[..., [1, 4, 7]] = (moved + noise)[..., None]
    path = tmp_path / 'bold.nii.gz'
    nib.save(nib.Nifti1Image(series.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    reference = make_reference(path)
    inner = (slice(12, -12),) * 3
    plain = np.abs(series.mean(-1) - head[0] * 1000)[inner].mean()
    error = np.abs(reference.volume.data - head[0] * 1000)[inner].mean()
    assert error < 0.3 * plain
    assert set(reference.moved) <= {1, 4, 7}
    assert set(reference.moved) | set(reference.dropped) == {1, 4, 7}


def test_frames_of_pet_are_weighted_by_their_duration(head, tmp_path):
    data = head[0][..., None] * np.array([0.0, 2.0, 4.0])
    path, sidecar = tmp_path / 'pet.nii.gz', tmp_path / 'pet.json'
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.eye(4)), path)
    rising = make_reference(path, Beside(frames=()))
    np.testing.assert_allclose(rising.volume.data, head[0] * (2 * 2 + 3 * 4) / 5, atol=1e-3)
    assert rising.dropped == (0,)  # blank
    sidecar.write_text('{"FrameDuration": [60, 60, 180]}')
    weighted = make_reference(path, Beside(frames=[sidecar]))
    np.testing.assert_allclose(weighted.volume.data, head[0] * 3.5, atol=1e-3)
    sidecar.write_text('{"FrameDuration": [60, "x", 180]}')
    with pytest.raises(InputError, match='FrameDuration must have 3 numbers'):
        make_reference(path, Beside(frames=[sidecar]))


def test_an_asl_series_is_stood_for_by_its_m0(head, tmp_path):
    """M0 volumes, an M0 image of another grid where the head lay elsewhere, control volumes."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    data = head[0][..., None] * np.array([3.0, 1.0, 0.9, 1.0, 0.9]) * 1000
    path, context = tmp_path / 'asl.nii.gz', tmp_path / 'context.tsv'
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    context.write_text('volume_type\nm0scan\ncontrol\nlabel\ncontrol\nlabel\n')
    found = make_reference(path, Beside(context=context))
    assert found.used == (0,)
    inner = (slice(12, -12),) * 3
    size = float(data[..., 0].mean())
    assert np.abs(found.volume.data - data[..., 0])[inner].mean() < 0.05 * size
    context.write_text('volume_type\nn/a\ncontrol\nlabel\ncontrol\nlabel\n')
    assert make_reference(path, Beside(context=context)).used == (1, 3)

    elsewhere = affine.copy()
    elsewhere[:3, 3] = (6.0, 0, -3.0)  # the scanner says that it moved, and so it did
    m0 = tmp_path / 'm0.nii.gz'
    nib.save(nib.Nifti1Image((head[0] ** 0.7 * 1000).astype(np.float32), elsewhere), m0)
    found = make_reference(path, Beside(context=context, m0=m0))
    assert 'M0 image m0.nii.gz, moved by 6.' in found.volume.notes[0]
    np.testing.assert_array_equal(found.volume.affine, affine)
    expected = head[0] ** 0.7 * 1000
    assert np.abs(found.volume.data - expected)[inner].mean() < 0.06 * expected.mean()
    context.write_text('volume_type\nm0scan\n')
    with pytest.raises(InputError, match='1 rows for 5 volumes'):
        make_reference(path, Beside(context=context))


def test_a_diffusion_series_needs_its_b_values(head, tmp_path):
    path = tmp_path / 'dwi.nii.gz'
    nib.save(nib.Nifti1Image(np.stack([head[0]] * 2, -1), np.eye(4)), path)
    with pytest.raises(InputError, match=r'no \.bval file says which of 2 volumes'):
        make_reference(path, Beside(diffusion=True))
    nib.save(nib.Nifti1Image(head[0], np.eye(4)), path)
    assert make_reference(path, Beside(diffusion=True)).used == (0,)


def saved(data, path):
    nib.save(nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize('count', [2, 3, 6])
@pytest.mark.parametrize('nothing', [0, 500, np.nan])
def test_volumes_that_hold_nothing_do_not_dilute_a_mean(nothing, count, head, tmp_path):
    """Also where there are too few volumes to tell an outlier: M0 values would be halved."""
    series = noisy(head, count).astype(np.float32)
    series[..., 0] = nothing
    reference = make_reference(saved(series, tmp_path / 'bold.nii'))
    assert reference.used == tuple(range(1, count)) and reference.dropped == (0,)
    np.testing.assert_allclose(reference.volume.data, series[..., 1:].mean(-1), rtol=1e-4, atol=15)


def test_volumes_that_cannot_be_aligned_are_left_out(head, tmp_path):
    """Half of them lie half the field of view away: the median tells nothing of either half."""
    series = noisy(head, 6)
    series[..., 3:] = np.roll(series[..., 3:], 32, axis=0)
    reference = make_reference(saved(series.astype(np.int16), tmp_path / 'bold.nii'))
    assert reference.used in ((0, 1, 2), (3, 4, 5))


def test_noise_is_averaged_all_the_same(tmp_path):
    """As difference images are, of which no two look alike."""
    series = np.random.default_rng(0).normal(0, 1, (32, 32, 32, 6)).astype(np.float32)
    assert len(make_reference(saved(series, tmp_path / 'asl.nii')).used) >= 4


def test_values_that_single_precision_cannot_hold_are_refused(head, tmp_path):
    """They would become zero."""
    large = saved(noisy(head, 2) * 1e36, tmp_path / 'large.nii')
    with pytest.raises(InputError, match=r'large\.nii: has values above 3\.4e38'):
        make_reference(large)


def test_an_m0_image_elsewhere_is_named(head, tmp_path):
    series = saved(noisy(head, 3).astype(np.int16), tmp_path / 'asl.nii')
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = 1000
    nib.save(nib.Nifti1Image(head[0], affine), tmp_path / 'm0scan.nii')
    with pytest.raises(InputError, match=r'm0scan\.nii: this M0 image does not lie where'):
        make_reference(series, Beside(m0=tmp_path / 'm0scan.nii'))


def test_a_sidecar_that_cannot_be_read_is_named(head, tmp_path):
    """It may say that there is no M0 image, or which series an M0 image is for."""
    series = saved(noisy(head, 3).astype(np.int16), tmp_path / 'asl.nii')
    (tmp_path / 'asl.json').write_text('[1, 2]')
    with pytest.raises(InputError, match=r'asl\.json'):
        make_reference(series, Beside(sidecars=(tmp_path / 'asl.json',)))


def test_types_that_bids_does_not_know_are_refused(tmp_path):
    """An M0 volume called m0 would else be left out in silence."""
    table = tmp_path / 'aslcontext.tsv'
    table.write_text('\ufeffvolume_type\r\nM0scan\r\nControl\r\nn/a\r\nnoRF\r\n', 'utf-8')
    m0, control = asl_volumes(table, 4)
    assert (m0.indices, control.indices) == ((0,), (1,))
    table.write_text('volume_type\nm0\ncontrol\n')
    with pytest.raises(InputError, match="volume_type 'm0' of volume 0 is none of control, "):
        asl_volumes(table, 2)


@pytest.mark.parametrize('durations', ['["1", "2"]', '[true, true]', '[-1, 2]', '[0, 0]', '[1]'])
def test_durations_have_to_be_numbers(durations, tmp_path):
    (tmp_path / 'pet.json').write_text(f'{{"FrameDuration": {durations}}}')
    with pytest.raises(InputError, match='FrameDuration must have 2 numbers'):
        pet_frames([tmp_path / 'pet.json'], 2)
