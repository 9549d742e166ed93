"""What computes the networks: OpenVINO on CPUs without torch, torch elsewhere, the same logits."""

import copy
import gc
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pumba_pipe import load_weights, strip_file
from pumba_pipe.network import devices, openvino_engine
from pumba_pipe.network.config import NetworkConfig, parameter_shapes
from pumba_pipe.network.engine import LOGIT_LIMIT, compiled_meanwhile, engine_for
from pumba_pipe.network.openvino_engine import OpenVinoEngine, cpu_has_bfloat16, thread_count
from pumba_pipe.network.openvino_unet import doubling_kernel
from pumba_pipe.network.parameters import Parameters
from pumba_pipe.network.torch_engine import TorchEngine
from pumba_pipe.network.unet import UNet
from pumba_pipe.network.weights import Stage, save_weights

CONFIGS = {
    'one': NetworkConfig((4, 8), 2),
    'one level': NetworkConfig((4,), 2),
    'deep': NetworkConfig((4, 8, 12, 8), 2),
    'stem of 1': NetworkConfig((4, 8), 1),
    'stem of 4': NetworkConfig((8, 12), 4),
    'two borders': NetworkConfig((4, 8), 2, borders=2),
}

# Whoever imports one of these fails.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ImportError(f'{{name}} is not there')
sys.meta_path.insert(0, Block())
"""


@pytest.fixture
def single_precision(monkeypatch):
    monkeypatch.setattr(openvino_engine, 'cpu_has_bfloat16', lambda: False)
    monkeypatch.setattr(devices, '_cpu_has_bfloat16', lambda: False)


def saved(config: NetworkConfig, size: int, path: Path) -> Stage:
    """A stage of random networks, as read from a file."""
    torch.manual_seed(3)
    network = UNet(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:  # normalization and bias: not the ones and zeros of the start
                parameter.copy_(torch.randn(parameter.shape) / 3 + ('head' not in name))
    save_weights({'fine': Stage(network, size)}, {'stages': {}}, path)
    return load_weights(path).fine


def random_cube(size: int) -> np.ndarray:
    return np.random.default_rng(0).random((size, size, size), np.float32)


def in_new_process(code: str, blocked: tuple[str, ...]) -> str:
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, '-c', BLOCK.format(blocked=blocked) + code],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the same logits ----


@pytest.mark.parametrize('name', CONFIGS)
def test_both_engines_predict_the_same(name, tmp_path, single_precision):
    config = CONFIGS[name]
    stage = saved(config, 32, tmp_path / 'w.safetensors')
    ours = engine_for(stage)
    assert isinstance(ours, OpenVinoEngine)
    theirs = TorchEngine(copy.deepcopy(stage).network, 32, LOGIT_LIMIT, 'cpu', None)
    assert (ours.size, ours.borders) == (theirs.size, theirs.borders) == (32, config.borders)
    cube = random_cube(32)
    found, expected = (engine.predict(cube) for engine in (ours, theirs))
    assert found.shape == (config.borders, 32, 32, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.std() > 0.1


def test_both_engines_predict_the_same_with_the_shipped_weights(head, single_precision):
    model = load_weights()
    # OpenVINO adds up the many voxels of a large cube in single precision
    for stage, tolerance in ((model.coarse, 1e-3), (model.fine, 5e-3)):
        ours, sides = engine_for(stage, threads=1), np.arange(stage.size) * 64 // stage.size
        theirs = TorchEngine(copy.deepcopy(stage).network, stage.size, LOGIT_LIMIT, 'cpu', 1)
        cube = np.clip(head[0], 0, 1)[np.ix_(sides, sides, sides)]
        found, expected = (engine.predict(cube) for engine in (ours, theirs))
        assert expected.max() > 5 and expected.min() < -5
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_bfloat16_moves_the_border_hardly(head, monkeypatch):
    stage = load_weights().coarse
    sides = np.arange(stage.size) * 64 // stage.size
    cube = np.clip(head[0], 0, 1)[np.ix_(sides, sides, sides)]
    logits = []
    for half in (True, False):
        monkeypatch.setattr(openvino_engine, 'cpu_has_bfloat16', lambda half=half: half)
        logits.append(engine_for(stage, threads=1).predict(cube)[0] > 0)
    both = np.count_nonzero(logits[0] & logits[1])
    assert 2 * both / sum(map(np.count_nonzero, logits)) > 0.995


def test_a_doubled_image_needs_no_doubling():
    kernel = torch.randn(5, 3, 3, 3, 3)
    image = torch.randn(1, 3, 4, 6, 5)
    doubled = torch.nn.functional.interpolate(image, scale_factor=2, mode='nearest')
    expected = torch.nn.functional.conv3d(doubled, kernel, padding=1)
    found = torch.nn.functional.conv_transpose3d(
        image, torch.from_numpy(doubling_kernel(kernel.numpy())), stride=2, padding=1
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_logits_are_the_callers_own_and_within_limits(tmp_path):
    stage = saved(CONFIGS['one'], 16, tmp_path / 'w.safetensors')
    values = {
        name: value * np.float16(60) if name == 'head.weight' else value
        for name, value in stage.parameters.values.items()
    }
    engine = engine_for(Stage(Parameters(stage.config, values), 16))
    first = engine.predict(random_cube(16))
    kept = first.copy()
    engine.predict(1 - random_cube(16))
    assert np.array_equal(first, kept)
    assert (first.min(), first.max()) == (-LOGIT_LIMIT, LOGIT_LIMIT)


# ---- which engine ----


def test_parameters_are_those_of_the_network():
    for config in CONFIGS.values():
        state = UNet(config).state_dict()
        assert parameter_shapes(config) == {name: tuple(v.shape) for name, v in state.items()}


@pytest.mark.parametrize('change', ['missing', 'shape', 'further'])
def test_parameters_of_another_network_are_refused(change):
    config = CONFIGS['one']
    values = {
        name: np.zeros(shape, np.float16) for name, shape in parameter_shapes(config).items()
    }
    if change == 'missing':
        del values['head.bias']
    else:
        values['head.bias' if change == 'shape' else 'tail.bias'] = np.zeros(3, np.float16)
    with pytest.raises(ValueError, match=r'(head|tail)\.bias'):
        Parameters(config, values)


def test_networks_of_the_callers_own_are_computed_by_torch(tmp_path):
    stage = saved(CONFIGS['one'], 16, tmp_path / 'w.safetensors')
    before = engine_for(stage).predict(random_cube(16))
    network = stage.network
    assert isinstance(engine_for(stage), TorchEngine), 'it may be changed from now on'
    with torch.no_grad():
        network.head.bias += 2
    after = engine_for(stage).predict(random_cube(16))
    np.testing.assert_allclose(after - before, 2, atol=0.2)


def test_a_gpu_is_left_to_torch(tmp_path, monkeypatch):
    stage = saved(CONFIGS['one'], 16, tmp_path / 'w.safetensors')
    engine = engine_for(stage, 'meta')
    assert isinstance(engine, TorchEngine)
    assert stage.parameters is not None, 'the CPU may take over'
    assert isinstance(engine_for(stage, 'cpu'), OpenVinoEngine)


def test_without_openvino_torch_gives_the_same_mask(head_file, tmp_path):
    code = (
        'import pumba_pipe\n'
        'from pumba_pipe.network.engine import engine_for\n'
        'print(type(engine_for(pumba_pipe.load_weights().coarse)).__name__)\n'
        f'pumba_pipe.strip_file({str(head_file)!r}, out_mask={str(tmp_path / "m.nii.gz")!r}, '
        'device="cpu", threads=1)\n'
        'print("torch" in sys.modules)\n'
    )
    assert in_new_process(code, ('openvino',)).split() == ['TorchEngine', 'True']
    import nibabel as nib

    mask = np.asarray(nib.load(tmp_path / 'm.nii.gz').dataobj) > 0
    found = strip_file(head_file, device='cpu', threads=1).mask > 0
    both = 2 * np.count_nonzero(mask & found) / (mask.sum() + found.sum())
    assert both > 0.998


# ---- torch stays out ----


def test_stripping_on_a_cpu_does_not_import_torch(head_file, tmp_path):
    code = (
        'from pumba_pipe.commands.strip import main\n'
        f'assert main(["-i", {str(head_file)!r}, "-m", {str(tmp_path / "mask.nii.gz")!r}, '
        f'"-p", {str(tmp_path / "prob.nii.gz")!r}, "--device", "cpu", "--threads", "1"]) == 0\n'
        'import pumba_pipe\n'
        f'result = pumba_pipe.extract({str(head_file)!r}, pumba_pipe.load_weights(), "cpu")\n'
        'print(int(result.mask.sum()), sys.modules.get("openvino.tools.ovc"))\n'
    )
    words = in_new_process(code, ('torch', 'openvino_telemetry')).split()
    assert int(words[-2]) > 1000 and words[-1] == 'None'


def test_a_node_strips_without_torch(head_file, tmp_path):
    code = (
        'import os\n'
        f'os.chdir({str(tmp_path)!r})\n'
        'from pumba_pipe.interfaces import SkullStrip\n'
        f'outputs = SkullStrip(in_file={str(head_file)!r}, num_threads=1).run().outputs\n'
        'print(outputs.quality)\n'
    )
    assert json.loads(Path(in_new_process(code, ('torch',)).split()[-1]).read_text())


def test_evaluating_masks_does_not_import_torch(ball_head, tmp_path):
    image, mask = ball_head(folder=tmp_path / 'made')
    case = tmp_path / 'cases' / 'human_T1w_ball'
    case.mkdir(parents=True)
    image.rename(case / 'image.nii.gz')
    mask.rename(case / 'mask.nii.gz')
    code = (
        'from pumba_pipe.commands.evaluate import main\n'
        f'main([{str(case.parent)!r}, "--out", {str(tmp_path / "out")!r}, "--device", "cpu"])\n'
        'print(sys.modules.get("torch"))\n'
    )
    assert in_new_process(code, ('torch',)).split()[-1] == 'None'
    assert 'human_T1w_ball' in (tmp_path / 'out' / 'scores.tsv').read_text()


# ---- one process, several ----


def test_what_was_compiled_serves_again_and_goes_with_the_weights(tmp_path):
    path = tmp_path / 'w.safetensors'
    saved(CONFIGS['one'], 16, path)
    first, second = (engine_for(load_weights(path).fine, threads=1) for _ in range(2))
    assert first is second
    assert engine_for(load_weights(path).fine, threads=2) is not first
    parameters = Parameters(CONFIGS['one'], load_weights(path).fine.parameters.values)
    engine_for(Stage(parameters, 16))
    gc.collect()  # engines of earlier tests that only await it
    count = len(openvino_engine._engines)
    del parameters
    gc.collect()
    assert len(openvino_engine._engines) == count - 1


def test_threads_of_python_may_share_an_engine(tmp_path):
    engine = engine_for(saved(CONFIGS['one'], 16, tmp_path / 'w.safetensors'))
    cubes = [random_cube(16) ** power for power in (1.0, 0.5, 2.0, 3.0)]
    expected = [engine.predict(cube) for cube in cubes]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = pool.map(lambda cube: engine.predict(cube), cubes)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def predicted(path: str) -> tuple[str, np.ndarray]:
    engine = engine_for(load_weights(path).fine, threads=1)
    return type(engine).__name__, engine.predict(random_cube(16))


@pytest.mark.parametrize('method', multiprocessing.get_all_start_methods())
def test_a_new_process_predicts_the_same(method, tmp_path):
    path = str(tmp_path / 'w.safetensors')
    saved(CONFIGS['one'], 16, Path(path))
    _, expected = predicted(path)
    with multiprocessing.get_context(method).Pool(1) as pool:
        name, found = pool.apply_async(predicted, [path]).get(timeout=60)
    assert name == ('TorchEngine' if method == 'fork' else 'OpenVinoEngine')
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_options_given_to_openvino(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_engine, 'cpu_has_bfloat16', lambda: False)
    engine = engine_for(saved(CONFIGS['one'], 16, tmp_path / 'w.safetensors'), threads=2)
    engine.predict(random_cube(16))
    compiled = engine._compiled.get_compiled_model()
    here = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    assert compiled.get_property('INFERENCE_NUM_THREADS') == min(2, here)  # no more than CPUs
    assert compiled.get_property('NUM_STREAMS') == 1
    assert not compiled.get_property('ENABLE_CPU_PINNING')
    assert 'float32' in str(compiled.get_property('INFERENCE_PRECISION_HINT'))


@pytest.mark.parametrize(
    ('given', 'variable', 'allowed', 'threads'),
    [
        (3, '5', 2, 3),
        (None, '5', 2, 5),
        (None, '', 2, 2),
        (None, '0', 2, 2),
        (None, '4,2', 8, 0),
        (None, '', 8, 0),
    ],
)
def test_threads_are_those_asked_for_or_allowed(given, variable, allowed, threads, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', variable)
    monkeypatch.setattr(openvino_engine, 'available_cpus', lambda: allowed)
    monkeypatch.setattr(openvino_engine.os, 'cpu_count', lambda: 8)
    assert thread_count(given) == threads


def test_bfloat16_is_used_where_the_cpu_has_it(tmp_path):
    flags = tmp_path / 'cpuinfo'
    for words, has_it in (
        ('fpu avx2 avx512_bf16 sse', True),
        ('fpu amx_bf16', True),
        ('fpu avx512f avx512_bf16x', False),
    ):
        flags.write_text(f'processor\t: 0\nflags\t\t: {words}\nbugs\t\t: none\n')
        assert cpu_has_bfloat16(flags) is has_it
    flags.write_text('Features\t: fp asimd bf16\n')
    assert not cpu_has_bfloat16(flags)
    assert not cpu_has_bfloat16(tmp_path / 'absent')


@pytest.mark.parametrize(('threads', 'variable'), [(1, '2'), (2, '1'), (None, '1'), (None, '2')])
def test_networks_are_compiled_while_an_image_is_read(threads, variable, monkeypatch, tmp_path):
    monkeypatch.setenv('OMP_NUM_THREADS', variable)
    stages = [
        saved(CONFIGS[name], 16, tmp_path / f'{name}.safetensors') for name in ('one', 'deep')
    ]
    with compiled_meanwhile(stages, threads):
        pass
    engines = [engine_for(stage, threads=threads) for stage in stages]
    assert [engine._compiled is not None for engine in engines] == [
        (threads or int(variable)) == 2
    ] * 2


def test_a_network_that_cannot_be_compiled_says_so_when_it_is_used(monkeypatch, tmp_path):
    stage = saved(CONFIGS['one'], 16, tmp_path / 'one.safetensors')

    def fail(*arguments):
        raise RuntimeError('could not create a primitive')

    monkeypatch.setattr(openvino_engine, 'unet_model', fail)
    with compiled_meanwhile([stage], 2):
        pass
    with pytest.raises(RuntimeError, match='primitive'):
        engine_for(stage, threads=2).predict(np.zeros((16, 16, 16), np.float32))
