"""Files whose content is not what their name says: what they are and what to do, in one line."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.volume import load_volume


def nifti():
    data = np.random.default_rng(0).normal(500, 100, (8, 9, 10)).astype(np.int16)
    return nib.Nifti1Image(data, np.diag([5.0, 5, 5, 1])).to_bytes()


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
