"""Nodes at work: in a folder of their own, under each plugin, and in a process of a scheduler."""

import itertools
import os
import pickle
import stat
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline import engine as pe

from pumba_pipe.common.errors import OutputError
from pumba_pipe.interfaces import (
    ApplyMask,
    ClipIntensities,
    Conform,
    EvaluateMasks,
    N4BiasFieldCorrection,
    RegisterToTemplate,
    SkullStrip,
    SynthesizeHeads,
    bias_mem_gb,
    evaluate_mem_gb,
    image_mem_gb,
    register_mem_gb,
    synthesis_mem_gb,
    training_mem_gb,
)
from pumba_pipe.interfaces.folder import stem

SIDE = 32
SBATCH = """#!{python}
import subprocess, sys
subprocess.run(['bash', sys.argv[-1]], check=False)
print('Submitted batch job 42')
"""


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """A small image of two tissues, its mask, and another mask that is a little larger."""
    folder = tmp_path_factory.mktemp('image')
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 3, indexing='ij')
    radius = np.sqrt(x**2 + 1.3 * y**2 + 1.6 * z**2)
    rng = np.random.default_rng(2)
    data = np.where(radius < 0.5, 200, 100) * (radius < 0.8) * (1 + 0.3 * x)
    data = data + rng.normal(0, 3, data.shape) * (radius < 0.8)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    paths = {name: folder / f'{name}.nii.gz' for name in ('head', 'mask', 'larger')}
    for name, values in zip(paths, (data, radius < 0.5, radius < 0.55), strict=True):
        nib.save(nib.Nifti1Image(values.astype(np.int16), affine), paths[name])
    return {name: str(path) for name, path in paths.items()}


def preparation(image, folder, count=4):
    """A chain of nodes: conform, clip, N4, mask; or the first of these."""
    workflow = pe.Workflow('prepare', str(folder))
    quick = {'n_iterations': [3], 'num_threads': 1}
    nodes = [
        pe.Node(Conform(in_file=image['head']), 'conform', mem_gb=image_mem_gb((SIDE,) * 3)),
        pe.Node(ClipIntensities(), 'clip', mem_gb=image_mem_gb((SIDE,) * 3)),
        pe.Node(N4BiasFieldCorrection(**quick), 'n4', mem_gb=bias_mem_gb((SIDE,) * 3)),
        pe.Node(ApplyMask(in_mask=image['mask']), 'mask', mem_gb=image_mem_gb((SIDE,) * 3)),
    ][:count]
    for first, second in itertools.pairwise(nodes):
        workflow.connect(first, 'out_file', second, 'in_file')
    workflow.config['execution'] = {'crashdump_dir': str(folder), 'poll_sleep_duration': 0.2}
    return workflow


def assert_prepared(image, folder):
    name = 'head_conformed_clipped_corrected_masked.nii.gz'
    out = nib.load(folder / 'prepare' / 'mask' / name)
    inside = nib.load(image['mask']).get_fdata() > 0
    values = out.get_fdata()
    np.testing.assert_array_equal(out.affine, nib.load(image['head']).affine)
    assert (values[inside] > 0).all() and not values[~inside].any()


@pytest.mark.parametrize(
    ('plugin', 'arguments'), [('Linear', {}), ('MultiProc', {'n_procs': 2, 'memory_gb': 4})]
)
def test_a_chain_runs_under_a_plugin(image, tmp_path, plugin, arguments):
    preparation(image, tmp_path).run(plugin=plugin, plugin_args=arguments)
    assert_prepared(image, tmp_path)


def test_a_chain_runs_as_jobs_of_slurm(image, tmp_path, monkeypatch):
    """SLURM's plugin with an sbatch that runs the job at once, in a process of its own."""
    commands = tmp_path / 'commands'
    commands.mkdir()
    for name, text in (
        ('sbatch', SBATCH.format(python=sys.executable)),
        ('squeue', '#!/bin/sh\nexit 0\n'),
    ):
        (commands / name).write_text(text)
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv('PATH', f'{commands}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('LOGNAME', 'someone')
    preparation(image, tmp_path, count=2).run(plugin='SLURM')
    assert (tmp_path / 'prepare' / 'clip' / 'head_conformed_clipped.nii.gz').exists()


def test_a_second_run_computes_nothing(image, tmp_path):
    preparation(image, tmp_path).run(plugin='Linear')
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.nii.gz')}
    preparation(image, tmp_path).run(plugin='Linear')
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.nii.gz')} == made


def test_an_input_folder_is_not_written_to(image, tmp_path):
    before = set(Path(image['head']).parent.iterdir())
    node = pe.Node(
        N4BiasFieldCorrection(in_file=image['head'], n_iterations=[1]),
        'n4',
        base_dir=str(tmp_path),
    )
    outputs = node.run().outputs.get()
    assert {Path(path).parent for path in outputs.values()} == {tmp_path / 'n4'}
    assert set(Path(image['head']).parent.iterdir()) == before


def test_registration_lists_what_it_writes(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node = RegisterToTemplate(
        in_file=image['head'], template=image['head'], sloppy=True, num_threads=1
    )
    assert 'warped_mask' not in node._list_outputs()
    node.inputs.in_mask = node.inputs.template_mask = image['mask']
    listed = node._list_outputs()
    outputs = node.run().outputs.get()
    assert outputs == listed
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        Path(path).name for path in listed.values()
    )
    assert listed['forward_xfm'].endswith('.txt')
    node.inputs.transform = 'syn'
    assert node._list_outputs()['forward_xfm'].endswith('.h5')


def test_heads_are_made_and_scored(image, tmp_path, monkeypatch):
    heads = pe.Node(
        SynthesizeHeads(recipe='easy', count=2, seed=3, size=SIDE), 'heads', base_dir=tmp_path
    )
    monkeypatch.chdir(tmp_path)
    outputs = heads.run().outputs
    assert outputs.out_dir == str(tmp_path / 'heads' / 'heads')
    assert [Path(path).name for path in outputs.images] == [
        'sub-001_T1w.nii.gz', 'sub-002_T2w.nii.gz',
    ]  # fmt: skip
    for head, label in zip(outputs.images, outputs.labels, strict=True):
        assert nib.load(head).shape == nib.load(label).shape
    scores = pe.Node(
        EvaluateMasks(
            in_masks=outputs.labels, ground_truth=outputs.labels, in_files=outputs.images
        ),
        'scores',
        base_dir=tmp_path,
    )
    table = Path(scores.run().outputs.scores).read_text().splitlines()
    assert [row.split('\t')[:4] for row in table[1:]] == [
        ['sub-001_T1w', 'n/a', 'T1w', '1.0000'],
        ['sub-002_T2w', 'n/a', 'T2w', '1.0000'],
    ]


def test_masks_alone_can_be_scored(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = tmp_path / 'damaged.nii.gz'
    missing.write_bytes(b'no image')
    evaluate = EvaluateMasks(
        in_masks=[image['larger'], str(missing)],
        ground_truth=[image['mask'], image['mask']],
        cases=['good', 'bad'],
    )
    outputs = evaluate.run().outputs
    good, bad = (row.split('\t') for row in Path(outputs.scores).read_text().splitlines()[1:])
    assert good[0] == 'good' and 0.8 < float(good[3]) < 1
    assert bad[0] == 'bad' and bad[3] == 'n/a'
    assert Path(outputs.picture).stat().st_size > 1000
    assert '\t1\t1\t' in Path(outputs.summary).read_text().splitlines()[1]


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        ({'ground_truth': ['mask']}, 'in_masks'),
        ({'ground_truth': ['mask'], 'in_masks': ['mask', 'mask']}, 'has 2 entries'),
        ({}, 'must be given'),
    ],
)
def test_what_evaluation_lacks_is_named(image, tmp_path, monkeypatch, inputs, message):
    monkeypatch.chdir(tmp_path)
    given = {field: [image[name] for name in names] for field, names in inputs.items()}
    with pytest.raises(Exception, match=message):
        EvaluateMasks(**given).run()


def test_images_are_stripped_and_scored(image, tmp_path, monkeypatch):
    asked = {}

    def make_stripper(weights, device, threads):
        from pumba_pipe.evaluation.scoring import Prediction
        from pumba_pipe.images.volume import load_volume

        asked.update(weights=weights, device=device, threads=threads)
        volume = load_volume(image['head'])
        return lambda case: Prediction(volume, volume.data > 140)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('pumba_pipe.evaluation.scoring.make_stripper', make_stripper)
    evaluate = EvaluateMasks(
        in_files=[image['head']], ground_truth=[image['mask']], device='cuda:1', num_threads=2
    )
    row = Path(evaluate.run().outputs.scores).read_text().splitlines()[1].split('\t')
    assert row[0] == 'head' and float(row[3]) > 0.8
    assert asked == {'weights': None, 'device': 'cpu', 'threads': 2}


def test_a_path_is_no_name_for_an_output(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / 'm.nii.gz'), '../m.nii.gz', 'a/m.nii.gz'):
        with pytest.raises(OutputError, match='plain file name'):
            SkullStrip(in_file=image['head'], out_mask=name)._list_outputs()
        with pytest.raises(OutputError, match='plain file name'):
            SynthesizeHeads(out_dir=name)._list_outputs()


def test_a_long_name_of_long_letters_is_cut_off():
    for name in ('\u00e9' * 120, '\u65e5' * 80, 'a' * 250):
        assert 100 < len(os.fsencode(stem(f'{name}.nii.gz'))) <= 180
    assert stem('\udcff.nii.gz') == '\udcff'  # not UTF-8: kept


def test_a_node_in_a_file_runs_elsewhere(image, tmp_path):
    node = pe.Node(Conform(in_file=image['head']), 'conform', base_dir=str(tmp_path))
    result = pickle.loads(pickle.dumps(node)).run()
    assert Path(result.outputs.out_file).exists()


def test_memory_grows_with_what_is_done():
    for memory in (image_mem_gb, bias_mem_gb, register_mem_gb, evaluate_mem_gb):
        assert memory() == memory((256, 256, 256)) > memory((64, 64, 64)) > 0.1
    assert register_mem_gb(transform='syn') > register_mem_gb()
    assert synthesis_mem_gb(128) > synthesis_mem_gb(64) > 0.3
    assert training_mem_gb(96, 4) > training_mem_gb(96, 2) > training_mem_gb(64, 2)
    assert training_mem_gb(96, 2, 32) > training_mem_gb(96, 2, 16) == training_mem_gb(96, 2)
