"""Headers that are odd: kept as they are, used as far as they can be, or one line."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.common.errors import InputError
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.saving import save_map, save_mask, save_masked
from pumba_pipe.images.volume import load_volume
from pumba_pipe.preprocessing.conform import conform_file

SHAPE = (20, 22, 24)
AFFINE = np.array([[0.0, 0, 4, -3], [2, 0, 0, 5], [0, -3, 0, 7], [0, 0, 0, 1]])
FORMATS = {'x.nii': nib.Nifti1Image, 'p.img': nib.Nifti1Pair, '2.nii': nib.Nifti2Image}
nan, inf = np.nan, np.inf


@pytest.fixture
def write(tmp_path):
    """A function that writes an image, and then fields of its header as they are given."""

    def make(name='x.nii', affine=AFFINE, sform=1, qform=1, unit=None, data=None, **fields):
        if data is None:
            data = np.random.default_rng(0).normal(500, 100, SHAPE).astype(np.int16)
        image = FORMATS[name](data, affine)
        image.set_sform(affine, sform)
        image.set_qform(affine, qform)
        if unit:
            image.header.set_xyzt_units(unit, 'sec')
        path = tmp_path / name
        nib.save(image, path)
        file = path.with_suffix('.hdr') if path.suffix == '.img' else path
        content = bytearray(file.read_bytes())
        layout = image.header.template_dtype
        header = np.ndarray((), layout, buffer=content)
        for key, value in fields.items():
            header[key] = value
        file.write_bytes(bytes(content))
        return path

    return make


def round_trip(path, folder):
    """Read an image, write masks of it in all formats, read those; the volume and a mask."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        volume = load_volume(path)
        mask = volume.data > volume.data.mean()
        for name in ('m.mgz', 'm.img', 'm.nii.gz'):
            save_mask(volume, mask, folder / name)
            save_masked(volume, mask, folder / f'brain-{name}')
            save_map(volume, volume.data, folder / f'map-{name}')
            np.testing.assert_array_equal(load_mask_of(volume, folder / name), mask)
        conform_file(path, folder / 'plain.nii.gz')
        plain = load_volume(folder / 'plain.nii.gz')
    np.testing.assert_allclose(plain.affine, volume.affine, rtol=1e-4, atol=1e-4)
    return volume, nib.load(folder / 'm.nii.gz')


def test_a_plain_header_is_kept_and_says_nothing(write, tmp_path, capfd):
    volume, mask = round_trip(write(unit='mm'), tmp_path)
    assert volume.notes == ()
    np.testing.assert_allclose(mask.affine, AFFINE)
    assert mask.header.get_xyzt_units() == ('mm', 'sec')
    assert capfd.readouterr().err == ''


# Quaternions.


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('excess', [1e-6, 1e-5, 1e-3])
def test_a_quaternion_a_little_too_long(name, excess, write, tmp_path, capfd):
    """27: a traceback after all the work."""
    path = write(name, quatern_b=0.8, quatern_c=0.6 + excess, quatern_d=0)
    volume, mask = round_trip(path, tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert (int(mask.header['sform_code']), int(mask.header['qform_code'])) == (1, 1)
    assert abs(np.linalg.norm([mask.header[f'quatern_{x}'] for x in 'bcd']) - 1) < 1e-6
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('name', FORMATS)
def test_a_quaternion_a_little_too_long_without_a_sform(name, write, tmp_path):
    long = write(name, sform=0, quatern_b=0.8, quatern_c=0.60001, quatern_d=0)
    volume, _ = round_trip(long, tmp_path)
    assert np.allclose(volume.voxel_size, [2, 3, 4], rtol=1e-5)
    right = load_volume(write(name, sform=0, quatern_b=0.8, quatern_c=0.6, quatern_d=0))
    np.testing.assert_allclose(volume.affine, right.affine, atol=1e-3)


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('value', [2, nan, inf, -inf])
def test_a_useless_qform_beside_a_sound_sform(name, value, write, tmp_path):
    volume, mask = round_trip(write(name, quatern_b=value), tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert int(mask.header['qform_code']) == 0
    assert volume.notes == ('the qform of the header cannot be used; its sform was taken',)
    with pytest.raises(InputError, match=r'header|orientation'):
        load_volume(write(name, sform=0, quatern_b=value))


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('pixdim', [nan, inf])
def test_useless_voxel_sizes_beside_a_sound_sform(name, pixdim, write, tmp_path):
    path = write(name, pixdim=[1, pixdim, pixdim, pixdim, 1, 1, 1, 1])
    np.testing.assert_allclose(round_trip(path, tmp_path)[0].affine, AFFINE)


# sform.


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize(
    'rows',
    [dict.fromkeys(('srow_x', 'srow_y', 'srow_z'), 0), {'srow_x': nan}, {'srow_z': 0},
     {'srow_x': [1, 1, 1, 0], 'srow_y': [1, 1, 1, 0]}],
    ids=['zeros', 'nan', 'a row of zeros', 'singular'],
)  # fmt: skip
def test_a_useless_sform_beside_a_sound_qform(name, rows, write, tmp_path):
    volume, mask = round_trip(write(name, **rows), tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-5)
    assert int(mask.header['sform_code']) == 0
    assert volume.notes == ('the sform of the header cannot be used; its qform was taken',)
    with pytest.raises(InputError, match='repair the header'):
        load_volume(write(name, qform=0, **rows))


def test_the_same_from_memory(tmp_path):
    image = nib.Nifti1Image(np.arange(27 * 64, dtype=np.int16).reshape(12, 12, 12), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    image.header['srow_x'] = image.header['srow_y'] = image.header['srow_z'] = 0
    read = pumba_pipe.images.volume.volume_from_image(image)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize('codes', [(0, 0), (5, 0), (99, 0), (-3, 1), (0, 77), (99, 99)])
def test_codes_that_the_format_does_not_know(codes, write, tmp_path, capfd):
    round_trip(write(sform_code=codes[0], qform_code=codes[1]), tmp_path)
    assert capfd.readouterr().err == ''


# Units.


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize(('unit', 'factor'), [('meter', 1e-3), ('micron', 1e3), ('mm', 1)])
@pytest.mark.parametrize('codes', [(1, 1), (1, 0), (0, 1)])
def test_units(name, unit, factor, codes, write, tmp_path):
    """28: lengths were taken for mm, whatever the header said."""
    affine = np.diag([factor] * 3 + [1]) @ AFFINE
    path = write(name, affine, *codes, unit=unit)
    volume, mask = round_trip(path, tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5, atol=1e-5)
    assert mask.header.get_xyzt_units() == (unit, 'sec')
    np.testing.assert_allclose(mask.affine, affine, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mask.header.get_zooms(), np.array([2, 3, 4]) * factor, rtol=1e-5)
    plain = nib.load(tmp_path / 'plain.nii.gz')
    assert plain.header.get_xyzt_units()[0] == 'mm'
    np.testing.assert_allclose(plain.header.get_zooms(), [2, 3, 4], rtol=1e-5)
    np.testing.assert_allclose(nib.load(tmp_path / 'm.mgz').affine, AFFINE, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('code', [0, 4, 5, 7, 8, 12, 255])
def test_units_that_are_unknown_are_mm(code, write, tmp_path):
    volume, mask = round_trip(write(xyzt_units=code), tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert int(mask.header['xyzt_units']) % 8 == 2


@pytest.mark.parametrize('unit', ['meter', 'micron'])
def test_a_unit_that_cannot_be_is_not_believed(unit, write, tmp_path):
    """Millimetres with the code of a metre: a head of 96 m."""
    volume, mask = round_trip(write(unit=unit), tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert 'mm were taken' in volume.notes[0]
    np.testing.assert_allclose(mask.affine, AFFINE)


def test_borders_distances_and_volumes_are_in_mm(head, tmp_path):
    image, _ = head
    results = {}
    for unit, factor in (('mm', 3.0), ('meter', 0.003), ('micron', 3000.0)):
        source = nib.Nifti1Image(image, np.diag([factor, factor, factor, 1]))
        source.header.set_xyzt_units(unit)
        nib.save(source, tmp_path / f'{unit}.nii.gz')
        results[unit] = pumba_pipe.extract(tmp_path / f'{unit}.nii.gz', border_mm=4, device='cpu')
    for result in results.values():
        np.testing.assert_array_equal(result.mask, results['mm'].mask)
        assert result.quality.volume_ml == pytest.approx(results['mm'].quality.volume_ml, rel=1e-4)
        np.testing.assert_allclose(result.distance(), results['mm'].distance(), atol=0.01)


# NIfTI-2.


@pytest.mark.parametrize('output', ['m.nii.gz', 'm.nii', 'm.img'])
def test_nifti2_stays_nifti2(output, write, tmp_path, capfd):
    """30: NIfTI-1 came out, with nibabel's complaint about the header on the screen."""
    volume = load_volume(write('2.nii'))
    for save, data in ((save_mask, volume.data > 500), (save_masked, volume.data > 500),
                       (save_map, volume.data)):  # fmt: skip
        save(volume, data, tmp_path / output)
        written = nib.load(tmp_path / output)
        assert isinstance(written.header, nib.nifti2.Nifti2Header)
        np.testing.assert_allclose(written.affine, AFFINE)
    assert capfd.readouterr().err == ''


def test_nifti2_from_memory_stays_nifti2(head):
    image = nib.Nifti2Image(head[0], np.diag([3.0, 3, 3, 1]))
    result = pumba_pipe.extract(image, device='cpu')
    for made in (result.mask_image(), result.brain_image(), result.distance_image()):
        assert type(made) is nib.Nifti2Image


# Where the data lie, and how they are scaled.


@pytest.mark.parametrize('name', ['x.nii', 'p.img'])
@pytest.mark.parametrize('offset', [100, -16, 353, 1e9, 3e38, nan, inf, -inf, -1e30])
def test_data_that_lie_nowhere(name, offset, write, capfd):
    with pytest.raises(InputError, match=r'header|incomplete') as caught:
        load_volume(write(name, vox_offset=offset))
    assert '\n' not in str(caught.value)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('name', ['x.nii', '2.nii'])
def test_data_that_begin_in_the_header(name, write, tmp_path):
    """The header was read as voxels, and the image was shifted by its length."""
    path = write(name, vox_offset=0)
    with pytest.raises(InputError, match='its data begin at byte 0'):
        load_volume(path)
    packed = tmp_path / f'{name}.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match='its data begin at byte 0'):
        load_volume(packed)
    np.testing.assert_array_equal(
        load_volume(write('p.img', vox_offset=0)).data, load_volume(write()).data
    )


@pytest.mark.parametrize('slope', [0, nan, inf, -inf])
@pytest.mark.parametrize('inter', [0, 7, nan, inf])
@pytest.mark.parametrize('name', FORMATS)
def test_a_scale_that_is_none(name, slope, inter, write, tmp_path):
    """By the format, and for nibabel, a slope of zero means that values are not scaled."""
    volume, _ = round_trip(write(name, scl_slope=slope, scl_inter=inter), tmp_path)
    np.testing.assert_array_equal(volume.data, load_volume(write(name)).data)


@pytest.mark.parametrize('inter', [nan, inf])
def test_a_scale_with_half_an_offset(inter, write):
    with pytest.raises(InputError, match='intercept'):
        load_volume(write(scl_slope=1, scl_inter=inter))


@pytest.mark.parametrize(
    'fields',
    [{'datatype': 0}, {'datatype': 999}, {'datatype': 32}, {'datatype': 128}, {'magic': b'xx'},
     {'dim': [0, 20, 22, 24, 1, 1, 1, 1]}, {'dim': [9, 20, 22, 24, 1, 1, 1, 1]},
     {'dim': [-1, 20, 22, 24, 1, 1, 1, 1]}, {'dim': [3, -20, 22, 24, 1, 1, 1, 1]},
     {'dim': [3, 0, 22, 24, 1, 1, 1, 1]}, {'dim': [4, 20, 22, 24, 0, 1, 1, 1]}],
    ids=str,
)  # fmt: skip
def test_headers_of_no_image(fields, write, capfd):
    with pytest.raises(InputError) as caught:
        load_volume(write(**fields))
    assert '\n' not in str(caught.value)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize(
    'fields',
    [{'bitpix': 7}, {'sizeof_hdr': 349}, {'intent_code': 9999}, {'slice_code': 99},
     {'dim_info': 255}, {'cal_max': nan}, {'descrip': b'\xff' * 80},
     {'dim': [7, 20, 22, 24, 1, 1, 1, 1]}, {'pixdim': [nan, 2, 3, 4, 1, 1, 1, 1]},
     {'pixdim': [1, 2, 3, 4, nan, 1, 1, 1]}],
    ids=str,
)  # fmt: skip
def test_fields_that_do_not_matter(fields, write, tmp_path, capfd):
    volume, _ = round_trip(write(**fields), tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('intent', ['label', 'vector', 'z score'])
def test_a_mask_is_not_what_the_image_is(intent, write, tmp_path):
    path = write()
    image = nib.load(path)
    image.header.set_intent(intent, name='of the scan')
    nib.save(image, tmp_path / 'i.nii')
    volume = load_volume(tmp_path / 'i.nii')
    mask = volume.data > 500
    save_mask(volume, mask, tmp_path / 'm.nii.gz')
    save_map(volume, volume.data, tmp_path / 'p.nii.gz')
    save_masked(volume, mask, tmp_path / 'b.nii.gz')
    intents = [nib.load(tmp_path / f'{name}.nii.gz').header.get_intent()[::2] for name in 'mpb']
    assert intents == [('none', ''), ('none', ''), (intent, 'of the scan')]


# Voxel sizes that are not there.


@pytest.mark.parametrize('name', FORMATS)
def test_voxel_sizes_that_are_not_there_are_said(name, write):
    """nibabel takes 1 mm and says nothing: a volume in mL is then a guess."""
    path = write(name, sform=0, qform=0, pixdim=[1, 0, 2, 0, 1, 1, 1, 1])
    notes = load_volume(path).notes
    assert notes == ('the header gives no voxel size along x, z: 1 mm was taken',)


def test_voxel_sizes_that_a_sound_sform_gives_are_not_missed(write):
    path = write(sform=1, qform=0, pixdim=[1, 0, 0, 0, 1, 1, 1, 1])
    assert load_volume(path).notes == ()


def test_an_mgh_image_without_a_geometry(tmp_path):
    path = tmp_path / 'x.mgh'
    nib.save(nib.MGHImage(np.random.default_rng(0).random(SHAPE, np.float32), AFFINE), path)
    assert load_volume(path).notes == ()
    content = bytearray(path.read_bytes())
    content[28:30] = b'\0\0'
    path.write_bytes(content)
    assert load_volume(path).notes == (
        'the header gives no voxel size along x, y, z: 1 mm was taken',
    )


@pytest.mark.parametrize('name', ['x.nii', 'x.mgz'])
@pytest.mark.parametrize(('times', 'width'), [(1e-3, 0.096), (1e3, 96000)])
def test_sizes_of_no_head_are_said(name, times, width, tmp_path):
    """As where a converter wrote metres, and no unit: a volume in mL is off by many digits."""
    affine = np.vstack([AFFINE[:3] * times, AFFINE[3]])
    data = np.random.default_rng(0).random(SHAPE, np.float32)
    nib.save((nib.MGHImage if 'mgz' in name else nib.Nifti1Image)(data, affine), tmp_path / name)
    (note,) = load_volume(tmp_path / name).notes
    assert note.startswith(f'by its header the image is {width:g} mm wide: check its voxel sizes')
