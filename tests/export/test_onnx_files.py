"""Networks as ONNX files: they compute what ours do, and what goes around them is told truly."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.weights import main
from pumba_pipe.common.errors import OutputError
from pumba_pipe.export import checks, onnx_files, strip
from pumba_pipe.export.description import describe_pipeline
from pumba_pipe.extraction import pipeline
from pumba_pipe.images import intensity
from pumba_pipe.images.volume import load_volume
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import Model, Stage, load_weights

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def exported(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported') / 'files'
    assert main(['export', str(folder), str(weights)]) == 0
    return folder


@pytest.mark.parametrize('name', ['coarse', 'fine'])
def test_logits_are_ours(name, exported, weights):
    stage = getattr(load_weights(weights), name)
    session = onnxruntime.InferenceSession(exported / f'{name}.onnx')
    cubes = np.stack([checks.trial_cube(16), 1 - checks.trial_cube(16)])[:, None]
    logits = session.run(None, {'image': cubes})[0]
    assert logits.shape == (2, stage.config.borders, 16, 16, 16)
    assert np.ptp(logits) > 0.1, 'a constant would show nothing'
    ours = np.stack([checks.our_logits(stage, cube[0], 'PyTorch') for cube in cubes])
    assert np.abs(logits - ours).max() < 5e-5
    alone = session.run(None, {'image': cubes[1:]})[0]
    assert np.abs(alone - logits[1:]).max() < 1e-4, 'what is beside it in the batch plays no part'


def test_they_are_compared_with_both_engines(weights, monkeypatch, tmp_path):
    pytest.importorskip('openvino')
    stage = load_weights(weights).fine
    found = checks.difference(lambda cube: checks.our_logits(stage, cube, 'PyTorch') + 1e-3, stage)
    assert list(found) == ['PyTorch', 'OpenVINO']
    assert found == pytest.approx({'PyTorch': 1e-3, 'OpenVINO': 1e-3}, abs=5e-5)
    with pytest.raises(OutputError, match=r'0\.001 away from ours by PyTorch, more than 0\.0002'):
        checks.refuse_others({'fine': found}, tmp_path, 'x')
    monkeypatch.setattr(checks, 'find_spec', lambda name: None)
    found = checks.difference(lambda cube: checks.our_logits(stage, cube, 'OpenVINO'), stage)
    assert found == {'OpenVINO': 0}
    with pytest.raises(OutputError, match=r'0\.01 away from ours by OpenVINO, more than 0\.002'):
        checks.refuse_others({'fine': {'OpenVINO': 0.01}}, tmp_path, 'x')


def test_a_file_says_what_it_is(exported, weights):
    made = onnx.load(exported / 'fine.onnx')
    said = {one.key: one.value for one in made.metadata_props}
    assert said['weights_sha256'] == load_weights(weights).sha256
    assert (said['stage'], said['licence']) == ('fine', 'Apache-2.0')
    assert made.opset_import[0].version >= 17
    told = json.loads((exported / 'pipeline.json').read_text('utf-8'))
    assert told['networks']['coarse']['borders'][2] == 'intracranial space'
    assert len(told['networks']['fine']['borders']) == 2
    assert 'made heads' in (exported / 'README.md').read_text('utf-8')


def test_the_program_runs_without_this_package(exported, tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(0).random((20, 18, 16)), np.diag([2, 2, 3, 1]))
    nib.save(image, tmp_path / 'head.nii.gz')
    code = f"import sys; sys.argv = ['strip.py', 'head.nii.gz', 'mask.nii.gz']; import runpy; \
runpy.run_path({str(exported / 'strip.py')!r}, run_name='__main__'); \
print([name for name in sys.modules if name.startswith('pumba')])"
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == '[]\n', done.stderr
    mask = nib.load(tmp_path / 'mask.nii.gz')
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)


class Bright:
    """An engine that takes for brain what is bright, at two levels; it needs no training."""

    def __init__(self, size):
        self.size, self.borders = size, 2

    def predict(self, cube):
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(cube, 1.0)
        return np.stack([20 * (smooth - level) for level in (0.5, 0.62)]).astype(np.float32)


def ball(shape, zooms, axes, inverted=False):
    """A bright brain in a darker head in noise, with blank planes at two edges."""
    centre = np.array(shape) * [0.5, 0.45, 0.6]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1)
    radius = np.sqrt((((grid - centre) * zooms / [1.1, 1.3, 1.0]) ** 2).sum(-1))
    size = 0.4 * min(np.array(shape) * zooms)
    values = np.where(radius < 0.6 * size, 800, np.where(radius < 0.9 * size, 300, 20))
    values = values + np.random.default_rng(3).normal(0, 40, shape)
    values = (1000 - values) if inverted else values
    values[:2], values[:, :, -1] = 0, 0
    image = nib.Nifti1Image(values.astype(np.float32), np.diag([*zooms, 1.0]))
    turn = nib.orientations.axcodes2ornt(axes)
    return image.as_reoriented(turn)


@pytest.mark.parametrize(
    ('shape', 'zooms', 'axes', 'inverted'),
    [
        ((100, 104, 96), (3.0, 3.0, 3.0), 'RAS', False),
        ((70, 40, 30), (1.5, 3.0, 4.5), 'PIR', False),
        ((48, 48, 40), (0.4, 0.4, 0.5), 'LPS', False),
        ((50, 52, 48), (2.5, 2.5, 2.5), 'RAS', True),
    ],
)
def test_the_program_does_what_the_pipeline_does(shape, zooms, axes, inverted, monkeypatch):
    stages = [Stage(UNet(NetworkConfig((4, 8), borders=2)), size) for size in (32, 48)]
    model = Model(*stages, {}, '')
    engines = {'coarse': Bright(32), 'fine': Bright(48)}
    monkeypatch.setattr(
        pipeline, 'engine_for', lambda stage, *_: engines[('coarse', 'fine')[stage.size == 48]]
    )
    image = ball(shape, zooms, axes, inverted)
    ours = pipeline.extract(image, model, 'cpu', 1).mask.astype(bool)
    told = json.loads(json.dumps(describe_pipeline(model, {'coarse': 'a', 'fine': 'b'})))
    networks = {name: engine.predict for name, engine in engines.items()}
    theirs = strip.strip(image.get_fdata(dtype=np.float32), image.affine, networks, told)
    assert 0.01 < ours.mean() < 0.3
    assert np.count_nonzero(ours != theirs) <= 1e-4 * np.count_nonzero(ours)


def hidden(values, how):
    """An image whose head the network would not see."""
    rng = np.random.default_rng(5)
    if how in ('padded', 'both'):
        values[:, :6], values[-5:] = -32768, -32768
        values[:, 6, ::3] = -32768  # no blank plane at the edge
    if how in ('spikes', 'both'):
        places = tuple(rng.integers(8, 40, (3, 20)))
        values[places] = rng.choice([3e7, -2e6 if how == 'spikes' else 3e6], 20)
    if how == 'an object':  # 5 x 5 x 5 voxels are none
        values[20:25, 20:25, 20:25] = 3e6
    return values * np.float32(1e-9 if how == 'tiny' else 1)


@pytest.mark.parametrize('how', ['plain', 'padded', 'spikes', 'both', 'an object', 'tiny'])
def test_values_that_hide_a_head_are_treated_as_the_pipeline_does(how, monkeypatch):
    stages = [Stage(UNet(NetworkConfig((4, 8), borders=2)), size) for size in (32, 48)]
    model = Model(*stages, {}, '')
    told = json.loads(json.dumps(describe_pipeline(model, {'coarse': 'a', 'fine': 'b'})))
    plain = ball((50, 52, 48), (2.5, 2.5, 2.5), 'RAS').get_fdata(dtype=np.float32)
    values = hidden(plain.copy(), how)
    ours, _ = intensity.for_network(values)
    theirs = strip.without_far_values(values, told)
    assert theirs.dtype == np.float32 and np.array_equal(ours, theirs)
    changed = not np.array_equal(values, ours)
    assert changed is (how not in ('plain', 'an object'))
    if not changed:
        return
    engines = {'coarse': Bright(32), 'fine': Bright(48)}
    monkeypatch.setattr(
        pipeline, 'engine_for', lambda stage, *_: engines[('coarse', 'fine')[stage.size == 48]]
    )
    image = nib.Nifti1Image(values, np.diag([2.5, 2.5, 2.5, 1.0]))
    networks = {name: engine.predict for name, engine in engines.items()}
    mask = pipeline.extract(image, model, 'cpu', 1).mask.astype(bool)
    assert 0.01 < mask.mean() < 0.3
    other = strip.strip(values, image.affine, networks, told)
    assert np.count_nonzero(mask != other) <= 1e-4 * np.count_nonzero(mask)


def test_what_is_not_a_number_is_background(tmp_path):
    """Zero, or the least value: in Hounsfield units, zero would be as bright as water."""
    read = []
    networks = {'coarse': None, 'fine': None}
    for least in (-1000, 5):
        values = np.linspace(least, 100, 4**3, dtype=np.float32).reshape(4, 4, 4)
        values[1, 1, 1], values[2, 2, 2] = np.nan, -np.inf
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / 'head.nii')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strip, 'strip', lambda data, *_: read.append(data) or data > 0)
            strip.strip_file(str(tmp_path / 'head.nii'), str(tmp_path / 'mask.nii'), networks, {})
        assert np.array_equal(read[-1], load_volume(tmp_path / 'head.nii').data)
    assert (read[0][1, 1, 1], read[1][1, 1, 1]) == (-1000, 0)


def test_a_file_that_computes_something_else_is_not_written(
    weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(onnx_files, 'difference', lambda *_: {'PyTorch': 0.5})
    assert main(['export', str(tmp_path / 'files'), str(weights)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'not written: by onnxruntime' in line and 'coarse network are 0.5 away' in line
    assert not list((tmp_path / 'files').iterdir())


def test_what_is_missing_is_said_in_one_line(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert main(['export', str(tmp_path / 'files'), str(weights)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'needs the package onnxruntime' in line and "pip install 'pumba_pipe[export]'" in line
    assert not (tmp_path / 'files').exists()
    monkeypatch.undo()
    (tmp_path / 'taken').write_text('')
    for words, said in (
        ([str(tmp_path / 'taken'), str(weights)], 'taken'),
        ([str(tmp_path / 'files'), str(tmp_path / 'none.safetensors')], 'none.safetensors'),
    ):
        assert main(['export', *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('pumba-weights: error: ') and said in line
