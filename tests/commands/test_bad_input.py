"""Bad input: one clear line, a non-zero exit, no traceback, no half-written file."""

import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.strip import main
from pumba_pipe.images import saving

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def save(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def some_data(shape=(24, 24, 24), seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


def set_header(path, offset, layout, *values):
    """Overwrite bytes of an uncompressed NIfTI header."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


def text_file(folder):
    path = folder / 'scan.nii.gz'
    path.write_text('not an image at all')
    return path


def unknown_format(folder):
    path = folder / 'scan.xyz'
    path.write_bytes(b'nonsense' * 100)
    return path


def empty_file(folder):
    path = folder / 'scan.nii'
    path.touch()
    return path


def truncated_gzip(folder):
    path = save(folder / 'scan.nii.gz', some_data())
    path.write_bytes(path.read_bytes()[:9000])
    return path


def truncated_plain(folder):
    path = save(folder / 'scan.nii', some_data())
    path.write_bytes(path.read_bytes()[:9000])
    return path


def corrupt_gzip(folder):
    path = save(folder / 'scan.nii.gz', some_data((40, 40, 40)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[2000:2400] = bytes(400)
    path.write_bytes(content)
    return path


def huge_header(folder):
    path = save(folder / 'scan.nii', some_data((8, 8, 8)))
    return set_header(path, 40, '<4h', 3, 1024, 1024, 1024)


def huge_header_gzip(folder):
    plain = huge_header(folder)
    path = folder / 'huge.nii.gz'
    path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def singular_affine(folder):
    path = save(folder / 'scan.nii', some_data())
    return set_header(path, 280, '<12f', 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0)


def zero_affine(folder):
    path = save(folder / 'scan.nii', some_data())
    return set_header(path, 280, '<12f', *[0] * 12)


def not_finite_affine(folder):
    path = save(folder / 'scan.nii', some_data())
    return set_header(path, 280, '<f', float('nan'))


def colour(folder):
    data = np.zeros((16, 16, 16), dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    return save(folder / 'scan.nii.gz', data)


def all_not_finite(folder):
    data = np.full((24, 24, 24), np.nan, np.float32)
    data[0] = np.inf
    return save(folder / 'scan.nii.gz', data)


def missing(folder):
    return folder / 'nowhere.nii.gz'


def broken_link(folder):
    path = folder / 'scan.nii.gz'
    path.symlink_to(folder / 'annex' / 'object')
    return path


def a_folder(folder):
    path = folder / 'scan.nii.gz'
    path.mkdir()
    return path


BAD = {
    text_file: 'not an image',
    unknown_format: 'not an image',
    empty_file: 'empty',
    truncated_gzip: 'incomplete',
    truncated_plain: 'incomplete',
    corrupt_gzip: 'damaged',
    huge_header: 'incomplete',
    huge_header_gzip: 'incomplete',
    singular_affine: 'singular',
    zero_affine: 'not usable',
    not_finite_affine: 'not usable',
    colour: 'colour',
    all_not_finite: 'no voxel has a value that is a number',
    missing: 'No such file',
    broken_link: 'broken link',
    a_folder: 'is a folder',
}


def assert_refused(capsys, image, out, message):
    """One line on stderr that names the file, exit code 1, nothing written."""
    assert main(['-i', str(image), '-m', str(out)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith('pumba-strip: error: ')
    assert message in lines[0]
    assert not out.exists()
    assert not list(out.parent.glob('.partial-*'))
    return lines[0]


@pytest.mark.parametrize('make', BAD, ids=lambda make: make.__name__)
def test_unusable_files_are_refused_in_one_line(make, tmp_path, capsys):
    image = make(tmp_path)
    line = assert_refused(capsys, image, tmp_path / 'out' / 'mask.nii.gz', BAD[make])
    assert str(image) in line


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (np.zeros((24, 24, 24), np.float32), 'same value'),
        (np.full((24, 24, 24), 7, np.int16), 'same value'),
        (some_data((24, 24)), 'dimensions'),
        (some_data((8, 8, 8, 2, 3)), 'dimensions'),
        (some_data((24, 24, 1)), 'too thin'),
        (some_data((24, 2, 24)), 'too thin'),
        (some_data((1, 1, 1)), 'too thin'),
    ],
    ids=['zeros', 'constant', '2D', '5D', 'one slice', 'two slices', 'one voxel'],
)
def test_unusable_contents_are_refused_in_one_line(data, message, tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', data)
    assert_refused(capsys, image, tmp_path / 'mask.nii.gz', message)


@pytest.mark.skipif(
    not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read and write everything'
)
def test_files_without_permission_are_refused(tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', some_data())
    image.chmod(0)
    assert_refused(capsys, image, tmp_path / 'mask.nii.gz', 'Permission denied')


def test_output_equal_to_input_is_refused_and_input_kept(tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', some_data())
    before = image.read_bytes()
    assert main(['-i', str(image), '-o', str(image)]) == 1
    assert 'is the input itself' in capsys.readouterr().err
    assert image.read_bytes() == before


def test_two_outputs_of_one_name_are_refused(tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', some_data())
    out = str(tmp_path / 'x.nii.gz')
    assert main(['-i', str(image), '-o', out, '-m', out]) == 1
    assert 'same file' in capsys.readouterr().err


def test_unknown_output_format_is_refused_before_any_work(tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', some_data())
    assert_refused(capsys, image, tmp_path / 'mask.mnc', 'cannot write this format')


def test_output_below_a_file_is_refused(tmp_path, capsys):
    image = save(tmp_path / 'scan.nii.gz', some_data())
    assert main(['-i', str(image), '-m', str(image / 'mask.nii.gz')]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_full_disk_leaves_nothing_behind(head_file, tmp_path, capsys, monkeypatch):
    """A write that fails half-way, as on a full disk."""
    real_save = saving.save_image

    def failing_save(image, path):
        real_save(image, path)
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(saving, 'save_image', failing_save)
    out = tmp_path / 'out' / 'mask.nii.gz'
    assert main(['-i', str(head_file), '-m', str(out)]) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert 'No space left' in err[-1]
    assert list(out.parent.iterdir()) == []


def test_device_that_is_not_there(head_file, tmp_path, capsys):
    for name in ('cuda:77', 'toaster', 'meta'):
        code = main(['-i', str(head_file), '-m', str(tmp_path / 'm.nii.gz'), '--device', name])
        assert code == 1
        assert name in capsys.readouterr().err


def test_noise_without_a_head_is_never_an_empty_mask(tmp_path):
    """Whatever the network says of noise: an error without a file, or a mask with content."""
    rng = np.random.default_rng(3)
    image = save(tmp_path / 'scan.nii.gz', rng.rayleigh(10, (40, 40, 40)).astype(np.float32))
    out = tmp_path / 'mask.nii.gz'
    code = main(['-i', str(image), '-m', str(out)])
    assert (code == 0) == out.exists()
    if out.exists():
        assert np.asarray(nib.load(out).dataobj).any()


def run_and_load(image, tmp_path):
    out = tmp_path / 'mask.nii.gz'
    assert main(['-i', str(image), '-m', str(out)]) == 0
    return np.asarray(nib.load(out).dataobj)


def test_scattered_nan_and_inf_do_no_harm(head_file, tmp_path, capsys):
    image = nib.load(head_file)
    data = image.get_fdata(dtype=np.float32)
    data[::9, ::7, ::8] = np.nan
    data[1, 1, 1] = np.inf
    mask = run_and_load(save(tmp_path / 'scan.nii.gz', data, image.affine), tmp_path)
    assert 'not finite' in capsys.readouterr().err
    assert mask.any()


def test_scale_that_overflows_is_survived(head_file, tmp_path, capsys):
    """int16 with a scl_slope that leaves float32's range: what overflows is set to zero."""
    image = nib.load(head_file)
    data = image.get_fdata()
    stored = np.round(data / data.max() * 1000).astype(np.int16)
    path = save(tmp_path / 'scan.nii', stored, image.affine)
    set_header(path, 112, '<2f', 3e38, 0.0)
    code = main(['-i', str(path), '-m', str(tmp_path / 'm.nii.gz')])
    err = capsys.readouterr().err
    assert 'Traceback' not in err
    assert code in (0, 1)
    assert (code == 0) == (tmp_path / 'm.nii.gz').exists()


@pytest.mark.parametrize('size', [-3.0, 0.0], ids=['negative', 'zero'])
@pytest.mark.parametrize('codes', [(0, 0), (0, 2)], ids=['no orientation', 'sform'])
def test_senseless_voxel_sizes_are_survived(size, codes, head_file, tmp_path):
    """The sform counts where there is one; without it nibabel repairs the sizes."""
    path = tmp_path / 'scan.nii'
    nib.save(nib.load(head_file), path)
    set_header(path, 252, '<2h', *codes)
    set_header(path, 80, '<3f', size, size, size)
    out = tmp_path / 'm.nii.gz'
    assert main(['-i', str(path), '-m', str(out)]) == 0
    assert nib.load(out).shape == nib.load(path).shape
    assert np.asarray(nib.load(out).dataobj).any()


def test_usage_errors_exit_with_two(capsys):
    for argv in ([], ['-i', 'x.nii'], ['-i', 'x.nii', '-m', 'm.nii', '-b', 'wide']):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
    capsys.readouterr()


def test_a_stripped_head_is_stripped_again_and_said_so(head, tmp_path, capsys):
    image, label = head
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    path = save(tmp_path / 'scan.nii.gz', image * label, affine)
    mask = run_and_load(path, tmp_path)
    assert 'stripped already' in capsys.readouterr().err
    overlap = 2 * (mask * label).sum() / (mask.sum() + label.sum())
    assert overlap > 0.9


def test_damaged_and_foreign_weights_are_refused(head_file, tmp_path, capsys):
    from safetensors.numpy import save_file

    from pumba_pipe.network.weights import default_weights

    foreign = tmp_path / 'foreign.safetensors'
    save_file({'weight': np.zeros(3, np.float32)}, foreign)
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes(Path(default_weights()).read_bytes()[:5000])
    pickle = tmp_path / 'model.pt'
    pickle.write_bytes(b'\x80\x04.')
    for weights in (foreign, cut, pickle, tmp_path / 'none.safetensors', tmp_path):
        out = tmp_path / 'm.nii.gz'
        assert main(['-i', str(head_file), '-m', str(out), '--weights', str(weights)]) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert str(weights) in lines[0]
        assert not out.exists()
