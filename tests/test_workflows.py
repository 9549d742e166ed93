import json
import os
from pathlib import Path

import pytest
from pumba_pipe.workflows import StripSettings, init_ds_brain_wf, init_participant_wf
from pumba_pipe.workflows.base import image_shape
from pumba_pipe.workflows.naming import brain_path, mask_path, node_name, parse_name
from pumba_pipe.workflows.outputs import BrainOutputs

SHA = 'ab' * 32


@pytest.fixture
def settings(tmp_path):
    weights = tmp_path / 'w.safetensors'
    weights.write_bytes(b'')
    return StripSettings(weights=weights, sha256=SHA, num_threads=3)


@pytest.fixture
def t1w(bids_dir, tmp_path, settings):
    source = bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    return BrainOutputs(source, bids_dir, tmp_path / 'out', settings.parameters())


def make_outputs(outputs):
    for image, metadata in (
        (outputs.mask, outputs.mask_metadata()),
        (outputs.brain, outputs.brain_metadata()),
    ):
        image.parent.mkdir(parents=True, exist_ok=True)
        Path(str(image).replace('.nii.gz', '.json')).write_text(json.dumps(metadata))
        image.write_bytes(b'image')


@pytest.mark.parametrize(
    ('source', 'mask', 'brain'),
    [
        ('sub-01_T1w', 'sub-01_desc-brain_mask', 'sub-01_desc-brain_T1w'),
        ('sub-01_T2w', 'sub-01_space-T2w_desc-brain_mask', 'sub-01_desc-brain_T2w'),
        (
            'sub-01_ses-a_acq-x_run-01_T1w',
            'sub-01_ses-a_acq-x_run-01_desc-brain_mask',
            'sub-01_ses-a_acq-x_run-01_desc-brain_T1w',
        ),
        (
            'sub-01_inv-2_part-mag_MP2RAGE',
            'sub-01_part-mag_space-MP2RAGEinv2_desc-brain_mask',
            'sub-01_inv-2_part-mag_desc-brain_MP2RAGE',
        ),
        (
            'sub-01_echo-2_chunk-1_PDw',
            'sub-01_echo-2_space-PDw_chunk-1_desc-brain_mask',
            'sub-01_echo-2_chunk-1_desc-brain_PDw',
        ),
    ],
)
def test_names_of_derivatives(source, mask, brain):
    name = parse_name(Path(f'{source}.nii.gz'))
    assert mask_path(name).name == f'{mask}.nii.gz'
    assert brain_path(name).name == f'{brain}.nii.gz'


def test_no_two_images_share_a_name():
    sources = [
        f'sub-01_{entities}{suffix}.nii'
        for entities in ('', 'acq-x_', 'acq-x_run-1_', 'run-1_', 'inv-1_', 'inv-1_flip-1_')
        for suffix in ('T1w', 'T2w', 'UNIT1', 'MP2RAGE', 'VFA')
    ]  # fmt: skip
    names = [parse_name(Path(source)) for source in sources]
    for make in (mask_path, brain_path, node_name):
        assert len({make(name) for name in names}) == len(sources)


@pytest.mark.parametrize(
    ('file', 'valid'),
    [
        ('sub-01_T1w.nii.gz', True),
        ('T1w.nii.gz', False),
        ('ses-1_T1w.nii.gz', False),
        ('sub-01_copy_T1w.nii.gz', False),
        ('sub-01__T1w.nii.gz', False),
    ],
)
def test_names_that_are_not_bids(file, valid):
    assert parse_name(Path(file)).is_bids is valid


def test_nodes_declare_what_they_need(t1w, settings, tmp_path):
    workflow = init_participant_wf(images=[t1w], settings=settings, crash_dir=tmp_path / 'log')
    strip = workflow.get_node('strip_sub01_T1w')
    assert strip.n_procs == strip.inputs.num_threads == 3
    assert 0.4 < strip.mem_gb < 1
    assert not strip.is_gpu_node()
    assert strip.inputs.model == str(settings.weights)
    configs = [workflow.get_node(name).config for name in workflow.list_node_names()]
    assert {c['execution']['crashdump_dir'] for c in configs} == {str(tmp_path / 'log')}


def test_a_gpu_is_reserved_only_on_a_gpu(t1w, settings, tmp_path):
    on_gpu = StripSettings(weights=settings.weights, sha256=SHA, device='cuda:0')
    workflow = init_participant_wf(images=[t1w], settings=on_gpu, crash_dir=tmp_path)
    strip = workflow.get_node('strip_sub01_T1w')
    assert strip.is_gpu_node()
    assert strip.inputs.device == 'cuda:0'


def test_sinks_write_mask_and_brain(t1w, tmp_path):
    files = {}
    for field in ('out_mask', 'out_file'):
        files[field] = tmp_path / f'{field}.nii.gz'
        files[field].write_text(field)
    files['quality'] = tmp_path / 'quality.json'
    files['quality'].write_text('{"confidence": 1.0}')
    workflow = init_ds_brain_wf(outputs=t1w)
    workflow.base_dir = str(tmp_path / 'work')
    workflow.inputs.inputnode.trait_set(**{field: str(path) for field, path in files.items()})
    workflow.run()
    assert t1w.mask.read_text() == 'out_mask'
    assert t1w.brain.read_text() == 'out_file'
    sidecar = json.loads(t1w.mask.with_name('sub-01_desc-brain_mask.json').read_text())
    assert sidecar['Type'] == 'Brain'
    assert sidecar['Sources'] == ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']
    assert sidecar['Quality'] == {'confidence': 1.0}
    assert t1w.state() == 'done'


def test_state_of_outputs(t1w):
    assert t1w.state() == 'missing'
    make_outputs(t1w)
    assert t1w.state() == 'done'
    t1w.brain.write_bytes(b'')
    assert t1w.state() == 'missing'
    make_outputs(t1w)
    t1w.mask.with_name('sub-01_desc-brain_mask.json').write_text('{half')
    assert t1w.state() == 'missing'


def test_outputs_are_outdated_when_the_image_or_the_options_change(t1w):
    make_outputs(t1w)
    other = BrainOutputs(
        t1w.source, t1w.bids_dir, t1w.output_dir, {**t1w.parameters, 'BorderMm': 2.0}
    )
    assert other.state() == 'outdated'
    before = t1w.source.stat().st_mtime - 60
    os.utime(t1w.mask, (before, before))
    assert t1w.state() == 'outdated'


def test_shape_of_an_unreadable_image_is_unknown(tmp_path):
    broken = tmp_path / 'x.nii.gz'
    broken.write_bytes(b'no image')
    assert image_shape(broken) is None
