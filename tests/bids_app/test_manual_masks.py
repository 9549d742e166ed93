"""Masks by a person or another tool: edited in place, or given with --masks."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.bids_app.run import main

ANAT = 'sub-01/anat/sub-01'


def pumba(root: Path, *words: str, level: str = 'participant', n4: str = 'off') -> int:
    return main([
        str(root / 'bids'), str(root / 'out'), level, '-w', str(root / 'work'), '--sloppy',
        '--skip-bids-validation', '--nprocs', '1', '--device', 'cpu', '--n4', n4, *words,
    ])  # fmt: skip


def result(root: Path, ending: str) -> Path:
    return root / f'out/{ANAT}_{ending}'


def sidecar(root: Path, ending: str = 'desc-brain_mask') -> dict:
    return json.loads(result(root, f'{ending}.json').read_text())


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def edit(mask: Path) -> bytes:
    """Take a part of a mask away, and return its new content."""
    image = nib.load(mask)
    data = np.asarray(image.dataobj).copy()
    data[:, : data.shape[1] // 2] = 0
    nib.save(nib.Nifti1Image(data, image.affine, image.header), mask)
    return mask.read_bytes()


@pytest.fixture
def root(bids_dir: Path, tmp_path: Path) -> Path:
    """A data set of a T1w and a T2w image."""
    shutil.copytree(bids_dir / 'sub-01', tmp_path / 'bids/sub-01')
    shutil.copy(bids_dir / 'dataset_description.json', tmp_path / 'bids')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize('n4', ['mask', 'off'])
def test_look_correct_and_go_on(n4: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask, words = result(root, 'desc-brain_mask.nii.gz'), ('--modalities', 'T1w')
    assert pumba(root, *words, n4=n4) == 0
    first = values(mask)
    mine = edit(mask)

    # what is made of the mask follows it
    assert pumba(root, *words, n4=n4) == 0
    assert f'{mask}: was edited by hand and is kept' in capsys.readouterr().out
    assert mask.read_bytes() == mine
    content = sidecar(root)
    assert content['Manual'] is True
    assert content['ManualMask']['Source'] == 'edited in place'
    assert content['Quality']['manual'] is True
    assert 0 < content['Quality']['network_dice'] < 1
    assert not values(result(root, 'desc-brain_T1w.nii.gz'))[values(mask) == 0].any()
    np.testing.assert_array_equal(values(result(root, 'desc-network_mask.nii.gz')), first)
    assert pumba(root, *words, '--dry-run', n4=n4) == 0
    assert '0 to strip on cpu, 1 done before, 1 kept as edited' in capsys.readouterr().out

    # the page and the group show it
    page = (root / 'out/sub-01.html').read_text()
    assert 'the mask, a manual one' in page
    assert f'Dice overlap is {content["Quality"]["network_dice"]:.3f}' in ' '.join(page.split())
    assert pumba(root, level='group') == 0
    assert '1 with a manual mask' in capsys.readouterr().out
    with (root / 'out/group_T1w.tsv').open() as file:
        (row,) = csv.DictReader(file, delimiter='\t')
    assert row['manual'] == 'true'
    assert '1 with a manual mask' in ' '.join((root / 'out/group_T1w.html').read_text().split())

    # no option touches it
    assert pumba(root, *words, '--border-mm', '4', n4=n4) == 0
    assert mask.read_bytes() == mine
    assert sidecar(root)['BrainExtraction']['BorderMm'] == 4
    assert values(result(root, 'desc-network_mask.nii.gz')).sum() > first.sum()

    # but the one that says so
    capsys.readouterr()
    assert pumba(root, *words, '--discard-edits', n4=n4) == 0
    assert f'{mask}: the edited mask is discarded' in capsys.readouterr().out
    np.testing.assert_array_equal(values(mask), first)
    assert sidecar(root)['Manual'] is False
    assert not list((root / 'out').rglob('*network*'))
    assert 'the mask, a manual one' not in (root / 'out/sub-01.html').read_text()
    assert pumba(root, *words, '--dry-run', '--discard-edits', n4=n4) == 0
    assert '0 to strip on cpu, 1 done before' in capsys.readouterr().out


@pytest.mark.slow
def test_masks_of_another_tool(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ('--modalities', 'T1w', '--no-reports')
    theirs = root / f'theirs/{ANAT}_desc-brain_mask.nii.gz'
    theirs.parent.mkdir(parents=True)
    scan = nib.load(root / f'bids/{ANAT}_T1w.nii.gz')
    box = np.zeros(scan.shape)
    box[10:30, 10:30, 10:30] = 255
    nib.save(nib.Nifti1Image(box, scan.affine), theirs)
    assert pumba(root, *words, '--masks', str(root / 'theirs')) == 0
    mask = result(root, 'desc-brain_mask.nii.gz')
    np.testing.assert_array_equal(values(mask), box > 0)
    assert sidecar(root)['ManualMask']['Source'] == str(theirs)
    assert sidecar(root)['Manual'] is True
    capsys.readouterr()
    for again in ([], ['--masks', str(root / 'theirs')]):
        assert pumba(root, *words, *again, '--dry-run') == 0
        assert '0 to strip on cpu, 1 done before' in capsys.readouterr().out


def test_a_mask_on_another_grid_is_one_line_and_the_others_go_on(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = root / f'theirs/{ANAT}_desc-brain_mask.nii.gz'
    theirs.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)), theirs)
    code = pumba(root, '--masks', str(root / 'theirs'), '--dry-run')
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    (line,) = [one for one in lines if 'the mask is (9, 9, 9)' in one]
    assert str(theirs) in line and 'sub-01_T1w.nii.gz' in line
    assert '1 image: 1 to strip on cpu, 0 done before, 1 more cannot be done' in '\n'.join(lines)


@pytest.mark.parametrize('folder', ['nowhere', 'bids'])
def test_a_folder_without_masks_is_wrong_usage(
    root: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    assert pumba(root, '--masks', str(root / folder), '--dry-run') == 2
    printed = capsys.readouterr()
    assert f'--masks {root / folder}: no ' in printed.err
    assert 'Traceback' not in printed.err


def test_the_group_level_discards_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was accepted there, and did nothing."""
    assert main([str(root / 'bids'), str(root / 'out'), 'group', '--discard-edits']) == 2
    assert '--discard-edits: goes with the participant level' in capsys.readouterr().err
