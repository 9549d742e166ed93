"""Snapshots of a training run, and their scores."""

import shutil

import nibabel as nib
import numpy as np

from pumba_pipe.commands.learning_curve import main
from pumba_pipe.commands.train import main as train_main
from pumba_pipe.evaluation.learning_curve import COLUMNS
from pumba_pipe.network.weights import load_weights, save_weights


def test_snapshots_of_a_run_are_scored_in_the_order_of_samples(
    head, head_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv('PUMBA_WEIGHTS', raising=False)
    case = tmp_path / 'cases' / 'human_T1w_made'
    case.mkdir(parents=True)
    shutil.copy(head_file, case / 'image.nii.gz')
    affine = nib.load(head_file).affine
    nib.save(nib.Nifti1Image(head[1].astype(np.uint8), affine), case / 'mask.nii.gz')
    shutil.copytree(case, tmp_path / 'cases' / 'mouse_T2w_left_out')

    sizes = ['--coarse-size', '32', '--widths', '4', '8', '--cache-size', '4']
    run = ['--stage', 'coarse', '--steps', '3', '--snapshots', '--checkpoint-minutes', '0.000001']
    quick = ['--device', 'cpu', '-q', '--no-calibration']
    assert train_main([str(tmp_path / 'run'), *sizes, *run, *quick]) == 0
    stage = tmp_path / 'run' / 'coarse'
    names = [path.name for path in sorted(stage.glob('weights-*'))]
    assert names == [f'weights-{samples:08d}.safetensors' for samples in (2, 4, 6)]
    entry = load_weights(stage / names[1]).card['stages']['coarse']
    finished = load_weights(tmp_path / 'run' / 'weights.safetensors').card['stages']['coarse']
    assert (entry['samples'], entry['steps'], entry['initial']) == (4, 2, 'random values')
    assert entry.keys() == finished.keys()
    for name in names[1:]:
        (stage / name).unlink()
    shipped = load_weights()
    seen = {'samples': 100, 'seconds': 90}
    card = {'stages': {'coarse': seen, 'fine': {'samples': 7, 'seconds': 7}}}
    stages = {'coarse': shipped.coarse, 'fine': shipped.fine}
    save_weights(stages, card, stage / 'weights-00000100.safetensors')

    out = tmp_path / 'curve.tsv'
    assert main([str(stage), str(tmp_path / 'cases'), str(out), 'human_T1w_made']) == 0
    header, *rows = [line.split('\t') for line in out.read_text().splitlines()]
    assert tuple(header) == COLUMNS
    assert [row[:4] for row in rows][2:] == [
        ['100', '1.5', 'all', '1'],
        ['100', '1.5', 'human', '1'],
    ]
    assert float(rows[0][4]) < 0.5 < 0.8 < float(rows[2][4])


def test_a_folder_without_snapshots_is_refused_in_one_line(tmp_path, capsys):
    folder = tmp_path / 'cases' / 'human_T1w_a'
    folder.mkdir(parents=True)
    words = [str(tmp_path), str(tmp_path / 'cases'), str(tmp_path / 'out.tsv')]
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    nib.save(image, folder / 'image.nii.gz')
    assert main(words) == 1
    assert 'no mask.nii.gz' in capsys.readouterr().err
    nib.save(image, folder / 'mask.nii.gz')
    assert main(words) == 1
    assert 'train with --snapshots' in capsys.readouterr().err
    assert not (tmp_path / 'out.tsv').exists()
