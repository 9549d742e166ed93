"""Any bytes in the header of an image: a volume of finite numbers, or one error."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.images.volume import load_volume

DATA = np.random.default_rng(0).normal(100, 20, (6, 7, 8)).astype(np.int16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
KINDS = {'scan.nii': nib.Nifti1Image, 'scan2.nii': nib.Nifti2Image, 'scan.mgh': nib.MGHImage}


def sound(name):
    return KINDS[name](DATA, AFFINE).to_bytes()


fields = st.sampled_from(
    [np.dtype(kind) for kind in ('<i2', '<f4', '<i4', '<f8', '<i8', '>i2', 'u1')]
)
values = st.sampled_from(
    [0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 127, 255, 256, 348, 352, 512, 1024, 1536, 32767, -32768,
     2**31 - 1, -(2**31), 2**62, 1e-30, 1e30, float('nan'), float('inf'), -0.5]
)  # fmt: skip
edits = st.lists(st.tuples(st.integers(0, 560), fields, values), min_size=1, max_size=6)


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('packed', [False, True], ids=['plain', 'gzip'])
@given(edits=edits, cut=st.none() | st.integers(0, 900))
@settings(max_examples=60)
def test_any_header(tmp_path_factory, within, name, packed, edits, cut):
    content = bytearray(sound(name))
    for place, kind, value in edits:
        with np.errstate(all='ignore'):
            if kind.kind in 'iu':
                value = 0 if value != value or abs(value) > 2**62 else int(value)
                raw = np.array(value % 2 ** (8 * kind.itemsize), f'u{kind.itemsize}')
                raw = raw.astype(raw.dtype.newbyteorder(kind.str[0]))
            else:
                raw = np.array(value, kind)
        content[place : place + kind.itemsize] = raw.tobytes()
    content = bytes(content[:cut])
    folder = tmp_path_factory.getbasetemp()
    path = folder / (name + '.gz' if packed and not name.endswith('mgh') else name)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == '.gz' else content)
    with within():
        try:
            volume = load_volume(path)
        except PumbaError as error:
            assert str(error).startswith(str(path))
            return
        except MemoryError:
            pytest.fail('memory was taken for what the header claims')
    assert np.isfinite(volume.data).all()
    assert np.isfinite(volume.affine).all()
    assert volume.data.ndim == 3
