"""The command line of SynthStrip, and the public interfaces that call it, run for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.shims import NAMES, write_shims
from pumba_pipe.commands.strip import main as strip
from pumba_pipe.commands.synthstrip import main
from pumba_pipe.images.masks import clean, dice

ROOT = Path(__file__).parents[2]


def data(path: Path | str) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope='module')
def whole(head_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All outputs of one call with the defaults."""
    folder = tmp_path_factory.mktemp('whole')
    paths = {name: folder / f'{name}.nii.gz' for name in ('brain', 'mask', 'sdt')}
    words = ['-i', head_file, '-o', paths['brain'], '-m', paths['mask'], '-d', paths['sdt']]
    assert main([*map(str, words), '-t', '1']) == 0
    return paths


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shims that comes first in PATH, and calls this copy of the package."""
    write_shims(tmp_path / 'shims')
    monkeypatch.setenv('PATH', f'{tmp_path / "shims"}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    return tmp_path / 'shims'


def test_the_mask_is_where_the_distance_is_below_the_border(whole, head_file):
    mask, sdt = data(whole['mask']), data(whole['sdt'])
    assert mask.dtype == np.uint8
    assert np.array_equal(mask > 0, clean(sdt < 1)[0])
    image = data(head_file)
    assert np.array_equal(data(whole['brain']), np.where(mask > 0, image, 0))
    assert np.array_equal(nib.load(whole['mask']).affine, nib.load(head_file).affine)


@pytest.mark.parametrize(('theirs', 'ours'), [((), 'include'), (('--no-csf',), 'exclude')])
def test_pumba_strip_draws_the_same_border(theirs, ours, head_file, tmp_path):
    """Also where voxels lie exactly at that distance: here 1.5 mm, half a voxel."""
    one, other = (str(tmp_path / f'{name}.nii.gz') for name in ('theirs', 'ours'))
    words = ['-i', str(head_file), '-b', '1.5', '-t', '1', '-m']
    assert main([*words, one, *theirs]) == 0
    assert strip([*words, other, '--csf', ours]) == 0
    assert np.array_equal(data(one), data(other))


def test_border_and_csf(whole, head_file, tmp_path):
    def mask_of(*words: str) -> np.ndarray:
        out = tmp_path / 'mask.nii.gz'
        assert main(['-i', str(head_file), '-m', str(out), '-n', '1', '-q', *words]) == 0
        return data(out) > 0

    default, sdt = data(whole['mask']) > 0, data(whole['sdt'])
    assert np.array_equal(mask_of('-b', '4.5'), clean(sdt < 4.5)[0])
    without = mask_of('--no-csf')
    assert without.sum() < default.sum()
    assert not (without & ~default).any()
    from pumba_pipe import extract

    result = extract(head_file, device='cpu', threads=1, csf='include')
    assert np.array_equal(mask_of('-b', '0'), result.mask > 0)


def test_a_series_is_stripped_volume_by_volume(whole, head_file, tmp_path, capsys):
    image = nib.load(head_file)
    first = np.asarray(image.dataobj)
    second = np.roll(first, 4, 0)
    nib.save(nib.Nifti1Image(np.stack([first, second], -1), image.affine), tmp_path / '4d.nii.gz')
    names = {flag: tmp_path / f'{flag}.nii.gz' for flag in 'omd'}
    words = [word for flag, path in names.items() for word in (f'-{flag}', str(path))]
    assert main(['-i', str(tmp_path / '4d.nii.gz'), *words, '-t', '1']) == 0
    mask = data(names['m'])
    assert mask.shape == data(names['d']).shape == (*first.shape, 2)
    assert dice(mask[..., 0] > 0, data(whole['mask']) > 0) > 0.999
    assert dice(np.roll(mask[..., 0], 4, 0) > 0, mask[..., 1] > 0) > 0.97
    assert np.array_equal(data(names['o']), np.stack([first, second], -1) * (mask > 0))
    capsys.readouterr()
    nothing = nib.Nifti1Image(np.stack([first, np.zeros_like(first)], -1), image.affine)
    nib.save(nothing, tmp_path / '4d.nii.gz')
    assert main(['-i', str(tmp_path / '4d.nii.gz'), '-m', str(tmp_path / 'n.nii'), '-t', '1']) == 1
    assert '4d.nii.gz: volume 1: every voxel has the same value' in capsys.readouterr().err
    assert not (tmp_path / 'n.nii').exists()


def test_exit_codes(tmp_path, capsys, head_file):
    assert main([]) == 1  # as SynthStrip: help, and no success
    assert capsys.readouterr().out.startswith('usage: pumba-synthstrip')
    assert main(['-i', str(head_file)]) == 1
    assert main(['-i', str(tmp_path / 'none.nii'), '-m', str(tmp_path / 'm.nii')]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith('pumba-synthstrip: error: ') for line in lines)
    for words in (['-m', 'm.nii'], ['-i', 'a.nii', '-m', 'm.nii', '--bordr', '1']):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2


def test_models(whole, head_file, tmp_path, capsys):
    """A model of SynthStrip is passed over aloud; its name tells whether CSF is in."""
    out = tmp_path / 'mask.nii.gz'
    words = ['-i', str(head_file), '-m', str(out), '-t', '1', '--model']
    (tmp_path / 'synthstrip.1.pt').write_bytes(b'a model')
    assert main([*words, str(tmp_path / 'synthstrip.1.pt')]) == 0
    assert 'is a model of SynthStrip and is not used' in capsys.readouterr().err
    assert np.array_equal(data(out), data(whole['mask']))
    assert main([*words, str(tmp_path / 'synthstrip.nocsf.1.pt')]) == 0
    assert data(out).sum() < data(whole['mask']).sum()
    (tmp_path / 'own.safetensors').write_bytes(b'damaged')
    assert main([*words, str(tmp_path / 'own.safetensors')]) == 1


def test_shims_replace_nothing_of_others(tmp_path, capsys):
    assert main(['--install-shim', str(tmp_path / 'a')]) == 0
    assert main(['--install-shim', str(tmp_path / 'a')]) == 0
    assert all(os.access(tmp_path / 'a' / name, os.X_OK) for name in NAMES)
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'mri_synthstrip').write_text('#!/usr/bin/env python\n')
    assert main(['--install-shim', str(tmp_path / 'b')]) == 1
    assert 'is another program and is kept' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'b').iterdir()] == ['mri_synthstrip']


@pytest.mark.parametrize('starter', [[], [sys.executable]], ids=['alone', 'by another Python'])
def test_a_shim_is_the_command(starter, shims, tmp_path):
    script = [str(shims / 'mri_synthstrip')]
    (tmp_path / 'numpy.py').write_text('raise SystemExit("a file of the user")')
    command = [*starter, *script, '-i', 'none.nii.gz', '-m', 'm.nii.gz', '--threads', '1']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('pumba-synthstrip: error: none.nii.gz: ')


def test_nipreps_synthstrip(whole, head_file, shims, tmp_path, monkeypatch):
    """The interface class of the package nipreps-synthstrip."""
    wrappers = pytest.importorskip(
        'nipreps.synthstrip.wrappers.nipype', reason='nipreps-synthstrip is not installed'
    )
    (tmp_path / 'synthstrip.1.pt').write_bytes(b'a model')
    monkeypatch.chdir(tmp_path)
    run = wrappers.SynthStrip(
        in_file=str(head_file), model=str(tmp_path / 'synthstrip.1.pt'), num_threads=1
    ).run()
    assert np.array_equal(data(run.outputs.out_mask), data(whole['mask']))
    assert np.array_equal(data(run.outputs.out_file), data(whole['brain']))
    model = str(tmp_path / 'synthstrip.1.pt')
    run = wrappers.SynthStrip(
        in_file=str(head_file), model=model, border_mm=4, num_threads=1
    ).run()
    assert np.array_equal(data(run.outputs.out_mask) > 0, clean(data(whole['sdt']) < 4)[0])


@pytest.mark.parametrize('no_csf', [False, True])
def test_qsiprep(no_csf, whole, head_file, shims, tmp_path):
    """The interface class of QSIPrep, which repairs headers after the command."""
    freesurfer = pytest.importorskip(
        'qsiprep.interfaces.freesurfer', reason='qsiprep is not installed', exc_type=ImportError
    )
    interface = freesurfer.FixHeaderSynthStrip(
        input_image=str(head_file), no_csf=no_csf, num_threads=1
    )
    run = interface.run(cwd=str(tmp_path))
    mask = data(run.outputs.out_brain_mask) > 0
    if no_csf:
        assert 0 < mask.sum() < data(whole['mask']).sum()
    else:
        assert np.array_equal(mask, data(whole['mask']) > 0)
    assert np.array_equal(data(run.outputs.out_brain), data(head_file) * mask)


def test_mriqc(whole, head_file, shims, tmp_path, monkeypatch):
    """The interface class of MRIQC, which calls its command by the name synthstrip."""
    mriqc = pytest.importorskip(
        'mriqc.interfaces.synthstrip', reason='mriqc is not installed', exc_type=ImportError
    )
    (tmp_path / 'synthstrip.1.pt').write_bytes(b'a model')
    monkeypatch.chdir(tmp_path)
    run = mriqc.SynthStrip(
        in_file=str(head_file), model=str(tmp_path / 'synthstrip.1.pt'), num_threads=1
    ).run()
    assert np.array_equal(data(run.outputs.out_mask), data(whole['mask']))


def test_the_interfaces_strip_a_real_head(shims, tmp_path, monkeypatch):
    """A whole head of the demo, by the classes of nipreps-synthstrip and QSIPrep: our masks."""
    wrappers = pytest.importorskip(
        'nipreps.synthstrip.wrappers.nipype', reason='nipreps-synthstrip is not installed'
    )
    freesurfer = pytest.importorskip(
        'qsiprep.interfaces.freesurfer', reason='qsiprep is not installed', exc_type=ImportError
    )
    head = ROOT / 'tests/data/bids/sub-ixi012/anat/sub-ixi012_T1w.nii.gz'
    direct = tmp_path / 'direct.nii.gz'
    assert main(['-i', str(head), '-m', str(direct), '-t', '1', '-q']) == 0
    (tmp_path / 'synthstrip.1.pt').write_bytes(b'a model')
    monkeypatch.chdir(tmp_path)
    nipreps = wrappers.SynthStrip(
        in_file=str(head), model=str(tmp_path / 'synthstrip.1.pt'), num_threads=1
    ).run()
    qsiprep = freesurfer.FixHeaderSynthStrip(input_image=str(head), num_threads=1).run()
    assert 1e6 < data(direct).sum() * abs(np.linalg.det(nib.load(head).affine)) < 2e6  # mm3
    for mask in (nipreps.outputs.out_mask, qsiprep.outputs.out_brain_mask):
        assert np.array_equal(data(mask), data(direct))
