"""Images beside the anatomical ones: one of each suffix, from the data set to pages and tables."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.bids_app.run import main

# One process makes the results that all these tests look at.
pytestmark = pytest.mark.xdist_group('modalities')
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
# image, its mask, and the whole image or the volume that stands for it
IMAGES = {
    'func/sub-01_task-rest_bold.nii.gz': (
        'func/sub-01_task-rest_desc-brain_mask',
        'func/sub-01_task-rest_boldref',
    ),
    'func/sub-01_task-rest_sbref.nii.gz': (
        'func/sub-01_task-rest_space-sbref_desc-brain_mask',
        'func/sub-01_task-rest_space-sbref_desc-preproc_sbref',
    ),
    'dwi/sub-01_dir-AP_dwi.nii.gz': (
        'dwi/sub-01_dir-AP_desc-brain_mask',
        'dwi/sub-01_dir-AP_dwiref',
    ),
    'perf/sub-01_asl.nii.gz': ('perf/sub-01_desc-brain_mask', 'perf/sub-01_aslref'),
    'perf/sub-01_m0scan.nii.gz': (
        'perf/sub-01_space-m0scan_desc-brain_mask',
        'perf/sub-01_space-m0scan_desc-preproc_m0scan',
    ),
    'fmap/sub-01_dir-PA_epi.nii.gz': (
        'fmap/sub-01_dir-PA_desc-brain_mask',
        'fmap/sub-01_dir-PA_desc-preproc_epi',
    ),
    'pet/sub-01_trc-FDG_pet.nii.gz': (
        'pet/sub-01_trc-FDG_desc-brain_mask',
        'pet/sub-01_trc-FDG_petref',
    ),
    'anat/sub-01_inv-2_MP2RAGE.nii.gz': (
        'anat/sub-01_space-MP2RAGEinv2_desc-brain_mask',
        'anat/sub-01_inv-2_space-MP2RAGEinv2_desc-preproc_MP2RAGE',
    ),
    'anat/sub-01_UNIT1.nii.gz': (
        'anat/sub-01_space-UNIT1_desc-brain_mask',
        'anat/sub-01_space-UNIT1_desc-preproc_UNIT1',
    ),
    'anat/sub-01_echo-1_MEGRE.nii.gz': (
        'anat/sub-01_echo-1_space-MEGRE_desc-brain_mask',
        'anat/sub-01_echo-1_space-MEGRE_desc-preproc_MEGRE',
    ),
    'anat/sub-01_flip-1_mt-on_MTS.nii.gz': (
        'anat/sub-01_space-MTSflip1mton_desc-brain_mask',
        'anat/sub-01_flip-1_mt-on_space-MTSflip1mton_desc-preproc_MTS',
    ),
}
SUFFIXES = [name.split('.')[0].rsplit('_', 1)[1] for name in IMAGES]
# Factors of the head's intensity in the volumes of each series.
SERIES = {
    'bold': [1.5, 1, 1, 1, 1, 1],
    'dwi': [1, 0.3, 1, 0.2],
    'asl': [1, 0.98, 1, 0.98],
    'epi': [1, 1],
    'pet': [0.1, 0.6, 1.0],
}


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data.astype(np.float32), AFFINE)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)


def values(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope='module')
def head48():
    """A small head, arrays (48, 48, 48)."""
    from pumba_pipe import load_recipe, synthesize

    sample = synthesize(load_recipe('easy'), 0, (48, 48, 48))
    return sample.image.numpy() * 1000, sample.label.numpy() > 0


@pytest.fixture(scope='module')
def data(head48, tmp_path_factory):
    """A data set with an image of every suffix, and a T1w image."""
    root = tmp_path_factory.mktemp('all') / 'bids'
    subject, (head, _) = root / 'sub-01', head48
    rng = np.random.default_rng(0)
    for name, suffix in zip(IMAGES, SUFFIXES, strict=True):
        factors = SERIES.get(suffix)
        volume = head if factors is None else head[..., None] * np.array(factors)
        save(subject / name, volume + rng.normal(0, 1, volume.shape))
    save(subject / 'anat/sub-01_T1w.nii.gz', head)
    (root / 'dwi.bval').write_text('0 1000 5 2000\n')
    context = subject / 'perf/sub-01_aslcontext.tsv'
    context.write_text('volume_type\ncontrol\nlabel\ncontrol\nlabel\n')
    frames = {'FrameDuration': [10, 300, 600]}
    (subject / 'pet/sub-01_trc-FDG_pet.json').write_text(json.dumps(frames))
    description = {'Name': 'All kinds', 'BIDSVersion': '1.9.0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    return root


def pumba(bids_dir, out, *words, level='participant'):
    where = [str(bids_dir), str(out), level, '-w', str(out.parent / 'work')]
    rest = ['--nprocs', '1', '--device', 'cpu', '--skip-bids-validation', '--sloppy']
    return main([*where, *words, *rest])


@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('results') / 'out'
    assert pumba(data, out, '--modalities', *SUFFIXES) == 0
    return out


@pytest.fixture
def own(data, finished, tmp_path):
    """A copy of data set and results, to be changed."""
    return (
        Path(shutil.copytree(data, tmp_path / 'bids')),
        Path(shutil.copytree(finished, tmp_path / 'out')),
    )


@pytest.mark.parametrize(('image', 'names'), IMAGES.items(), ids=SUFFIXES)
def test_mask_and_whole_image_have_their_names(image, names, data, finished, head48):
    mask, whole = (finished / 'sub-01' / f'{name}.nii.gz' for name in names)
    found = values(mask) > 0
    overlap = 2 * (found & head48[1]).sum() / (found.sum() + head48[1].sum())
    assert overlap > 0.8
    assert values(whole).shape == found.shape
    sidecar = json.loads(mask.with_name(mask.name.replace('.nii.gz', '.json')).read_text())
    assert sidecar['Sources'][0] == sidecar['SpatialReference'] == f'bids:raw:sub-01/{image}'
    anatomical = image.startswith('anat/') and 'UNIT1' not in image
    assert (sidecar['BrainExtraction']['BiasCorrection'] == 'none') == (not anatomical)


def test_a_reference_is_made_of_the_right_volumes(finished, head48):
    """Values are those that were measured: no correction of the bias field changes them."""
    head, _ = head48
    used = {}
    for name, factor in (
        ('func/sub-01_task-rest_boldref', 1.0),
        ('dwi/sub-01_dir-AP_dwiref', 1.0),
        ('pet/sub-01_trc-FDG_petref', (0.1 * 10 + 0.6 * 300 + 600) / 910),
    ):
        path = finished / 'sub-01' / f'{name}.nii.gz'
        np.testing.assert_allclose(values(path), head * factor, atol=5)
        content = json.loads(path.with_name(f'{path.name[:-7]}.json').read_text())
        used[path.name.rsplit('_', 1)[1][:-7]] = content['Reference']['Used']
        assert content['SkullStripped'] is False
    assert used == {'boldref': [1, 2, 3, 4, 5], 'dwiref': [0, 2], 'petref': [0, 1, 2]}


def test_what_is_read_with_a_series_is_among_its_sources(finished):
    def sources(name):
        return json.loads((finished / 'sub-01' / f'{name}.json').read_text())['Sources']

    assert sources('dwi/sub-01_dir-AP_desc-brain_mask') == [
        'bids:raw:sub-01/dwi/sub-01_dir-AP_dwi.nii.gz',
        'bids:raw:dwi.bval',
    ]
    assert sources('perf/sub-01_desc-brain_mask') == [
        'bids:raw:sub-01/perf/sub-01_asl.nii.gz',
        'bids:raw:sub-01/perf/sub-01_aslcontext.tsv',
        'bids:raw:sub-01/perf/sub-01_m0scan.nii.gz',
    ]
    record = json.loads((finished / 'sub-01/perf/sub-01_aslref.json').read_text())
    assert 'M0 image sub-01_m0scan.nii.gz' in record['Reference']['Notes'][0]


def test_pages_and_tables(own, capsys):
    data, out = own
    assert pumba(data, out, level='group') == 0
    tables = {path.name for path in out.glob('group_*.tsv')}
    assert tables == {f'group_{suffix}.tsv' for suffix in SUFFIXES}
    page = (out / 'sub-01.html').read_text()
    assert all(name.split('/')[1].split('.')[0] in page for name in IMAGES)
    # the commands for viewers name the volume that the mask lies on
    assert 'sub-01/func/sub-01_task-rest_boldref.nii.gz' in page
    assert (out / 'sub-01/figures/sub-01_task-rest_desc-mosaic_bold.png').exists()


def test_results_are_valid_bids(finished, bids_errors):
    assert bids_errors(finished) == []


def test_they_are_left_alone_unless_they_are_asked_for(data, tmp_path, capsys):
    assert pumba(data, tmp_path / 'out', '--dry-run') == 0
    lines = capsys.readouterr().out
    assert '2 images: 2 to strip' in lines  # T1w and UNIT1
    assert 'bold' not in lines


def test_a_dry_run_lists_them(own, capsys):
    data, out = own
    assert pumba(data, out, '--modalities', 'bold', 'pet', '--dry-run') == 0
    lines = capsys.readouterr().out
    assert 'func/sub-01_task-rest_bold.nii.gz: done before' in lines
    assert 'also there, not asked for (--modalities): 1 sbref' in lines


@pytest.mark.parametrize(
    ('file', 'content', 'suffix'),
    [
        ('dwi.bval', '0 1000 1000 2000\n', 'dwi'),
        ('sub-01/perf/sub-01_aslcontext.tsv', 'volume_type\nlabel\ncontrol\ncbf\ncbf\n', 'asl'),
        ('sub-01/pet/sub-01_trc-FDG_pet.json', '{"FrameDuration": [1, 1, 1]}', 'pet'),
    ],
)
def test_another_file_beside_a_series_makes_it_again(file, content, suffix, own, capsys):
    data, out = own
    words = ['--modalities', suffix]
    os.utime(data / file)  # only touched
    assert pumba(data, out, *words, '--dry-run') == 0
    assert '1 done before' in capsys.readouterr().out
    (data / file).write_text(content)
    assert pumba(data, out, *words) == 0
    assert '1 image stripped' in capsys.readouterr().out
    assert pumba(data, out, *words) == 0
    assert '1 done before' in capsys.readouterr().out


def test_another_m0_image_makes_an_asl_series_again(own, capsys):
    data, out = own
    m0 = data / 'sub-01/perf/sub-01_m0scan.nii.gz'
    m0.unlink()
    words = ['--modalities', 'asl']
    assert pumba(data, out, *words, '--dry-run') == 0
    assert 'what is read with the scan has changed' in capsys.readouterr().out
    assert pumba(data, out, *words) == 0
    sidecar = json.loads((out / 'sub-01/perf/sub-01_aslref.json').read_text())
    assert sidecar['Reference']['Used'] == [0, 2]


def test_an_edited_mask_of_a_series_is_kept(own, capsys):
    data, out = own
    path = out / 'sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz'
    mask = nib.load(path)
    edited = np.asarray(mask.dataobj).copy()
    edited[:24] = 0
    nib.save(nib.Nifti1Image(edited, mask.affine, mask.header), path)
    assert pumba(data, out, '--modalities', 'bold') == 0
    assert 'was edited by hand and is kept' in capsys.readouterr().out
    np.testing.assert_array_equal(values(path), edited)
    brain = out / 'sub-01/func/sub-01_task-rest_desc-brain_boldref.nii.gz'
    assert np.ptp(values(brain)[edited == 0]) == 0
    network = values(out / 'sub-01/func/sub-01_task-rest_desc-network_mask.nii.gz')
    assert network[:24].any()


def test_a_mask_of_another_tool_is_that_of_the_series(own, head48, capsys):
    data, out = own
    folder = out.parent / 'fmriprep'
    save(folder / 'sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz', head48[1])
    words = ['--modalities', 'bold', 'sbref', '--masks', str(folder)]
    assert pumba(data, out, *words) == 0
    assert 'masks of 1 of 2 images' in capsys.readouterr().out
    sidecar = json.loads((out / 'sub-01/func/sub-01_task-rest_desc-brain_mask.json').read_text())
    assert sidecar['Manual'] is True


def test_what_is_wrong_beside_a_series_is_one_line(own, capsys):
    data, out = own
    shutil.rmtree(out)
    (data / 'dwi.bval').unlink()
    (data / 'sub-01/perf/sub-01_aslcontext.tsv').write_text('volume_type\ncontrol\n')
    (data / 'sub-01/pet/sub-01_trc-FDG_pet.json').write_text('{"FrameDuration": [1, 2]}')
    (data / 'sub-01/anat/sub-01_bold.nii.gz').write_bytes(b'')
    words = ['--modalities', 'dwi', 'asl', 'pet', 'bold', 'T1w', '--no-reports']
    assert pumba(data, out, *words) == 1
    errors = capsys.readouterr().err
    assert 'Traceback' not in errors
    lines = sorted(errors.splitlines())
    assert len(lines) == 4
    assert 'lies in sub-01/anat, but its name belongs to sub-01/func' in lines[0]
    assert 'no .bval file says which of 4 volumes have no diffusion weighting' in lines[1]
    assert '1 rows for 4 volumes' in lines[2]
    assert 'FrameDuration must have 3 numbers of seconds' in lines[3]
    assert (out / 'sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz').exists()


def test_filters_know_them(data, tmp_path, capsys):
    file = tmp_path / 'filters.json'
    file.write_text(json.dumps({'bold': {'datatype': 'func', 'task': 'other'}, 'fmap': {'x': 1}}))
    words = ['--modalities', 'bold', 'dwi', '--bids-filter-file', str(file), '--dry-run']
    assert pumba(data, tmp_path / 'out', *words) == 0
    printed = capsys.readouterr().out
    assert '1 image: 1 to strip' in printed
    assert 'dwi/sub-01_dir-AP_dwi.nii.gz: would be stripped' in printed
