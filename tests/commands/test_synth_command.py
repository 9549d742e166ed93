"""``pumba-synth``: a valid BIDS data set of synthetic heads."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.synth import main
from pumba_pipe.common.folder_lock import LOCK, only_run_in
from pumba_pipe.synthesis import dataset as heads_dataset
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.synthesis.sample import synthesize

SMALL = ['--size', '24', '--voxel-mm', '8']


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> Path:
    """Three heads; not to be changed."""
    folder = tmp_path_factory.mktemp('synth') / 'heads'
    assert main([str(folder), '-n', '3', '--seed', '5', *SMALL]) == 0
    return folder


def images_of(folder: Path) -> list[Path]:
    return sorted(folder.glob('sub-*/anat/*.nii.gz'))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def participants(folder: Path) -> list[list[str]]:
    return [line.split('\t') for line in (folder / 'participants.tsv').read_text().splitlines()]


def test_names(dataset):
    assert sorted(contents(dataset)) == sorted([
        '.bidsignore',
        'README',
        'dataset_description.json',
        'heads.png',
        'participants.json',
        'participants.tsv',
        'sub-001/anat/sub-001_T1w.nii.gz',
        'sub-002/anat/sub-002_T2w.nii.gz',
        'sub-003/anat/sub-003_T1w.nii.gz',
        'derivatives/labels/README',
        'derivatives/labels/dataset_description.json',
        *(
            f'derivatives/labels/sub-00{i}/anat/sub-00{i}_desc-brain_mask.{ending}'
            for i in (1, 2, 3)
            for ending in ('json', 'nii.gz')
        ),
    ])  # fmt: skip


def test_images_and_masks_share_a_grid(dataset):
    masks = images_of(dataset / 'derivatives' / 'labels')
    assert len(masks) == 3
    for image_path, mask_path in zip(images_of(dataset), masks, strict=True):
        image, mask = nib.load(image_path), nib.load(mask_path)
        assert image.shape == mask.shape and max(image.shape) <= 24
        assert np.array_equal(image.affine, mask.affine)
        np.testing.assert_allclose(image.header.get_zooms(), 8)
        assert image.get_data_dtype() == np.int16 and mask.get_data_dtype() == np.uint8
        data, inside = np.asarray(image.dataobj), np.asarray(mask.dataobj)
        assert data.min() >= 0 and 900 < data.max() <= 1000
        assert set(np.unique(inside)) == {0, 1}
        assert image.header['sform_code'] == image.header['qform_code'] == 1


def test_sidecars_name_their_image(dataset):
    sidecar = dataset / 'derivatives/labels/sub-002/anat/sub-002_desc-brain_mask.json'
    content = json.loads(sidecar.read_text())
    assert content['Type'] == 'Brain'
    assert content['Sources'] == ['bids:raw:sub-002/anat/sub-002_T2w.nii.gz']


def test_a_head_can_be_made_again_from_its_seed(dataset):
    header, *rows = participants(dataset)
    assert header == ['participant_id', 'species', 'seed']
    assert [row[0] for row in rows] == ['sub-001', 'sub-002', 'sub-003']
    for row, path in zip(rows, images_of(dataset), strict=True):
        sample = synthesize(load_recipe('default'), int(row[2]), (24, 24, 24))
        image = nib.load(path)
        corner = np.rint(image.affine[:3, 3] / 8 + 11.5).astype(int)
        view = tuple(slice(c, c + n) for c, n in zip(corner, image.shape, strict=True))
        assert sample.inside[view].all() and int(sample.inside.sum()) == np.prod(image.shape)
        grey = np.rint(sample.image[view].numpy() * 1000)
        assert np.array_equal(grey, np.asarray(image.dataobj))


def test_the_validator_has_no_complaints(dataset, bids_errors):
    for folder in (dataset, dataset / 'derivatives' / 'labels'):
        assert bids_errors(folder) == []


def test_same_seed_same_bytes_and_the_number_of_heads_changes_none(dataset, tmp_path):
    again = tmp_path / 'again'
    assert main([str(again), '-n', '3', '--seed', '5', *SMALL]) == 0
    assert contents(again) == contents(dataset)
    assert main([str(again), '-n', '1', '--seed', '5', *SMALL]) == 0
    assert images_of(again)[0].read_bytes() == images_of(dataset)[0].read_bytes()
    assert len(images_of(again)) == len(images_of(again / 'derivatives' / 'labels')) == 1
    other = tmp_path / 'other'
    assert main([str(other), '-n', '1', '--seed', '6', *SMALL]) == 0
    assert images_of(other)[0].read_bytes() != images_of(dataset)[0].read_bytes()


def test_other_derivatives_in_an_own_folder_are_kept(tmp_path):
    folder = tmp_path / 'heads'
    assert main([str(folder), '-n', '2', *SMALL]) == 0
    result = folder / 'derivatives' / 'pumba' / 'sub-001' / 'kept.txt'
    result.parent.mkdir(parents=True)
    result.touch()
    assert main([str(folder), '-n', '1', *SMALL]) == 0
    assert result.exists()
    assert len(images_of(folder)) == 1 and len(participants(folder)) == 2


def test_a_broken_off_data_set_is_made_anew(dataset, tmp_path, monkeypatch):
    folder = tmp_path / 'heads'

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(heads_dataset, '_panel', interrupted)
        assert main([str(folder), '-n', '3', '--seed', '5', *SMALL]) == 130
    assert not (folder / 'dataset_description.json').exists()
    assert main([str(folder), '-n', '3', '--seed', '5', *SMALL]) == 0
    assert contents(folder) == contents(dataset)


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / 'mine.txt').write_text('mine')
    (tmp_path / 'dataset_description.json').write_text('{"GeneratedBy": [{"Name": "other"}]}')
    before = contents(tmp_path)
    for folder in (tmp_path, tmp_path / 'mine.txt'):
        assert main([str(folder), *SMALL]) == 1
        message = capsys.readouterr().err.strip()
        assert message.startswith('pumba-synth: error: ') and '\n' not in message
    assert contents(tmp_path) == before


def test_two_runs_do_not_share_a_folder(tmp_path, capsys):
    """The second would remove the heads of the first, and both would end well."""
    with only_run_in(tmp_path / 'heads'):
        assert main([str(tmp_path / 'heads'), '-n', '1', *SMALL]) == 1
        assert 'another run is at work here' in capsys.readouterr().err
        (tmp_path / 'heads' / LOCK).rename(tmp_path / LOCK)
    assert main([str(tmp_path / 'heads'), '-n', '1', *SMALL]) == 0
    (tmp_path / LOCK).rename(tmp_path / 'heads' / LOCK)  # as after a run that was killed
    assert main([str(tmp_path / 'heads'), '-n', '1', *SMALL]) == 0
    assert not (tmp_path / 'heads' / LOCK).exists()


def test_a_lock_in_the_folder_of_somebody_else_stays(tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    (tmp_path / LOCK).write_text('mine, too')
    assert main([str(tmp_path), '-n', '1', *SMALL]) == 1
    assert (tmp_path / LOCK).read_text() == 'mine, too'


def test_recipes_and_suffixes(tmp_path):
    assert main([str(tmp_path / 'p'), '-n', '1', '--recipe', 'paper', *SMALL]) == 0
    recipe = tmp_path / 'mine.toml'
    recipe.write_text('[artefact]\ncrop = 0.0\nslab = 0.0\n')
    arguments = [str(tmp_path / 'm'), '-n', '3', '--recipe', str(recipe), *SMALL]
    assert main([*arguments, '--suffixes', 'FLAIR', 'PDw']) == 0
    images = images_of(tmp_path / 'm')
    assert [path.name.split('_')[1] for path in images] == [
        'FLAIR.nii.gz', 'PDw.nii.gz', 'FLAIR.nii.gz',
    ]  # fmt: skip
    assert all(nib.load(path).shape == (24, 24, 24) for path in images)
    assert 'mine' in (tmp_path / 'm' / 'README').read_text()


def test_a_recipe_that_cannot_be_used_leaves_nothing(tmp_path, capsys):
    recipe = tmp_path / 'mine.toml'
    recipe.write_text('[brain]\nlobes = [3, 1]\n')
    for name in ('nope', str(recipe)):
        assert main([str(tmp_path / 'out'), '--recipe', name, *SMALL]) == 1
        assert capsys.readouterr().err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_a_recipe_that_shows_no_brain_ends(tmp_path, capsys):
    recipe = tmp_path / 'mine.toml'
    recipe.write_text('[artefact]\nslab = 1.0\nslab_thickness = [0.01, 0.01]\n')
    assert main([str(tmp_path / 'out'), '--recipe', str(recipe), '-n', '1', *SMALL]) == 1
    assert 'in a row' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['out', '-n', '0'],
        ['out', '--size', '8'],
        ['out', '--seed', '-1'],
        ['out', '--seed', str(2**70)],
        ['out', '-n', str(10**21)],
        ['out', '--voxel-mm', '0'],
        ['out', '--voxel-mm', '1e-300'],
        ['out', '--voxel-mm', '1e300'],
        ['out', '--suffixes', 'T3w'],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_imports_nothing_heavy():
    code = (
        'import sys\n'
        'from pumba_pipe.commands.synth import build_parser\n'
        'build_parser().format_help()\n'
        "print([m for m in ('torch', 'numpy', 'nibabel', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.stdout.strip() == '[]', result.stderr
