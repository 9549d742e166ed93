"""Compressed files: the same content whichever library writes and reads them."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.images import compression
from pumba_pipe.images.compression import open_gzip, save_image


@pytest.fixture(params=['isal', 'gzip'])
def library(request, monkeypatch):
    if request.param == 'gzip':
        monkeypatch.setattr(compression, 'igzip', None)
    elif compression.igzip is None:
        pytest.skip('isal is not installed')


@pytest.mark.usefixtures('library')
def test_written_files_are_read_by_others_and_always_the_same(tmp_path):
    data = np.random.default_rng(1).integers(0, 9, (12, 10, 8)).astype(np.uint8)
    for suffix, kind in (('.nii.gz', nib.Nifti1Image), ('.mgz', nib.MGHImage)):
        first, second = tmp_path / f'a{suffix}', tmp_path / f'b{suffix}'
        for path in (first, second):
            save_image(kind(data, np.eye(4)), path)
        assert first.read_bytes() == second.read_bytes(), suffix
        assert np.array_equal(nib.load(first).dataobj, data), suffix
        assert gzip.decompress(first.read_bytes()), 'complete, with its checksum'


@pytest.mark.usefixtures('library')
def test_plain_files_are_not_compressed(tmp_path):
    save_image(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), tmp_path / 'a.nii')
    assert (tmp_path / 'a.nii').read_bytes()[:2] != b'\x1f\x8b'


@pytest.mark.usefixtures('library')
def test_damage_raises_what_is_known_as_damage(tmp_path):
    whole = gzip.compress(bytes(range(256)) * 4000)
    rng = np.random.default_rng(2)
    for number in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(10, len(whole), 3):
            damaged[place] ^= 1 + int(rng.integers(255))
        path = tmp_path / f'{number}.gz'
        path.write_bytes(damaged)
        with pytest.raises(compression.DAMAGE), open_gzip(path) as file:
            assert file.read() == bytes(range(256)) * 4000
            raise EOFError  # the damage was in what nobody reads
