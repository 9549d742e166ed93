"""`pumba_pipe.extract` takes what people hold, and gives it back on the same grid."""

from __future__ import annotations

import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import pumba_pipe
from pumba_pipe import Volume, extract, load_weights, strip_file
from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.images.conversion import as_volume

SHAPE = (40, 40, 40)
# Turned about two axes, and with another voxel size along each: a grid that LPS and RAS, or rows
# and columns, cannot be mistaken on.
TURN = nib.eulerangles.euler2mat(z=0.3, x=-0.2)
OBLIQUE = nib.affines.from_matvec(TURN @ np.diag([-4.0, 4.0, 5.0]), [10.0, -20.0, 30.0])


@pytest.fixture(scope='module')
def model():
    return load_weights()


@pytest.fixture(scope='module')
def values():
    """A head in whole numbers of 0..250, which every type of number holds exactly."""
    sample = pumba_pipe.synthesize(pumba_pipe.load_recipe(), 40, SHAPE)
    return (sample.image.numpy() * 250).astype(np.uint8)


@pytest.fixture(scope='module')
def scan(values):
    """That head as an image: oblique, with codes, units and a description."""
    image = nib.Nifti1Image(values.astype(np.int16), None)
    image.set_sform(OBLIQUE, 4)
    image.set_qform(OBLIQUE, 1)
    image.header.set_xyzt_units('mm', 'sec')
    image.header['descrip'] = b'a head'
    return image


@pytest.fixture(scope='module')
def scan_file(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp('api') / 'head.nii.gz'
    nib.save(scan, path)
    return path


@pytest.fixture(scope='module')
def affine(scan_file):
    return nib.load(scan_file).affine


@pytest.fixture(scope='module')
def from_file(scan_file, model):
    """The extraction that every other is compared with."""
    return extract(scan_file, model)


# ---- what is taken ----


ARRAYS = {
    'uint8': lambda data: data,
    'int16': lambda data: data.astype(np.int16),
    'float64': lambda data: data.astype(np.float64),
    'big-endian': lambda data: data.astype('>i2'),
}
SAME_VALUES = {
    'bool': (lambda data: data > 100, lambda data: (data > 100).astype(np.uint8)),
    'uint16': (lambda data: data.astype(np.uint16), None),
    'int32': (lambda data: data.astype('<i4'), None),
    'int64': (lambda data: data.astype(np.int64), None),
    'uint64': (lambda data: data.astype('>u8'), None),
    'float16': (lambda data: data.astype(np.float16), None),
    'float32': (lambda data: data.astype('>f4'), None),
    'longdouble': (lambda data: data.astype(np.longdouble), None),
    'complex64': (lambda data: (data * 1j).astype(np.complex64), None),
    'complex128': (lambda data: data * -1j, None),
    'Fortran order': (np.asfortranarray, None),
    'strided': (lambda data: np.repeat(data, 2, axis=1)[:, ::2], None),
    'one volume': (lambda data: data[..., None], None),
    'torch': (lambda data: torch.from_numpy(data.astype(np.float32)), None),
    'masked': (lambda data: np.ma.array(data, mask=data > 240), lambda data: data * (data <= 240)),
}


def the_same(found, expected):
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(found.probability, expected.probability)


@pytest.mark.parametrize('kind', ARRAYS)
def test_an_array_gives_the_mask_of_the_file(kind, values, affine, from_file, model):
    the_same(extract(ARRAYS[kind](values), model, affine=affine), from_file)


@pytest.mark.parametrize('kind', SAME_VALUES)
def test_arrays_of_every_type_are_read(kind, values, affine):
    make, expected = SAME_VALUES[kind]
    volume = as_volume(make(values), affine)
    np.testing.assert_array_equal(volume.data, values if expected is None else expected(values))
    assert volume.data.dtype == np.dtype(np.float32)  # in this machine's byte order
    np.testing.assert_array_equal(volume.affine, affine)


def test_what_was_done_to_read_an_array_is_noted(values, affine):
    holes = values.astype(np.float64)
    holes[0, 0, :3] = np.nan, np.inf, -np.inf
    notes = {
        'complex': as_volume(values * 1j, affine).notes,
        'masked': as_volume(np.ma.array(values, mask=values > 9), affine).notes,
        'finite': as_volume(holes, affine).notes,
        'mean': as_volume(np.stack([values] * 3, -1), affine).notes,
    }
    for word, found in notes.items():
        assert len(found) == 1
        assert word in found[0]
    assert as_volume(values, affine).notes == ()


def test_the_array_is_not_changed_and_may_be_read_only(values, affine, from_file, model, recwarn):
    data = values.astype(np.float32)
    kept = data.copy()
    data.flags.writeable = False
    the_same(extract(data, model, affine=affine), from_file)
    np.testing.assert_array_equal(data, kept)
    assert [str(one.message) for one in recwarn if 'writ' in str(one.message)] == []


@pytest.mark.parametrize('where', ['in its file', 'in memory', 'as made'])
def test_a_nibabel_image_gives_the_mask_of_the_file(where, scan, scan_file, from_file, model):
    image = scan if where == 'as made' else nib.load(scan_file)
    if where == 'in memory':
        image = nib.Nifti1Image(image.get_fdata(), image.affine, image.header)
    the_same(extract(image, model), from_file)


def test_other_formats_of_nibabel(values, affine):
    for image in (
        nib.MGHImage(values, affine),
        nib.Nifti2Image(values, affine),
        nib.spatialimages.SpatialImage(values, affine),
    ):
        np.testing.assert_array_equal(as_volume(image).data, values)
        np.testing.assert_allclose(as_volume(image).affine, affine, atol=1e-4)


def test_of_a_series_the_mean_is_taken_as_from_a_file(values, affine, tmp_path):
    series = np.stack([values, values // 2, values // 4], -1).astype(np.int16)
    path = tmp_path / 'series.nii.gz'
    nib.save(nib.Nifti1Image(series, affine), path)
    expected = as_volume(path)
    for found in (as_volume(series, affine), as_volume(nib.load(path))):
        np.testing.assert_array_equal(found.data, expected.data)
        assert found.notes == expected.notes == ('4D: mean of 3 of 3 volumes',)
    (tmp_path / 'series.bval').write_text('0 1000 1000\n')
    np.testing.assert_array_equal(as_volume(nib.load(path)).data, values)
    np.testing.assert_array_equal(as_volume(path).data, values)
    np.testing.assert_array_equal(as_volume(series, affine).data, expected.data)


def test_of_a_long_series_200_volumes_are_taken(affine):
    series = np.random.default_rng(1).random((8, 8, 8, 401), np.float32)
    volume = as_volume(series, affine)
    assert volume.notes == ('4D: mean of 200 of 401 volumes',)
    chosen = np.unique(np.linspace(0, 400, 200).astype(int))
    np.testing.assert_allclose(volume.data, series[..., chosen].mean(-1), atol=1e-5)


def test_an_affine_changed_in_place_counts(values):
    image = nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.affine[:3, 3] = 1, 2, 3
    volume = as_volume(image)
    result = pumba_pipe.BrainExtraction(volume, values > 9, values, None, {})
    np.testing.assert_array_equal(result.mask_image().affine[:3, 3], [1, 2, 3])


def test_volumes_made_by_hand_are_made_fit(values, affine):
    data = values.astype(np.float64)
    made = as_volume(Volume(data, affine))
    assert made.data.dtype == np.float32
    np.testing.assert_array_equal(made.data, values)
    volume = Volume(values.astype(np.float32), affine)
    assert as_volume(volume) is volume
    data[0, 0, 0] = np.nan
    assert as_volume(Volume(data, affine)).data[0, 0, 0] == 0


# ---- what is refused ----

ARRAY = np.arange(8000, dtype=np.int16).reshape(20, 20, 20)
EYE = np.eye(4)
NEARLY_FLAT = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


class NoArray:
    """Refuses to become an array, as a tensor on a GPU does."""

    def __array__(self, *args, **kwargs):
        raise TypeError('the data are\nelsewhere')


class Closed:
    """Values in a file that was closed, as of h5py."""

    shape, ndim, dtype = (8, 8, 8), 3, np.dtype('f4')

    def __getitem__(self, index):
        raise RuntimeError('not a file\nany more')

    __array__ = __getitem__


def table():
    pandas = pytest.importorskip('pandas')
    return pandas.DataFrame({'a': [1, 2], 'b': [3, 4]})


BAD = {
    'list': (lambda: ARRAY.tolist(), EYE, 'a list'),
    'none': (lambda: None, None, 'NoneType'),
    'number': (lambda: 3, None, 'an? int'),
    'bytes': (lambda: b'head.nii.gz', None, 'bytes'),
    'class': (lambda: nib.Nifti1Image, None, 'a type'),
    'table': (table, EYE, '2 dimensions'),
    'surface': (nib.GiftiImage, None, 'a GiftiImage'),
    'itk': (lambda: sitk.GetImageFromArray(ARRAY), None, r'pumba_pipe\.sitk\.extract'),
    'no array': (NoArray, EYE, 'NoArray .* the data are$'),
    'scalar': (lambda: np.float32(3), EYE, '0 dimensions'),
    '2D': (lambda: ARRAY[0], EYE, '2 dimensions'),
    '5D': (lambda: np.zeros((8, 8, 8, 2, 3)), EYE, '5 dimensions'),
    'empty': (lambda: ARRAY[:0], EYE, 'too thin'),
    'two slices': (lambda: ARRAY[:2], EYE, 'too thin'),
    'objects': (lambda: ARRAY.astype(object), EYE, 'type object'),
    'text': (lambda: ARRAY.astype(str), EYE, 'type <U'),
    'dates': (lambda: ARRAY.astype('datetime64[s]'), EYE, 'type datetime64'),
    'colour': (lambda: np.zeros((8, 8, 8), [('R', 'u1'), ('G', 'u1')]), EYE, 'colour'),
    'constant': (lambda: np.full((8, 8, 8), 7), EYE, r'same value \(7\)'),
    'nan': (lambda: np.full((8, 8, 8), np.nan), EYE, 'no voxel has a value that is a number'),
    'without affine': (lambda: ARRAY, None, 'needs affine='),
    'singular': (lambda: ARRAY, NEARLY_FLAT, 'singular'),
    'zero': (lambda: ARRAY, np.zeros((4, 4)), 'not usable'),
    'nan affine': (lambda: ARRAY, np.full((4, 4), np.nan), 'not usable'),
    'voxel sizes': (lambda: ARRAY, (2.0, 2.0, 2.0), r'shape \(3,\).*numpy\.diag'),
    '3x4': (lambda: ARRAY, EYE[:3], r'shape \(3, 4\)'),
    'last row': (lambda: ARRAY, EYE + np.eye(4)[[3]].T @ np.ones((1, 4)), 'last row'),
    'no matrix': (lambda: ARRAY, 'RAS', 'a str'),
    'ragged': (lambda: ARRAY, [[1, 2], [3]], 'a list'),
    'complex affine': (lambda: ARRAY, EYE + 0.5j, 'no 4x4 matrix'),
    'no name': (lambda: '', None, 'image= is empty'),
    'values of others': (lambda: nib.Nifti1Image(Closed(), EYE), None, 'read .not a file'),
    'two affines': (lambda: nib.Nifti1Image(ARRAY, EYE), EYE, 'has its own'),
    'affine of a file': (lambda: 'head.nii.gz', EYE, 'has its own'),
    'image 2D': (lambda: nib.Nifti1Image(ARRAY[0], EYE), None, '2 dimensions'),
    'image constant': (lambda: nib.Nifti1Image(ARRAY * 0, EYE), None, 'same value'),
    'image colour': (
        lambda: nib.Nifti1Image(np.zeros((8, 8, 8), [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]), EYE),
        None,
        'colour',
    ),
    'volume 2D': (lambda: Volume(ARRAY[0], EYE), None, 'has 2'),
    'volume of objects': (lambda: Volume(ARRAY.astype(object), EYE), None, 'type object'),
    'volume with a note': (lambda: Volume(ARRAY, EYE, notes='a'), None, 'notes= must be a tuple'),
    'volume of no image': (lambda: Volume(ARRAY, EYE, source='a'), None, 'source= must be'),
    'volume without affine': (lambda: Volume(ARRAY, None), None, r'shape \(\)'),
}


@pytest.mark.parametrize('kind', BAD)
def test_anything_else_is_one_line(kind, model):
    make, affine, message = BAD[kind]
    with pytest.raises(InputError, match=message) as caught:
        extract(make(), model, affine=affine)
    assert '\n' not in str(caught.value)


def test_an_affine_in_the_place_of_the_model_is_said_so():
    with pytest.raises(InputError, match='by name, affine='):
        extract(ARRAY, EYE)


def test_an_image_whose_file_is_cut_off(scan, tmp_path):
    path = tmp_path / 'head.nii'
    nib.save(scan, path)
    image = nib.load(path)
    with path.open('r+b') as file:
        file.truncate(5000)
    with pytest.raises(InputError, match='damaged or incomplete'):
        extract(image)


# ---- what is given back ----


def test_images_are_those_that_the_files_hold(scan_file, scan, from_file, model, tmp_path):
    names = ('brain', 'mask', 'probability', 'distance')
    paths = [tmp_path / f'{name}.nii.gz' for name in names]
    strip_file(scan_file, *paths, model=model)
    in_memory = replace(from_file, volume=as_volume(scan))
    for result in (from_file, in_memory):
        for name, path in zip(names, paths, strict=True):
            image, file = getattr(result, f'{name}_image')(), nib.load(path)
            np.testing.assert_array_equal(image.dataobj, np.asarray(file.dataobj))
            np.testing.assert_array_equal(image.affine, result.volume.affine)
            assert image.get_data_dtype() == file.get_data_dtype()
            for key in ('sform_code', 'qform_code', 'xyzt_units', 'descrip', 'pixdim'):
                np.testing.assert_array_equal(image.header[key], file.header[key], key)


def test_images_can_be_saved(scan, from_file, tmp_path):
    result = replace(from_file, volume=as_volume(scan))
    nib.save(result.brain_image(), tmp_path / 'brain.nii.gz')
    saved = nib.load(tmp_path / 'brain.nii.gz')
    np.testing.assert_array_equal(saved.dataobj, result.brain())
    np.testing.assert_allclose(saved.affine, scan.affine, atol=1e-5)


def test_images_do_not_share_the_mask(from_file):
    before = from_file.mask.copy()
    from_file.mask_image().dataobj[:] = 1
    np.testing.assert_array_equal(from_file.mask, before)


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        (bool, 'uint8'), ('u1', 'uint8'), ('>i2', 'int16'), ('i8', 'int64'), ('f2', 'float32'),
        ('>f4', 'float32'), ('f8', 'float64'), ('longdouble', 'float64'), ('c8', 'float32'),
        ('c16', 'float64'),
    ],
)  # fmt: skip
def test_the_brain_keeps_the_type_of_an_array(given, kept, values, affine):
    data = values.astype(given)
    inside = values > 50
    result = pumba_pipe.BrainExtraction(as_volume(data, affine), inside, values, None, {})
    brain = result.brain()
    assert brain.dtype.name == result.brain_image().get_data_dtype().name == kept
    expected = np.abs(data) if np.iscomplexobj(data) else data
    np.testing.assert_array_equal(brain, np.where(inside, expected, 0))
    np.testing.assert_array_equal(result.brain_image().affine, affine)


def test_the_brain_has_no_values_that_are_not_finite(values, affine):
    data = values.astype(np.float32)
    data[20, 20, 20] = np.nan
    result = pumba_pipe.BrainExtraction(as_volume(data, affine), values >= 0, values, None, {})
    assert result.brain()[20, 20, 20] == 0


def test_all_volumes_of_a_series_are_masked(values, affine, model, tmp_path):
    series = np.stack([values, values // 2], -1).astype(np.int16)
    path = tmp_path / 'series.nii.gz'
    nib.save(nib.Nifti1Image(series, affine), path)
    result = strip_file(path, tmp_path / 'brain.nii.gz', model=model)
    file = nib.load(tmp_path / 'brain.nii.gz')
    for one in (result, replace(result, volume=as_volume(series, affine))):
        assert one.mask.shape == one.mask_image().shape == SHAPE
        np.testing.assert_array_equal(one.brain(), series * one.mask[..., None])
        np.testing.assert_array_equal(one.brain_image().dataobj, file.dataobj)
        assert one.brain_image().get_data_dtype() == file.get_data_dtype() == np.int16


def test_scaled_data_are_scaled_in_memory(values, affine, tmp_path):
    image = nib.Nifti1Image(values.astype(np.int16), affine)
    image.header.set_slope_inter(0.5, 0)
    nib.save(image, tmp_path / 'x.nii.gz')
    volume = as_volume(tmp_path / 'x.nii.gz')
    result = pumba_pipe.BrainExtraction(volume, values > 50, values, None, {})
    np.testing.assert_array_equal(result.brain(), np.where(values > 50, volume.data, 0))
    nib.save(result.brain_image(), tmp_path / 'brain.nii.gz')
    np.testing.assert_array_equal(nib.load(tmp_path / 'brain.nii.gz').dataobj, result.brain())


def test_a_scale_in_the_header_of_an_image_in_memory_is_no_scale_of_the_mask(values, affine):
    image = nib.Nifti1Image(values, affine)
    image.header.set_slope_inter(2, 1)
    result = pumba_pipe.BrainExtraction(as_volume(image), values > 50, values, None, {})
    saved = nib.Nifti1Image.from_bytes(result.mask_image().to_bytes())
    np.testing.assert_array_equal(saved.dataobj, values > 50)


def test_a_file_that_went_away_is_said_so(scan, from_file, tmp_path):
    nib.save(scan, tmp_path / 'head.nii.gz')
    result = replace(from_file, volume=as_volume(tmp_path / 'head.nii.gz'))
    (tmp_path / 'head.nii.gz').unlink()
    assert result.mask_image().shape == SHAPE
    with pytest.raises(PumbaError, match='needed again'):
        result.brain()
    with pytest.raises(PumbaError, match='not there any more'):
        extract(result.volume.source)


def test_a_file_that_has_another_image_now_is_said_so(scan, from_file, tmp_path):
    path = tmp_path / 'head.nii.gz'
    nib.save(scan, path)
    result = replace(from_file, volume=as_volume(path))
    assert result.brain().any()
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[::-1], scan.affine), path)
    os.utime(path, (1, 1))
    with pytest.raises(PumbaError, match='has changed'):
        result.brain()


def test_a_source_of_another_shape_is_said_so(scan, from_file):
    other = replace(from_file.volume, source=scan.slicer[2:], _stamps={})
    with pytest.raises(PumbaError, match='leave source= out'):
        replace(from_file, volume=other).brain()


def test_large_whole_numbers_keep_their_differences(values, affine):
    for kind, offset in (('u8', 2**63), ('i8', -(2**62))):
        volume = as_volume(values.astype(kind) + np.array(offset, kind), affine)
        np.testing.assert_array_equal(volume.data, values - values.min())


# ---- SimpleITK ----


def itk_image(data, affine):
    """What SimpleITK makes of an image: its own way, by hand."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    return image


@pytest.fixture(scope='module')
def read_by_itk(scan_file, model):
    return pumba_pipe.sitk.extract(sitk.ReadImage(str(scan_file)), model)


@pytest.mark.parametrize('how', ['read', 'made'])
def test_a_simpleitk_image_gives_the_mask_of_the_file(how, read_by_itk, values, model, from_file):
    if how == 'read':
        result, image = read_by_itk, read_by_itk.image
    else:
        image = itk_image(values.astype(np.int16), OBLIQUE)
        result = pumba_pipe.sitk.extract(image, model)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result.mask).T, from_file.mask)
    for made in (result.mask, result.probability, result.distance(), result.brain()):
        assert made.GetOrigin() == image.GetOrigin()
        assert made.GetSpacing() == image.GetSpacing()
        assert made.GetDirection() == image.GetDirection()
        assert made.GetSize() == image.GetSize()
    assert result.mask.GetPixelID() == sitk.sitkUInt8
    assert result.probability.GetPixelID() == sitk.sitkFloat32
    assert result.brain().GetPixelID() == image.GetPixelID()
    assert result.quality.volume_ml == pytest.approx(from_file.quality.volume_ml)
    brain = sitk.GetArrayFromImage(result.brain()).T
    np.testing.assert_array_equal(brain, values * from_file.mask)
    distance = sitk.GetArrayFromImage(result.distance()).T
    np.testing.assert_allclose(distance, from_file.distance(), atol=1e-3)


def test_left_stays_left_for_simpleitk(read_by_itk, from_file):
    """A point of the mask lies where nibabel says, but for the signs of LPS and RAS."""
    mask = read_by_itk.mask
    voxels = np.argwhere(from_file.mask)[::97]
    ras = nib.affines.apply_affine(from_file.mask_image().affine, voxels)
    for voxel, point in zip(voxels.tolist(), ras, strict=True):
        place = mask.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(place, point * [-1, -1, 1], atol=1e-3)
        assert mask[tuple(voxel)] == 1


def test_a_series_of_simpleitk(values, model):
    first, second = (itk_image(data.astype(np.float32), OBLIQUE) for data in (values, values / 2))
    series = sitk.JoinSeries([first, second])
    result = pumba_pipe.sitk.extract(series, model)
    assert result.mask.GetSize() == first.GetSize()
    assert result.mask.GetOrigin() == pytest.approx(first.GetOrigin())
    assert result.mask.GetDirection() == pytest.approx(first.GetDirection())
    brain = sitk.GetArrayFromImage(result.brain())
    assert result.brain().GetSize() == series.GetSize()
    np.testing.assert_array_equal(
        brain, sitk.GetArrayFromImage(series) * sitk.GetArrayFromImage(result.mask)
    )


def labels():
    return sitk.LabelImageToLabelMap(sitk.GetImageFromArray((ARRAY > 9).astype(np.uint8)))


BAD_ITK = {
    'array': (lambda: ARRAY, 'takes a SimpleITK image'),
    'nothing': (lambda: None, 'takes a SimpleITK image'),
    '2D': (lambda: sitk.GetImageFromArray(ARRAY[0]), '2 dimensions'),
    'colour': (
        lambda: sitk.GetImageFromArray(np.zeros((8, 8, 8, 3), np.uint8), isVector=True),
        '3 components',
    ),
    'label map': (labels, 'numbers is needed'),
    'thin': (lambda: sitk.GetImageFromArray(ARRAY[:2]), 'too thin'),
    'constant': (lambda: sitk.GetImageFromArray(ARRAY * 0), 'same value'),
}


@pytest.mark.parametrize('kind', BAD_ITK)
def test_unusable_simpleitk_images_are_refused(kind, model):
    make, message = BAD_ITK[kind]
    with pytest.raises(InputError, match=message) as caught:
        pumba_pipe.sitk.extract(make(), model)
    assert '\n' not in str(caught.value)


# ---- the package's face ----


def test_completion_shows_public_names_alone():
    shown = {name for name in dir(pumba_pipe) if not name.startswith('__')}
    public = {name for name in pumba_pipe.__all__ if not name.startswith('__')}
    assert shown == public | {'interfaces', 'workflows'}
    for name in shown:
        assert getattr(pumba_pipe, name) is not None


def test_star_import():
    names: dict = {}
    exec('from pumba_pipe import *', names)
    assert set(pumba_pipe.__all__) <= set(names)
    assert names['extract'] is extract
