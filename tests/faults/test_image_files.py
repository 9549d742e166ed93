"""Files that are no files, and names that are odd: one line at once, or a mask; never a hang."""

import gzip
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.common.errors import InputError, OutputError, PumbaError

SECONDS = 120  # what a busy machine needs to start Python; a hang lasts for ever
LATIN = os.fsdecode(b'm\xfcller')  # a name of bytes that are not UTF-8


def command(name, *words, **environment):
    """Run a command; what it prints on stderr, and its exit code."""
    code = f'import sys; from pumba_pipe.commands.{name} import main; sys.exit(main())'
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, words)],
        capture_output=True,
        timeout=SECONDS,
        env=os.environ | environment,
    )
    return done.stderr.decode(errors='replace'), done.returncode


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to('/dev/zero')


def listener(path):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # names of sockets are short
        server.bind(path.name)


def folder(path):
    path.mkdir()


NO_FILES = {pipe: r'a pipe \(FIFO\)', device: 'a device', listener: 'a socket', folder: 'a folder'}


@pytest.mark.parametrize('make', NO_FILES, ids=lambda make: make.__name__)
@pytest.mark.parametrize('suffix', ['.nii.gz', '.nii', '.mgz', '.img', '.mnc', '.HEAD'])
def test_an_image_that_is_no_file(make, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f's{suffix}'
    make(path)
    with pytest.raises(InputError, match=f's{suffix}: is {NO_FILES[make]}, not an image'):
        pumba_pipe.load_volume(path)


@pytest.mark.parametrize('half', ['x.img', 'x.hdr'])
def test_half_of_a_pair_that_is_no_file(half, head_file, tmp_path):
    image = nib.load(head_file)
    nib.save(nib.Nifti1Pair(image.dataobj, image.affine), tmp_path / 'x.img')
    (tmp_path / half).unlink()
    pipe(tmp_path / half)
    for name in ('x.img', 'x.hdr'):
        with pytest.raises(InputError, match='is a pipe'):
            pumba_pipe.load_volume(tmp_path / name)


def test_strip_does_not_wait_for_a_pipe(tmp_path):
    """10: pumba-strip waited for ever, for images and for weights."""
    pipe(tmp_path / 's.nii.gz')
    said, code = command('strip', '-i', tmp_path / 's.nii.gz', '-m', tmp_path / 'm.nii.gz')
    assert code == 1
    assert said.count('\n') == 1
    assert 'is a pipe (FIFO), not an image' in said
    assert not (tmp_path / 'm.nii.gz').exists()


def test_other_commands_do_not_wait_for_a_pipe(head_file, tmp_path):
    pipe(tmp_path / 'pipe.safetensors')
    pipe(tmp_path / 'pipe.toml')
    mask = tmp_path / 'm.nii.gz'
    tries = [
        ('strip', '-i', head_file, '-m', mask, '--weights', tmp_path / 'pipe.safetensors'),
        ('weights', 'info', tmp_path / 'pipe.safetensors'),
        ('synth', tmp_path / 'out', '--recipe', tmp_path / 'pipe.toml'),
    ]
    for words in tries:
        said, code = command(*words)
        assert code == 1
        assert said.count('\n') == 1, said
        assert 'is a pipe (FIFO), not a ' in said


def test_masks_that_are_no_files(head_file, tmp_path):
    from pumba_pipe.images.masks import load_mask
    from pumba_pipe.preprocessing.conform import mask_file

    pipe(tmp_path / 'mask.nii.gz')
    with pytest.raises(InputError, match='is a pipe'):
        load_mask(tmp_path / 'mask.nii.gz')
    with pytest.raises(InputError, match='is a pipe'):
        mask_file(head_file, tmp_path / 'mask.nii.gz', tmp_path / 'out.nii.gz')
    case = tmp_path / 'cases' / 'a'
    case.mkdir(parents=True)
    shutil.copy(head_file, case / 'image.nii.gz')
    shutil.copy(head_file, case / 'mask.nii.gz')
    pipe(tmp_path / 'a.nii.gz')
    words = (tmp_path / 'cases', '--predictions', tmp_path, '--out', tmp_path / 'scores')
    said, code = command('evaluate', *words)
    assert code == 1
    assert 'Traceback' not in said


def test_a_pipe_beside_an_image_is_not_its_b_values(head_file, tmp_path):
    shutil.copy(head_file, tmp_path / 'head.nii.gz')
    pipe(tmp_path / 'head.bval')
    assert pumba_pipe.load_volume(tmp_path / 'head.nii.gz').data.any()


def test_the_shape_for_memory_estimates_does_not_wait(tmp_path):
    pytest.importorskip('nipype')
    from pumba_pipe.workflows.base import image_shape

    pipe(tmp_path / 's.nii.gz')
    assert image_shape(tmp_path / 's.nii.gz') is None


# Names.


@pytest.mark.parametrize('name', [f'{LATIN}.nii.gz', f'{LATIN}.nii', f'{LATIN}.mgz'])
def test_names_that_are_not_utf8(name, head_file, tmp_path):
    """11: a crash of the process, or a traceback after the mask was written."""
    image = nib.load(head_file)
    suffix = name.removeprefix(LATIN)
    kind = nib.MGHImage if suffix == '.mgz' else nib.Nifti1Image
    plain = tmp_path / f'plain{suffix}'
    nib.save(kind(image.get_fdata(dtype=np.float32), image.affine), plain)
    plain.rename(tmp_path / name)
    mask = tmp_path / 'mask.nii.gz'
    said, code = command(
        'strip', '-i', tmp_path / name, '-m', mask, PYTHONIOENCODING='utf-8:strict'
    )
    assert 'Traceback' not in said
    assert (code == 0) == mask.exists()
    assert code == (0 if suffix == '.nii' else 1)
    if code:
        assert said.count('\n') == 1
        assert 'm\\udcfcller' in said
        assert 'rename it' in said
        (tmp_path / f'link{suffix}').symlink_to(name)  # the way out that the line names
        assert pumba_pipe.load_volume(tmp_path / f'link{suffix}').data.any()


def test_folders_and_outputs_whose_names_are_not_utf8(head_file, tmp_path):
    place = tmp_path / LATIN
    place.mkdir()
    (place / 'head.nii').write_bytes(gzip.decompress(head_file.read_bytes()))
    outputs = [place / f'{LATIN}{end}' for end in ('.nii.gz', '.nii', '.json')]
    words = ('-i', place / 'head.nii', '-m', outputs[0], '-o', outputs[1], '-q', outputs[2])
    said, code = command('strip', *words, PYTHONIOENCODING='ascii:strict')
    assert code == 0, said
    assert all(path.exists() for path in outputs)


def test_texts_with_such_names_are_written(tmp_path):
    from pumba_pipe.common.files import write_json, write_text

    write_json(tmp_path / 'x.json', {'source': LATIN})
    write_text(tmp_path / 'x.txt', LATIN)
    assert (tmp_path / 'x.txt').read_text(encoding='utf-8') == 'm\\udcfcller'


@pytest.mark.parametrize(
    'name',
    ['two words', 'a+b', "quote'", '"', 'semi;colon', '$HOME', '%s %d {0}', '#', 'ü', '脑', 'a\nb',
     '-m', '~', '*', 'x' * 240],
)  # fmt: skip
def test_names_that_are_odd_are_names(name, head_file, tmp_path):
    from pumba_pipe.images.saving import check_images
    from pumba_pipe.preprocessing.conform import conform_file

    path, out = tmp_path / f'{name}.nii.gz', tmp_path / 'out' / f'{name}.nii.gz'
    shutil.copy(head_file, path)
    check_images([out], [path])
    conform_file(path, out)
    assert pumba_pipe.load_volume(out).data.any()


@pytest.mark.parametrize('name', ['a\0b.nii.gz', 'x' * 300 + '.nii.gz', 'a/' * 2100 + 'x.nii.gz'])
def test_names_that_no_file_has(name, head_file, tmp_path):
    with pytest.raises(InputError):
        pumba_pipe.load_volume(tmp_path / name)
    with pytest.raises(PumbaError):
        pumba_pipe.load_weights(tmp_path / name)
    with pytest.raises(OutputError):
        pumba_pipe.strip_file(head_file, out_mask=tmp_path / name)
    with pytest.raises(OutputError):
        pumba_pipe.strip_file(head_file, out_quality=tmp_path / name)


def test_slashes_at_the_end(head_file, tmp_path, capsys):
    """The shell's completion adds them to links; a name is meant, not a folder."""
    from pumba_pipe.commands.strip import main

    assert main(['-i', f'{head_file}/', '-m', f'{tmp_path}/m.nii.gz/']) == 0
    assert (tmp_path / 'm.nii.gz').is_file()
    capsys.readouterr()


def test_a_long_folder_for_temporary_files(head_file, tmp_path):
    """23: batch systems make such; nothing of a single image depends on its length."""
    place = tmp_path / ('t' * 90)
    place.mkdir()
    mask = Path(tmp_path / 'mask.nii.gz')
    said, code = command('strip', '-i', head_file, '-m', mask, TMPDIR=str(place))
    assert code == 0, said
    assert mask.exists()
    assert not list(place.iterdir())


@pytest.mark.parametrize('name', ['.', '..', '/'])
def test_a_path_without_a_name_is_one_line(name, tmp_path):
    err, code = command('strip', '-i', name, '-m', tmp_path / 'm.nii.gz')
    assert code == 1
    assert 'is a folder, not an image' in err
    assert err.count('\n') == 1
    with pytest.raises(InputError, match='is a folder'):
        pumba_pipe.extract(name)
