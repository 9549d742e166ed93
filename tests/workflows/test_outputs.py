import dataclasses
import json
import os
from pathlib import Path

import pytest
from pumba_pipe.workflows import StripSettings, init_ds_brain_wf, init_participant_wf
from pumba_pipe.workflows.base import image_shape
from pumba_pipe.workflows.done import judge, refresh
from pumba_pipe.workflows.manual_masks import given_mask
from pumba_pipe.workflows.naming import (
    brain_path,
    mask_path,
    node_name,
    parse_name,
    preproc_path,
    probability_path,
    transform_paths,
)
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.templates import Space, Template

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import record_of
from pumba_pipe.interfaces import SaveDerivative, SaveFigures
from pumba_pipe.results.judgement import OTHER_METHOD, Judgement
from pumba_pipe.results.sidecars import read_sidecar, sidecar_of

SHA = 'ab' * 32


@pytest.fixture
def settings(tmp_path):
    weights = tmp_path / 'w.safetensors'
    weights.write_bytes(b'')
    return StripSettings(weights=weights, sha256=SHA, num_threads=3)


@pytest.fixture
def t1w(bids_dir, tmp_path, settings):
    source = bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    return BrainOutputs(source, bids_dir, tmp_path / 'out', settings)


@pytest.fixture
def everything(t1w, settings, tmp_path):
    """All that can be asked for."""
    path = tmp_path / 'templates/tpl-X/tpl-X_res-02_T1w.nii.gz'
    path.parent.mkdir(parents=True)
    path.write_bytes(b'')
    template = Template(path, None, 2, Space('X', None, 2))
    asked = dataclasses.replace(settings, spaces=(template,), probability=True)
    return dataclasses.replace(t1w, settings=asked)


def make_outputs(outputs, value=b'image'):
    """Write results as the sinks do, with something else in them."""
    record = record_of(outputs.source)
    content = outputs.output_dir.parent / 'content'
    content.write_bytes(value)
    given = {'source_file': str(outputs.source), 'source_record': record}
    for target in outputs.everything():
        SaveDerivative(
            in_file=str(content), out_path=str(target.path), metadata=target.metadata, **given
        ).run()
    figures = outputs.figures
    SaveFigures(
        **dict.fromkeys(figures, str(content)),
        **given,
        out_paths={figure: str(path) for figure, path in figures.items()},
        record_path=str(outputs.figure_record),
    ).run()


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
    in_space = [lambda name, m=make: m(name, Space('X')) for make in (mask_path, preproc_path)]
    transforms = lambda name: transform_paths(name, Space('X'), '.txt')  # noqa: E731
    for make in (
        mask_path, brain_path, node_name, preproc_path, probability_path, transforms, *in_space
    ):  # fmt: skip
        assert len({make(name) for name in names}) == len(sources)


def test_names_in_a_standard_space():
    name = parse_name(Path('sub-01_ses-a_run-2_chunk-1_T2w.nii.gz'))
    space = Space('MNIPediatricAsym', '2', 1)
    assert preproc_path(name, space).as_posix() == (
        'sub-01/ses-a/anat/sub-01_ses-a_run-2_space-MNIPediatricAsym+2_chunk-1_res-1_'
        'desc-preproc_T2w.nii.gz'
    )
    assert mask_path(name, space).name == (
        'sub-01_ses-a_run-2_space-MNIPediatricAsym+2_chunk-1_res-1_desc-brainT2w_mask.nii.gz'
    )
    there, back = transform_paths(name, space, '.h5')
    start = 'sub-01_ses-a_run-2_chunk-1'
    assert there.name == f'{start}_from-T2w_to-MNIPediatricAsym+2_mode-image_xfm.h5'
    assert back.name == f'{start}_from-MNIPediatricAsym+2_to-T2w_mode-image_xfm.h5'
    t1w = parse_name(Path('sub-01_T1w.nii.gz'))
    assert mask_path(t1w, Space('X')).name == 'sub-01_space-X_desc-brain_mask.nii.gz'


@pytest.mark.parametrize(
    ('source', 'preproc'),
    [
        ('sub-01_T1w', 'sub-01_desc-preproc_T1w'),
        ('sub-01_T2w', 'sub-01_space-T2w_desc-preproc_T2w'),
        ('sub-01_inv-2_MP2RAGE', 'sub-01_inv-2_space-MP2RAGEinv2_desc-preproc_MP2RAGE'),
    ],
)
def test_other_tools_take_only_t1w_images_as_prepared(source, preproc):
    assert preproc_path(parse_name(Path(f'{source}.nii.gz'))).name == f'{preproc}.nii.gz'


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
    strip = workflow.get_node('sub01_T1w_wf.strip')
    assert strip.n_procs == strip.inputs.num_threads == 3
    assert 0.4 < strip.mem_gb < 1
    assert not strip.is_gpu_node()
    assert strip.inputs.model == str(settings.weights)
    bias = workflow.get_node('sub01_T1w_wf.inu_n4_final')
    assert bias.n_procs == bias.inputs.num_threads == 3
    nodes = [workflow.get_node(name) for name in workflow.list_node_names()]
    assert {n.config['execution']['crashdump_dir'] for n in nodes} == {str(tmp_path / 'log')}


def test_a_gpu_is_reserved_only_on_a_gpu(t1w, settings, tmp_path):
    on_gpu = dataclasses.replace(settings, device='cuda:0')
    workflow = init_participant_wf(images=[t1w], settings=on_gpu, crash_dir=tmp_path)
    nodes = [workflow.get_node(name) for name in workflow.list_node_names()]
    assert [node.name for node in nodes if node.is_gpu_node()] == ['strip']
    assert workflow.get_node('sub01_T1w_wf.strip').inputs.device == 'cuda:0'


def test_only_what_is_asked_for_is_done(t1w, everything, settings, tmp_path):
    def names(settings, outputs):
        outputs = dataclasses.replace(outputs, settings=settings)
        workflow = init_participant_wf(images=[outputs], settings=settings, crash_dir=tmp_path)
        return {name.split('.')[-1] for name in workflow.list_node_names()}

    least = dataclasses.replace(settings, n4='off', reports=False)
    assert names(least, t1w) == {
        'inputnode', 'outputnode', 'strip', 'conform', 'ds_mask', 'ds_bias_corrected', 'ds_file',
        'record_sub01_T1w',
    }  # fmt: skip
    assert 'inu_n4' not in names(settings, t1w)
    most = names(dataclasses.replace(everything.settings, n4='both'), t1w)
    assert {'inu_n4', 'inu_n4_final', 'report', 'register', 'ds_prob', 'ds_figures'} <= most
    assert {'ds_forward_xfm', 'ds_warped_mask'} <= most


def test_maps_of_physical_values_are_not_corrected(bids_dir, settings, tmp_path):
    source = bids_dir / 'sub-01/anat/sub-01_T1map.nii.gz'
    outputs = BrainOutputs(source, bids_dir, tmp_path / 'out', settings)
    workflow = init_participant_wf(images=[outputs], settings=settings, crash_dir=tmp_path)
    assert not [name for name in workflow.list_node_names() if 'n4' in name]
    assert outputs.targets()[0].metadata['BrainExtraction']['BiasCorrection'] == 'none'


@pytest.mark.parametrize(
    ('n4', 'word'),
    [('off', 'none'), ('mask', 'N4 after stripping'), ('both', 'N4 before and after stripping')],
)
def test_sidecars_say_when_images_were_corrected(t1w, settings, n4, word):
    outputs = dataclasses.replace(t1w, settings=dataclasses.replace(settings, n4=n4))
    for target in outputs.targets():
        assert target.metadata['BrainExtraction']['BiasCorrection'] == word
        claims = 'non-uniformity' in target.metadata['Description']
        assert claims == (n4 != 'off' and target.field != 'out_mask')


def test_an_unknown_correction_is_refused(settings):
    with pytest.raises(InputError, match="n4 'twice': must be off, mask or both"):
        dataclasses.replace(settings, n4='twice')


def test_a_space_cannot_be_asked_for_twice(settings):
    twice = [Template(Path('x'), None, n, Space('X', None, n)) for n in (1, 2)]
    with pytest.raises(InputError, match='space X: asked for 2 times'):
        dataclasses.replace(settings, spaces=tuple(twice))


def test_sinks_write_everything(t1w, tmp_path):
    files = {}
    for target in t1w.targets():
        files[target.field] = tmp_path / f'{target.field}.nii.gz'
        files[target.field].write_text(target.field)
    for figure in t1w.figures:
        files[figure] = tmp_path / f'{figure}.png'
        files[figure].write_text(figure)
    files['quality'] = tmp_path / 'quality.json'
    files['quality'].write_text('{"expected_dice": 1.0}')
    workflow = init_ds_brain_wf(outputs=t1w)
    workflow.base_dir = str(tmp_path / 'work')
    workflow.inputs.inputnode.trait_set(**{field: str(path) for field, path in files.items()})
    workflow.inputs.inputnode.source_record = record_of(t1w.source)
    workflow.run()
    assert t1w.mask.read_text() == 'out_mask'
    assert t1w.brain.read_text() == 'out_file'
    assert t1w.preproc.read_text() == 'bias_corrected'
    figures = sorted(path.name for path in (t1w.output_dir / 'sub-01/figures').iterdir())
    assert figures == [
        'sub-01_desc-beforeafter_T1w.png',
        'sub-01_desc-figures_T1w.json',
        'sub-01_desc-mosaic_T1w.png',
        'sub-01_desc-thumbnail_T1w.jpg',
        'sub-01_desc-viewer_T1w.json',
    ]
    sidecar = json.loads(t1w.mask.with_name('sub-01_desc-brain_mask.json').read_text())
    assert sidecar['Type'] == 'Brain'
    assert sidecar['Sources'] == ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']
    assert sidecar['Quality'] == {'expected_dice': 1.0}
    assert t1w.state() == 'done'


def test_state_of_outputs(everything):
    assert everything.state() == 'missing'
    make_outputs(everything)
    assert everything.state() == 'done'
    for path in (*(t.path for t in everything.everything()), *everything.figures.values()):
        path.write_bytes(b'')
        assert everything.state() == 'missing', path
        path.unlink()
        assert everything.state() == 'missing', path
        path.write_bytes(b'image')
    everything.brain.with_name('sub-01_desc-brain_T1w.json').write_text('{half')
    assert everything.state() == 'missing'


@pytest.mark.parametrize(
    'change',
    [
        {'border_mm': 2.0},
        {'csf': 'include'},
        {'n4': 'off'},
        {'n4': 'both'},
        {'seed': 2},
        {'sha256': 'cd' * 32},
    ],
)
def test_outputs_are_outdated_when_the_options_change(everything, change):
    make_outputs(everything)
    other = dataclasses.replace(everything.settings, **change)
    assert dataclasses.replace(everything, settings=other).state() == 'outdated'


@pytest.mark.parametrize('number', ['EXTRACTION_VERSION', 'REGISTRATION_VERSION'])
def test_results_of_another_version_of_the_method_are_outdated(everything, monkeypatch, number):
    make_outputs(everything)
    assert everything.state() == 'done'
    monkeypatch.setattr(f'pumba_pipe.workflows.settings.{number}', 2)
    later = dataclasses.replace(everything)  # what is asked for is computed once
    assert judge(later) == Judgement('outdated', OTHER_METHOD)


def test_results_without_a_version_of_the_method_are_outdated(t1w):
    make_outputs(t1w)
    content = read_sidecar(t1w.mask)
    del content['BrainExtraction']['MethodVersion']
    sidecar_of(t1w.mask).write_text(json.dumps(content))
    assert t1w.state() == 'outdated'


def test_masks_name_the_version_that_made_them(everything, tmp_path):
    made = [{'Name': 'pumba_pipe', 'Version': __version__}]
    make_outputs(everything)
    for target in everything.everything():
        if target.path.name.endswith('mask.nii.gz'):
            assert read_sidecar(target.path)['GeneratedBy'] == made
    given = dataclasses.replace(everything, manual=given_mask(everything.mask))
    named = {t.field for t in given.everything() if 'GeneratedBy' in t.metadata}
    assert named == {'network_mask', 'out_prob', 'warped_mask'}


def test_sidecars_of_earlier_versions_are_read(everything):
    make_outputs(everything)
    forward = everything.registered(everything.settings.spaces[0])[0]
    sidecar = forward.path.with_suffix('.json')
    content = json.loads(sidecar.read_text())
    content['Alignment'] = content.pop('Registration')
    sidecar.write_text(json.dumps(content))
    assert everything.state() == 'done'
    content['Alignment']['Seed'] += 1
    sidecar.write_text(json.dumps(content))
    assert everything.state() == 'outdated'


def test_asking_for_less_leaves_results_as_they_are(everything, settings):
    make_outputs(everything)
    for fewer in (settings, dataclasses.replace(settings, seed=7, device='cuda')):
        assert dataclasses.replace(everything, settings=fewer).state() == 'done'


@pytest.mark.parametrize('days', [-1, 1])
def test_times_alone_do_not_outdate_results(everything, own_bids_dir, days):
    own = dataclasses.replace(everything, source=own_bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz')
    own = dataclasses.replace(own, bids_dir=own_bids_dir)
    make_outputs(own)
    moment = own.source.stat().st_mtime + days * 86400
    for path in (own.source, own.mask):
        os.utime(path, (moment, moment))
    found = judge(own)
    assert found.state == 'done'
    assert own.mask in found.touched
    refresh(own, found)
    assert judge(own) == Judgement('done')
    with own.source.open('r+b') as file:
        file.write(b'another scan')
    os.utime(own.source, (moment, moment))  # of the same size and time
    assert judge(own) == Judgement('outdated', 'the scan has changed')


@pytest.mark.parametrize('before', [False, True])
def test_results_that_another_run_writes_meanwhile_are_not_taken_for_those_of_others(
    t1w, monkeypatch, before
):
    """The run that looks has read the sidecar, or found none; then the other run writes."""
    if before:
        make_outputs(t1w)
    from pumba_pipe.workflows import done

    def slow(image):
        found = read(image)
        if image == t1w.mask and not raced:
            raced.append(image)
            make_outputs(t1w, b'mask of the other run')
        return found

    raced, read = [], done.read_sidecar
    monkeypatch.setattr(done, 'read_sidecar', slow)
    assert judge(t1w).state == 'done'


def test_shape_of_an_unreadable_image_is_unknown(tmp_path):
    broken = tmp_path / 'x.nii.gz'
    broken.write_bytes(b'no image')
    assert image_shape(broken) is None
