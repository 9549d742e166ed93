"""Files of any format: what is read, what is written, and how often a file is read for it."""

import gzip
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.reading import open_image
from pumba_pipe.images.saving import save_mask, save_masked
from pumba_pipe.images.volume import load_volume

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def write(path, image):
    nib.save(image, path)
    return path


def values(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize(
    'name', ['x.nii', 'x.nii.gz', 'x.NII.GZ', 'n2.nii.gz', 'x.img', 'x.img.gz', 'x.mgz', 'x.hdr']
)
def test_formats(name, head, tmp_path):
    data = (head[0] * 1000).astype(np.int16)
    if name == 'x.mgz':
        image = nib.MGHImage(data, AFFINE)
    elif name == 'n2.nii.gz':
        image = nib.Nifti2Image(data, AFFINE)
    elif name == 'x.hdr':
        image = nib.Spm2AnalyzeImage(data, AFFINE)
    elif '.img' in name:
        image = nib.Nifti1Pair(data, AFFINE)
    else:
        image = nib.Nifti1Image(data, AFFINE)
    path = write(tmp_path / name, image)
    volume = load_volume(path)
    np.testing.assert_array_equal(volume.data, data)
    assert volume.data.dtype == np.float32
    save_mask(volume, head[1], tmp_path / 'mask.nii.gz')
    out = nib.load(tmp_path / 'mask.nii.gz')
    np.testing.assert_array_equal(np.asarray(out.dataobj), head[1])
    np.testing.assert_allclose(out.affine, nib.load(path).affine, atol=1e-4)


def test_minc_is_read():
    path = Path(nib.__file__).parent / 'tests' / 'data' / 'tiny.mnc'
    volume = load_volume(path)
    assert volume.data.shape == (10, 20, 20)
    assert (volume.voxel_size > 0).all()


@pytest.mark.parametrize('suffix', ['nii', 'nii.gz'])
def test_scaled_integers_keep_their_values(suffix, head, tmp_path):
    image = nib.Nifti1Image((head[0] * 1000).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.25, 0)
    path = write(tmp_path / f'x.{suffix}', image)
    volume = load_volume(path)
    np.testing.assert_allclose(volume.data, nib.load(path).get_fdata(), atol=1e-6)
    save_masked(volume, head[1], tmp_path / 'b.nii')
    expected = nib.load(path).get_fdata() * head[1]
    np.testing.assert_allclose(nib.load(tmp_path / 'b.nii').get_fdata(), expected, atol=1e-6)


def series(head, count=4):
    return np.stack([(head[0] * (500 + 100 * i)).astype(np.int16) for i in range(count)], 3)


@pytest.mark.parametrize('suffix', ['nii', 'nii.gz'])
def test_the_mean_of_a_scaled_series(suffix, head, tmp_path):
    image = nib.Nifti1Image(series(head), AFFINE)
    image.header.set_slope_inter(0.5, 100)
    volume = load_volume(write(tmp_path / f'x.{suffix}', image))
    assert volume.notes == ('4D: mean of 4 of 4 volumes',)
    np.testing.assert_allclose(volume.data, series(head).mean(3) * 0.5 + 100, rtol=1e-6)


def test_diffusion_uses_unweighted_volumes(head, tmp_path):
    data = series(head)
    data[..., 1:3] = 0
    path = write(tmp_path / 'dwi.nii.gz', nib.Nifti1Image(data, AFFINE))
    (tmp_path / 'dwi.bval').write_text('0 1000 1000 5\n')
    volume = load_volume(path)
    assert volume.notes == ('4D: mean of 2 b0 volumes of 4',)
    np.testing.assert_allclose(volume.data, data[..., [0, 3]].mean(3), atol=1e-3)


def test_fourth_axis_of_length_one_is_3d(head, tmp_path):
    image = nib.Nifti1Image((head[0] * 100).astype(np.int16)[..., None], AFFINE)
    volume = load_volume(write(tmp_path / 'x.nii.gz', image))
    assert volume.data.shape == (64, 64, 64)
    assert volume.notes == ()


def test_a_further_axis_of_length_one_does_not_hide_a_series(head, tmp_path):
    image = nib.Nifti1Image(series(head)[..., None], AFFINE)
    volume = load_volume(write(tmp_path / 'x.nii.gz', image))
    np.testing.assert_allclose(volume.data, series(head).mean(3), atol=1e-3)


COUNTERS = Path('/proc/self/io')
counts_bytes = pytest.mark.skipif(not COUNTERS.exists(), reason='Linux counts bytes read')


def bytes_read(work):
    """How many bytes this process reads from files while it works."""

    def so_far():
        return int(COUNTERS.read_text().split()[1])

    work()  # what is imported on the way does not count
    before = so_far()
    work()
    return so_far() - before


def noise_file(folder, shape):
    """A compressed file of as many bytes as its values have."""
    noise = np.random.default_rng(0).integers(-30000, 30000, shape).astype(np.int16)
    return write(folder / 'x.nii.gz', nib.Nifti1Image(noise, AFFINE))


@pytest.fixture
def small_buffers(monkeypatch):
    """Have nibabel read headers through gzip: indexed_gzip reads megabytes ahead for them."""
    monkeypatch.setattr('nibabel._compression.HAVE_INDEXED_GZIP', False)


@counts_bytes
@pytest.mark.parametrize('shape', [(160, 160, 40), (80, 80, 20, 8)])
def test_a_compressed_file_is_read_once(shape, small_buffers, tmp_path):
    path = noise_file(tmp_path, shape)
    times = bytes_read(lambda: load_volume(path)) / path.stat().st_size
    assert 0.9 < times < 1.3


@counts_bytes
def test_a_reference_is_made_from_one_reading(small_buffers, tmp_path):
    from pumba_pipe.preprocessing.series_reference import make_reference

    path = noise_file(tmp_path, (80, 80, 20, 8))
    times = bytes_read(lambda: make_reference(path)) / path.stat().st_size
    assert 0.9 < times < 1.3


@pytest.mark.parametrize('shape', [(20, 20, 20), (20, 20, 20, 5)])
@pytest.mark.parametrize('what', ['checksum', 'length', 'garbage'])
def test_the_end_of_a_gzip_file_is_checked(what, shape, tmp_path):
    """All values are there and right; only what follows them tells that the file is damaged."""
    data = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    path = write(tmp_path / 'x.nii.gz', nib.Nifti1Image(data, AFFINE))
    content = bytearray(path.read_bytes())
    if what == 'garbage':
        content += b'something else'
    else:
        content[-8 if what == 'checksum' else -4] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match='damaged or incomplete image'):
        load_volume(path)


def test_values_that_are_too_few_are_damage(tmp_path):
    """The header promises more than the stream holds, and gzip finds nothing wrong with it."""
    whole = gzip.compress(nib.Nifti1Image(np.ones((20, 20, 20)), AFFINE).to_bytes())
    short = zlib.decompress(whole, 31)[:9000]
    (tmp_path / 'x.nii.gz').write_bytes(gzip.compress(short))
    with pytest.raises(InputError, match='damaged or incomplete image'):
        load_volume(tmp_path / 'x.nii.gz')


def test_opening_reads_the_header_alone(tmp_path):
    data = np.zeros((20, 30, 40, 5), np.int16)
    file = open_image(write(tmp_path / 'x.nii.gz', nib.Nifti1Image(data, AFFINE)))
    assert (file.shape, file.count) == ((20, 30, 40, 5), 5)
    np.testing.assert_array_equal(file.affine, AFFINE)


def test_a_surface_is_not_an_image(tmp_path):
    surface = nib.gifti.GiftiImage()
    path = tmp_path / 'x.surf.gii'
    nib.save(surface, path)
    with pytest.raises(InputError, match='not an image of voxels'):
        load_volume(path)


@pytest.mark.parametrize(
    ('written', 'named', 'message'),
    [
        ('a.mgh', 'b.mgz', 'is not compressed, although its name says so; rename it to .mgh'),
        (
            'a.mgz',
            'b.mgh',
            'is compressed (gzip), but its name does not say so; rename it to b.mgz',
        ),
        ('a.nii', 'b.mgz', 'is not compressed, although its name says so; rename it, without .gz'),
        (
            'a.nii.gz',
            'b.mgz',
            'is a NIfTI image, although its name says MGZ; rename it to .nii.gz',
        ),
        ('a.mgz', 'b.nii.gz', 'is an MGZ image, although its name says NIfTI; rename it to .mgz'),
    ],
)
def test_a_name_of_another_format_is_said_so(written, named, message, tmp_path):
    data = np.random.default_rng(1).integers(0, 99, (8, 8, 8)).astype(np.uint8)
    kind = nib.MGHImage if 'mg' in written else nib.Nifti1Image
    write(tmp_path / written, kind(data, AFFINE)).rename(tmp_path / named)
    with pytest.raises(InputError) as caught:
        load_volume(tmp_path / named)
    assert str(caught.value) == f'{tmp_path / named}: {message}'


def test_a_format_whose_package_is_missing(tmp_path, monkeypatch):
    """One image of many: it must not end the run of the others."""
    monkeypatch.setitem(sys.modules, 'h5py', None)
    (tmp_path / 'a.mnc').write_bytes(b'\x89HDF\r\n\x1a\n' + bytes(1000))
    with pytest.raises(InputError, match=r'cannot be read here .*h5py.* install that'):
        load_volume(tmp_path / 'a.mnc')
