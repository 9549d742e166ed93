"""Networks as a MONAI bundle: the files that it needs, and networks that compute what ours do."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from pumba_pipe.commands.weights import main
from pumba_pipe.export import checks, monai_bundle
from pumba_pipe.network.weights import load_weights

# What MONAI's schema of metadata (meta_schema_20240725.json) requires, and of which type; the
# keys of a tensor that are not in it are those of the specification of bundles.
NEEDED = {
    'schema': str, 'version': str, 'monai_version': str, 'pytorch_version': str,
    'numpy_version': str, 'required_packages_version': dict, 'task': str, 'description': str,
    'authors': str, 'copyright': str, 'network_data_format': dict, 'coarse_data_format': dict,
}  # fmt: skip
OPTIONAL = {
    'changelog': dict, 'data_source': str, 'data_type': str, 'image_classes': str,
    'label_classes': str, 'pred_classes': str, 'eval_metrics': dict, 'intended_use': str,
    'references': list, 'supported_apps': dict,
}  # fmt: skip
TENSOR = {
    'type': str, 'format': str, 'modality': str, 'num_channels': int, 'spatial_shape': list,
    'dtype': str, 'value_range': list, 'is_patch_data': bool, 'channel_def': dict,
}  # fmt: skip


@pytest.fixture(scope='module')
def bundle(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('exported') / 'bundle'
    assert main(['export', str(folder), str(weights), '--format', 'monai']) == 0
    return folder


def read(path):
    return json.loads(path.read_text('utf-8'))


def test_the_files_of_a_bundle_are_there(bundle, weights):
    written = {str(path.relative_to(bundle)) for path in bundle.rglob('*') if path.is_file()}
    assert written == {
        'LICENSE', 'configs/metadata.json', 'configs/inference.json', 'configs/pipeline.json',
        'models/model.pt', 'models/model.ts', 'models/coarse.ts', 'docs/README.md',
        'scripts/__init__.py', 'scripts/strip.py',
    }  # fmt: skip
    assert load_weights(weights).sha256 in (bundle / 'docs' / 'README.md').read_text('utf-8')
    assert 'Apache License' in (bundle / 'LICENSE').read_text('utf-8') or (
        'Apache-2.0' in (bundle / 'LICENSE').read_text('utf-8')
    )


def test_the_metadata_is_as_the_schema_wants_it(bundle):
    told = read(bundle / 'configs' / 'metadata.json')
    assert told.keys() >= NEEDED.keys()
    assert told.keys() <= NEEDED.keys() | OPTIONAL.keys()
    for key, value in told.items():
        assert type(value) is (NEEDED | OPTIONAL)[key], key
    assert told['schema'].endswith('/meta_schema_20240725.json')
    assert all(isinstance(text, str) for text in told['references'])
    for name, borders in (('network', 2), ('coarse', 3)):
        tensors = told[f'{name}_data_format']
        assert tensors.keys() == {'inputs', 'outputs'}
        image, pred = tensors['inputs']['image'], tensors['outputs']['pred']
        for tensor in (image, pred):
            assert {key: type(value) for key, value in tensor.items()} == TENSOR
            assert all(type(number) in (int, float) for number in tensor['value_range'])
            assert tensor['spatial_shape'] == [16] * 3
        assert (image['num_channels'], pred['num_channels']) == (1, borders)
        assert len(pred['channel_def']) == borders


@pytest.mark.parametrize('name', ['coarse', 'fine'])
def test_logits_are_ours(name, bundle, weights):
    stage = getattr(load_weights(weights), name)
    network = torch.jit.load(bundle / monai_bundle.FILES[name])
    cubes = [checks.trial_cube(16), 1 - checks.trial_cube(16)]
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack(cubes))[:, None]).numpy()
    ours = np.stack([checks.our_logits(stage, cube, 'PyTorch') for cube in cubes])
    assert np.ptp(ours) > 0.1 and np.abs(logits - ours).max() < 5e-5
    state = torch.load(bundle / 'models' / 'model.pt', weights_only=True)
    assert set(state) >= {f'{name}/{key}' for key in stage.parameters.values}


def test_what_the_configuration_runs_writes_a_mask(bundle, tmp_path):
    """Its expressions, with what MONAI puts in the place of references; MONAI is not needed."""
    image = nib.Nifti1Image(np.random.default_rng(0).random((20, 18, 16)), np.diag([2, 2, 3, 1]))
    nib.save(image, tmp_path / 'head.nii.gz')
    config = read(bundle / 'configs' / 'inference.json')
    code = """
import json, sys, torch
config = json.load(open('configs/inference.json'))
config |= {'image': sys.argv[1], 'mask': sys.argv[2]}
imports = [line.lstrip('$') for line in config['imports']]
exec('\\n'.join(imports))
values = {}
def get(name):
    if name not in values:
        values[name] = made(config[name])
    return values[name]
def made(item):
    if isinstance(item, dict):
        words = {key: made(value) for key, value in item.items() if key != '_target_'}
        assert item['_target_'] == 'torch.jit.load'
        return torch.jit.load(**words)
    if isinstance(item, str) and item.startswith('$'):
        import re
        return eval(re.sub(r'@([a-z_]+)', r'get("\\1")', item[1:]))
    if isinstance(item, str) and item.startswith('@'):
        return get(item[1:])
    return item
for step in config['run']:
    made(step)
print([name for name in sys.modules if name.startswith('pumba')])
"""
    assert config['bundle_root'] == '.'
    words = [str(tmp_path / name) for name in ('head.nii.gz', 'mask.nii.gz')]
    done = subprocess.run(
        [sys.executable, '-c', code, *words], cwd=bundle, capture_output=True, text=True
    )
    assert done.stdout == '[]\n', done.stderr
    mask = nib.load(tmp_path / 'mask.nii.gz')
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)


def test_the_shipped_weights_can_leave(tmp_path, capsys):
    """Their fine network is the one that is hardest to compute alike: see `checks.TOLERANCES`."""
    assert main(['--quiet', 'export', str(tmp_path / 'bundle'), '--format', 'monai']) == 0
    assert capsys.readouterr().err == ''
    assert (tmp_path / 'bundle' / 'models' / 'model.ts').stat().st_size > 1e6


def test_networks_that_compute_something_else_are_not_written(
    weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(monai_bundle, 'difference', lambda *_: {'OpenVINO': float('nan')})
    assert main(['export', str(tmp_path / 'files'), str(weights), '--format', 'monai']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'not written: by TorchScript' in line
    assert not [path for path in (tmp_path / 'files').rglob('*') if path.is_file()]
