"""Workflows carried out on a synthetic head."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.workflows import (
    Space,
    StripSettings,
    Template,
    init_anat_preproc_wf,
    init_participant_wf,
    init_reference_wf,
)
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.training import init_synthetic_training_wf, train

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.interfaces import training_mem_gb
from pumba_pipe.network.weights import default_weights, load_weights

T1W = 'sub-01/anat/sub-01_T1w.nii.gz'
TINY = {
    'batch': 1, 'coarse_size': 16, 'fine_size': 16, 'widths': [2, 4], 'cache_size': 2,
    'calibrate': False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Forked workers inherit it: torch hangs in them where it used more threads here before."""
    from pumba_pipe.network.devices import limited_threads

    with limited_threads(1):
        yield


@pytest.fixture(scope='module')
def template(head, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The synthetic head itself, moved by 6 mm."""
    folder = tmp_path_factory.mktemp('templates') / 'tpl-X'
    folder.mkdir()
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = 6
    files = []
    for name, data in zip(('T1w', 'desc-brain_mask'), head, strict=True):
        files.append(folder / f'tpl-X_{name}.nii.gz')
        nib.save(nib.Nifti1Image(data.astype(np.float32), affine), files[-1])
    return Template(files[0], files[1], None, Space('X'))


@pytest.fixture(scope='module')
def settings(template: Template) -> StripSettings:
    from pumba_pipe.network.weights import default_weights

    return StripSettings(
        weights=default_weights(),
        sha256='ab',
        spaces=(template,),
        probability=True,
        sloppy=True,
    )


@pytest.fixture
def data(head_file: Path, tmp_path: Path) -> Path:
    """A data set of one head under two names."""
    for suffix in ('T1w', 'T2w'):
        path = tmp_path / f'bids/sub-01/anat/sub-01_{suffix}.nii.gz'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head_file.read_bytes())
    return tmp_path / 'bids'


def values(path: Path | str) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_participant_from_images_to_derivatives(data, settings, template, head, tmp_path):
    images = [BrainOutputs(data / T1W, data, tmp_path / 'out', settings)]
    workflow = init_participant_wf(images=images, settings=settings, crash_dir=tmp_path / 'log')
    workflow.base_dir = str(tmp_path / 'work')
    workflow.run(plugin='MultiProc', plugin_args={'n_procs': 2, 'raise_insufficient': False})
    (t1w,) = images
    assert t1w.state() == 'done'
    mask = values(t1w.mask).astype(bool)
    preproc, brain = values(t1w.preproc), values(t1w.brain)
    assert dice(mask, head[1].astype(bool)) > 0.8
    np.testing.assert_array_equal(brain, np.where(mask, preproc, 0))
    assert not np.array_equal(preproc, values(t1w.source))
    registered = {target.field: target.path for target in t1w.registered(template)}
    warped = nib.load(registered['warped_mask'])
    np.testing.assert_allclose(warped.affine, nib.load(template.path).affine)
    assert dice(values(registered['warped_mask']).astype(bool), head[1].astype(bool)) > 0.8
    assert registered['forward_xfm'].read_text().startswith('#Insight Transform File')
    sidecar = json.loads(
        registered['warped_file'].with_suffix('').with_suffix('.json').read_text()
    )
    assert sidecar['SpatialReference'] == 'bids:templateflow:tpl-X/tpl-X_T1w.nii.gz'


def test_a_figure_that_fails_does_not_lose_the_mask(data, settings, tmp_path, monkeypatch):
    import pumba_pipe.reports.figures

    def broken(*arguments: object) -> None:
        raise ValueError('no pictures today')

    monkeypatch.setattr(pumba_pipe.reports.figures, 'write_figures', broken)
    plain = dataclasses.replace(settings, spaces=())
    outputs = BrainOutputs(data / T1W, data, tmp_path, plain)
    workflow = init_participant_wf(images=[outputs], settings=plain, crash_dir=tmp_path / 'log')
    workflow.base_dir = str(tmp_path / 'work')
    with pytest.raises(RuntimeError):
        workflow.run(plugin='Linear')
    assert outputs.mask.stat().st_size
    assert outputs.brain.stat().st_size
    assert outputs.state() == 'missing'


def test_preparation_without_bids(data, settings, tmp_path, run_for):
    images = sorted(data.rglob('*.nii.gz'))
    plain = dataclasses.replace(settings, reports=False, probability=False)
    workflow = init_anat_preproc_wf(images=images, settings=plain)
    found = run_for(workflow, ('out_mask', 'bias_corrected', 'warped_mask'), tmp_path)
    for files in found.values():
        assert [Path(file).name.split('_')[1] for file in files] == ['T1w', 'T2w']


def test_reference_of_a_series_and_its_mask(head, tmp_path, run_for):
    rng = np.random.default_rng(0)
    frames = [head[0] * 1000 + rng.normal(0, 5, head[0].shape) for _ in range(8)]
    frames[0] = frames[0] * 1.4  # not yet steady
    frames[5] = np.roll(frames[5], 9, axis=1)  # moved
    series = tmp_path / 'sub-01_task-rest_bold.nii.gz'
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.stack(frames, -1).astype(np.int16), affine), series)
    workflow = init_reference_wf(shape=(64, 64, 64, 8))
    workflow.inputs.inputnode.in_file = str(series)
    found = run_for(workflow, ('reference', 'record', 'out_mask', 'out_file'), tmp_path)
    record = json.loads(Path(found['record']).read_text())
    assert record['Dropped'] == [0, 5]
    np.testing.assert_allclose(values(found['reference']), head[0] * 1000, atol=15)
    assert dice(values(found['out_mask']).astype(bool), head[1].astype(bool)) > 0.8


def test_training_as_a_workflow(tmp_path):
    # two steps teach nothing: only a network that has learned finds a brain to score
    sizes = {'coarse_size': 48, 'fine_size': 64}
    options = {'init_weights': default_weights(), 'training': {**TINY, **sizes}}
    train(tmp_path, steps=2, heads=1, head_size=48, **options)
    names = {path.name for path in tmp_path.iterdir()} - {'work'}
    assert names == {
        'weights.safetensors', 'weights.md', 'log.tsv', 'scores.tsv', 'summary.tsv', 'worst.png',
    }  # fmt: skip
    assert 'sub-001' in (tmp_path / 'scores.tsv').read_text()


def test_a_training_that_fails_says_why(tmp_path):
    with pytest.raises(PumbaError, match='no_such_recipe'):
        train(tmp_path, recipe='no_such_recipe', steps=1, heads=1, head_size=48, training=TINY)


def test_training_reserves_what_it_uses():
    going_on = init_synthetic_training_wf(init_weights=default_weights()).get_node('train')
    fine = load_weights().fine
    size = load_weights().card['stages']['fine']['size']
    assert going_on.mem_gb == training_mem_gb(size, 2, fine.config.widths[0])
    workflow = init_synthetic_training_wf(use_gpu=True, num_threads=2, training={'batch': 8})
    node = workflow.get_node('train')
    assert node.is_gpu_node()
    assert node.n_procs == 2
    small = init_synthetic_training_wf(training={'batch': 1}).get_node('train')
    assert node.mem_gb > small.mem_gb > 0.5
