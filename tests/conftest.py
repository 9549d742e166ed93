"""Fixtures shared by all tests: synthetic heads, made once."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

HEAD_RECIPE, HEAD_SEED = 'easy', 0  # its mask is good: nothing is flagged
HEAD_VOXEL = 3.0  # mm
# Folders of tests about files, options and reports, which any network's masks do for.
QUICK_FOLDERS = {'bids_app', 'commands', 'faults', 'fuzz', 'interfaces', 'workflows'}
FINE_SIZE = 64  # voxels, of the quick network's cube
REAL = Path(__file__).parent / 'data'


@pytest.fixture(scope='session')
def quick_weights(tmp_path_factory):
    """The shipped weights, with the small coarse network as the fine one too: much faster."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    from pumba_pipe.common.weights_file import SHIPPED

    with safe_open(SHIPPED, 'np') as file:
        metadata = dict(file.metadata())
    stages = json.loads(metadata['stages'])
    borders, cells = 2, stages['coarse']['network']['stem'] ** 3
    tensors = {}
    for name, values in load_file(SHIPPED).items():
        stage, layer = name.split('/', 1)
        if stage == 'coarse':
            kept = values[: borders * cells] if layer.startswith('head.') else values
            tensors |= {name: values, f'fine/{layer}': kept.copy()}
    network = stages['coarse']['network'] | {'borders': borders}
    stages['fine'] = {'network': network, 'size': FINE_SIZE}
    path = tmp_path_factory.mktemp('weights') / 'quick.safetensors'
    save_file(tensors, path, metadata | {'stages': json.dumps(stages)})
    return path


@pytest.fixture(scope='module', autouse=True)
def weights_of_the_module(request):
    """Use the quick weights in tests of files, options and reports; not if marked otherwise."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder not in QUICK_FOLDERS or request.node.get_closest_marker('shipped_weights'):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PUMBA_WEIGHTS', str(request.getfixturevalue('quick_weights')))
        yield


def make_head(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic head and its brain; where there is no torch, which makes it, a real one."""
    if find_spec('torch') is None:
        return real_head(size)
    from pumba_pipe import load_recipe, synthesize

    sample = synthesize(load_recipe(HEAD_RECIPE), HEAD_SEED, (size, size, size))
    return sample.image.numpy(), sample.label.numpy()


def real_head(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A head of the demo with the mask of its source, in as much space as the synthetic one."""
    from nibabel.processing import conform

    name = 'sub-ms12/anat/sub-ms12'
    files = (REAL / f'bids/{name}_T1w.nii.gz', REAL / f'references/{name}_desc-brain_mask.nii.gz')
    grid = {'out_shape': (size,) * 3, 'voxel_size': (64 * HEAD_VOXEL / size,) * 3}
    image, mask = (
        np.asarray(conform(nib.load(file), order=order, **grid).dataobj)
        for file, order in zip(files, (1, 0), strict=True)
    )
    return (image / image.max()).clip(0).astype(np.float32), (mask > 0).astype(np.uint8)


@pytest.fixture(scope='session')
def head():
    """One head and its brain, arrays (64, 64, 64)."""
    return make_head(64)


@pytest.fixture(scope='session')
def head_file(head, tmp_path_factory):
    """That head as a NIfTI file of 3 mm voxels."""
    path = tmp_path_factory.mktemp('head') / 'head.nii.gz'
    affine = np.diag([HEAD_VOXEL, HEAD_VOXEL, HEAD_VOXEL, 1.0])
    nib.save(nib.Nifti1Image((head[0] * 1000).astype(np.int16), affine), path)
    return path


@pytest.fixture(scope='session')
def bids_dir(tmp_path_factory):
    """A small valid BIDS data set: three participants, two with sessions or several contrasts."""
    root = tmp_path_factory.mktemp('data') / 'bids'
    names = (
        'sub-01/anat/sub-01_T1w.nii.gz',
        'sub-01/anat/sub-01_T2w.nii.gz',
        'sub-02/ses-a/anat/sub-02_ses-a_acq-x_run-01_T1w.nii.gz',
        'sub-02/ses-b/anat/sub-02_ses-b_FLAIR.nii',
        'sub-03/anat/sub-03_inv-1_part-mag_MP2RAGE.nii.gz',
        'sub-03/anat/sub-03_inv-1_part-phase_MP2RAGE.nii.gz',
    )
    sample, _ = make_head(48)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image((sample * 1000 / (number + 1)).astype(np.int16), affine)
        image.header.set_xyzt_units('mm')
        nib.save(image, path)
    # what the validator wants to know about such an image
    sequence = {
        'FlipAngle': 4,
        'InversionTime': 0.7,
        'MagneticFieldStrength': 7,
        'NumberShots': 48,
        'RepetitionTimeExcitation': 0.006,
        'RepetitionTimePreparation': 5.0,
        'Units': 'rad',
    }
    for part in ('mag', 'phase'):
        sidecar = root / f'sub-03/anat/sub-03_inv-1_part-{part}_MP2RAGE.json'
        sidecar.write_text(json.dumps(sequence))
    description = {'Name': 'Synthetic heads', 'BIDSVersion': '1.9.0', 'License': 'CC0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    (root / 'README').write_text('Heads made of random shapes, to try the BIDS-App on.\n')
    return root


@pytest.fixture(scope='session')
def bids_errors():
    """A function that lists what the BIDS validator calls an error in a data set."""
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    program = shutil.which('bids-validator-deno', path=place)
    assert program, 'bids-validator-deno comes with the extra "dev"'

    def errors(root):
        answer = subprocess.run(
            [program, '--format', 'json', str(root)], capture_output=True, text=True, check=False
        )
        issues = json.loads(answer.stdout)['issues']['issues']
        found = [issue for issue in issues if issue['severity'] == 'error']
        assert (answer.returncode == 0) == (not found)
        return found

    return errors


@pytest.fixture
def own_bids_dir(bids_dir, tmp_path):
    """A copy of that data set, to be changed."""
    return Path(shutil.copytree(bids_dir, tmp_path / 'bids'))


@pytest.fixture
def ball_head(tmp_path):
    """A head made of balls, and its brain, as two NIfTI files."""

    def make(shape=(40, 48, 36), zooms=(2.0, 2.0, 2.0), axes='RAS', folder=tmp_path):
        centre = np.array(shape) / 2
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1) + 0.5
        radius = np.sqrt((((grid - centre) * zooms) ** 2).sum(-1))
        size = min(np.array(shape) * zooms) / 2
        brain = radius < 0.6 * size
        image = np.where(brain, 800, np.where(radius < 0.9 * size, 400, 0)).astype(np.int16)
        image[: shape[0] // 2] -= image[: shape[0] // 2] // 4  # the left is darker
        affine = np.diag([*zooms, 1.0])
        affine[:3, 3] = -centre * zooms
        paths = []
        for name, data in (('sub-01_T1w', image), ('sub-01_mask', brain.astype(np.uint8))):
            stored = nib.Nifti1Image(data, affine)
            turn = nib.orientations.ornt_transform(
                nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
            )
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(folder / f'{name}.nii.gz')
            nib.save(stored.as_reoriented(turn), paths[-1])
        return paths

    return make


@pytest.fixture
def derivative(tmp_path):
    """A function that puts a mask with a quality record into a derivative data set."""
    root = tmp_path / 'out'

    def add(name, folder=None, source=None, **quality):
        place = root / (folder or name.split('_')[0]) / 'anat'
        place.mkdir(parents=True, exist_ok=True)
        stem, suffix = name.rsplit('_', 1)
        space = '' if suffix == 'T1w' else f'_space-{suffix}'
        mask = place / f'{stem}{space}_desc-brain_mask.nii.gz'
        mask.write_bytes(b'a mask')
        record = {
            'volume_ml': 1300.0,
            'components': 1,
            'edge_contact': 0.0,
            'coarse_fine_dice': 0.95,
            'tta_dice': 0.98,
            'gamma_dice': 0.97,
            'boundary_certainty': 0.8,
            'expected_dice': 0.95,
            'expected_dice_low': 0.9,
            'expected_dice_high': 0.97,
            'reasons': [],
            'confidence': 0.95,
            'already_stripped': False,
            'flags': [],
            'notes': [],
        }
        raw = source or f'{(folder or name.split("_")[0])}/anat/{name}.nii.gz'
        sidecar = {
            'Type': 'Brain',
            'Sources': [f'bids:raw:{raw}'],
            'BrainExtraction': {'BorderMm': 0.0},
            'Quality': record | quality,
        }
        path = mask.with_name(mask.name.replace('.nii.gz', '.json'))
        path.write_text(json.dumps(sidecar))
        return root

    return add


@pytest.fixture
def templateflow_home(tmp_path, monkeypatch):
    """Path of a TemplateFlow cache, which is not made yet."""
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'templateflow'))
    return tmp_path / 'templateflow'


@pytest.fixture(scope='session')
def calibration():
    """A function that makes a calibration of round numbers; what is given replaces some."""
    from pumba_pipe.network.calibration import BrainModel, Calibration, DiceModel

    def make(limit=2.0, **dice):
        numbers = {
            'mean': (2.0,) * 4, 'sd': (1.0,) * 4, 'weight': (0.5, 0.5, 0.5, 0.25), 'bias': 2.0,
            'least': (0.0,) * 4, 'most': (5.0,) * 4, 'good': (3.0,) * 4,
            'residuals': (-2.0, 1.0), 'spread_at': (0.0, 4.0), 'spread': (1.0, 0.5),
            'flag_below': 0.9,
        }  # fmt: skip
        brain = BrainModel(
            low=(0.0,) * 4 + (0.5, -0.5, -4.0, 1.0),
            high=(5.0,) * 4 + (0.9, 0.5, 0.0, 5.0),
            scale=(1.0,) * 4 + (0.1, 0.5, 1.0, 1.0),
            below=(0.0,) * 4 + (0.0, 1.0, 1.0, 2.0),
            above=(0.5,) * 4 + (1.0, 1.0, 0.0, 0.0),
            bias=-1.0,
            limit=limit,
        )
        return Calibration(DiceModel(**{**numbers, **dice}), brain, {'seed': 1, 'heads': 100})

    return make
