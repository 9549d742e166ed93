"""Files whose content is not what their name says: what they are and what to do, in one line."""

import bz2
import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.volume import load_volume


def nifti(version=1):
    data = np.random.default_rng(0).normal(500, 100, (8, 9, 10)).astype(np.int16)
    kind = {1: nib.Nifti1Image, 2: nib.Nifti2Image}[version]
    return kind(data, np.diag([5.0, 5, 5, 1])).to_bytes()


WRONG = {
    'compressed, named plain': ('x.nii', gzip.compress(nifti()), r'rename it to x\.nii\.gz'),
    'plain, named compressed': ('x.nii.gz', nifti(), r'not compressed.*rename'),
    'pointer of git-annex': ('x.nii.gz', b'/annex/objects/MD5E-s1--a.nii.gz\n', 'datalad get'),
    'pointer of git-annex, plain': ('x.nii', b'/annex/objects/MD5E-s1--a.nii\n', 'datalad get'),
    'pointer of Git LFS': (
        'x.nii.gz',
        b'version https://git-lfs.github.com/spec/v1\n',
        'lfs pull',
    ),
    'DICOM': ('x.dcm', bytes(128) + b'DICM' + bytes(400), 'dcm2niix'),
    'compressed twice': ('x.nii.gz', gzip.compress(gzip.compress(nifti())), 'twice.*gunzip'),
    'bzip2, named plain': ('x.nii', bz2.compress(nifti()), r'bzip2.*\.nii\.bz2'),
    'bzip2, named gzip': ('x.nii.gz', bz2.compress(nifti()), r'bzip2.*\.nii\.bz2'),
    'bzip2, incomplete': ('x.nii.bz2', bz2.compress(nifti())[:200], r'incomplete.*bzip2'),
    'xz': ('x.nii.xz', b'\xfd7zXZ\0', 'xz -d'),
    'NIfTI-2, named compressed': ('x.nii.gz', nifti(2), 'not compressed.*rename'),
    'ZIP': ('x.nii.gz', b'PK\x03\x04' + bytes(400), 'unzip'),
    'PNG': ('x.png', b'\x89PNG\r\n\x1a\n' + bytes(400), 'picture'),
    'JPEG': ('x.nii', b'\xff\xd8\xff\xe0' + bytes(400), 'picture'),
    'NRRD': ('x.nrrd', b'NRRD0004\ntype: short\n\n', 'convert it to NIfTI'),
    'MetaImage': ('x.mha', b'ObjectType = Image\n', 'convert it to NIfTI'),
    'web page': ('x.nii.gz', b'<!DOCTYPE html>\n<html></html>', 'web page'),
}


@pytest.mark.parametrize(('name', 'content', 'message'), WRONG.values(), ids=WRONG)
def test_what_a_file_is_and_what_to_do(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_volume(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('size', [0, 7, 2**30 + 1])
def test_what_nibabel_warns_of_is_not_printed(tmp_path, size):
    """An extension of the header whose size is no multiple of 16 bytes, or leads nowhere."""
    image = nib.Nifti1Image.from_bytes(nifti())
    image.header.extensions.append(nib.nifti1.Nifti1Extension('comment', b'x' * 100))
    content = bytearray(image.to_bytes())
    content[352:356] = size.to_bytes(4, 'little')
    (tmp_path / 'x.nii').write_bytes(content)
    with warnings.catch_warnings(), pytest.raises(InputError, match='header'):
        warnings.simplefilter('error')
        load_volume(tmp_path / 'x.nii')


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_an_image_without_numbers_is_said_to_be_one(tmp_path, value):
    """It was said that every voxel is 0."""
    nib.save(nib.Nifti1Image(np.full((8, 9, 10), value), np.eye(4)), tmp_path / 'x.nii')
    with pytest.raises(InputError, match='no voxel has a value that is a number'):
        load_volume(tmp_path / 'x.nii')
