"""Networks as a MONAI bundle: a folder that `python -m monai.bundle run` runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe._version import __version__
from pumba_pipe.common.files import atomic_path, check_outputs, write_json, write_text
from pumba_pipe.export.checks import Exported, difference, refuse_others
from pumba_pipe.export.description import describe_pipeline, readme, script
from pumba_pipe.network.engine import LOGIT_LIMIT
from pumba_pipe.network.weights import STAGES, load_weights

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model, Stage

TESTED = {'monai': '1.6.1', 'nibabel': '5.4.2', 'scipy': '1.17.1', 'fire': '0.7.1'}
SCHEMA = (
    'https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/'
    'meta_schema_20240725.json'
)
FILES = {'coarse': 'models/coarse.ts', 'fine': 'models/model.ts'}
STATE, METADATA, INFERENCE = 'models/model.pt', 'configs/metadata.json', 'configs/inference.json'
PIPELINE, README, LICENCE = 'configs/pipeline.json', 'docs/README.md', 'LICENSE'
SCRIPTS, SCRIPT = 'scripts/__init__.py', 'scripts/strip.py'
HOW = """In this folder:

```sh
pip install "monai[fire]" nibabel scipy
python -m monai.bundle run --config_file configs/inference.json \\
    --image head.nii.gz --mask mask.nii.gz
```

`network_def` of `configs/inference.json` is the fine network, `coarse_def` the coarse one.
`models/model.pt` holds the parameters of both as plain tensors, by the names `coarse/...` and
`fine/...`."""
NOTICE = """SPDX-License-Identifier: {licence}

The text of this licence: https://spdx.org/licenses/{licence}.html
"""


def export_monai(weights: Path | None, folder: Path) -> Exported:
    """Write the networks of a weights file as a MONAI bundle, and check them.

    Parameters
    ----------
    weights : Path, optional
        Default: the shipped ones.
    folder : Path
        The root of the bundle.

    Raises
    ------
    WeightsError
        The weights cannot be read.
    OutputError
        A file cannot be written, or the traced networks compute something else than ours.
    """
    import torch

    model = load_weights(weights)
    names = (*FILES.values(), STATE, METADATA, INFERENCE, PIPELINE, README, LICENCE)
    targets = [folder / name for name in (*names, SCRIPTS, SCRIPT)]
    check_outputs(targets, [weights])
    differences, traced, state = {}, {}, {}
    for name in STAGES:
        stage: Stage = getattr(model, name)
        traced[name] = _traced(torch, stage)
        differences[name] = difference(_predictor(torch, traced[name]), getattr(model, name))
        assert stage.parameters is not None
        for key, value in stage.parameters.values.items():
            state[f'{name}/{key}'] = torch.from_numpy(value.astype('float32'))
    refuse_others(differences, folder, 'TorchScript')
    for name, module in traced.items():
        with atomic_path(folder / FILES[name]) as partial:
            module.save(str(partial))
    with atomic_path(folder / STATE) as partial:
        torch.save(state, partial)
    described = describe_pipeline(model, FILES)
    write_json(folder / METADATA, metadata(model))
    write_json(folder / INFERENCE, inference())
    write_json(folder / PIPELINE, described)
    write_text(folder / README, readme(described, 'A MONAI bundle, of TorchScript files:', HOW))
    write_text(folder / LICENCE, licence_text(str(described['licence'])))
    write_text(folder / SCRIPTS, 'from . import strip\n')
    write_text(folder / SCRIPT, script())
    return Exported(targets, differences)


def _traced(torch: Any, stage: Stage) -> Any:
    """The network of a stage as TorchScript, with its logits cut as ours are."""
    import warnings

    from pumba_pipe.network.parameters import torch_network

    class Cut(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            assert stage.parameters is not None
            self.network = torch_network(stage.parameters)

        def forward(self, image: Any) -> Any:
            return self.network(image).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what depends on the shape is the same for all batches
        return torch.jit.trace(Cut().eval(), torch.zeros(1, 1, *[stage.size] * 3))


def _predictor(torch: Any, module: Any) -> Any:
    def predict(cube: Any) -> Any:
        with torch.no_grad():
            return module(torch.from_numpy(cube)[None, None])[0].numpy()

    return predict


def metadata(model: Model) -> dict[str, Any]:
    """What MONAI wants to know of a bundle; ``network_data_format`` is that of the fine network.

    Keys are those of https://docs.monai.io/en/stable/mb_specification.html, as MONAI 1.6 and
    `SCHEMA` have them.
    """
    described = describe_pipeline(model, FILES)
    networks = described['networks']
    packages = {name: number for name, number in TESTED.items() if name != 'monai'}
    return {
        'schema': SCHEMA,
        'version': __version__,
        'changelog': {__version__: f'exported from weights {model.sha256}'},
        'monai_version': TESTED['monai'],
        'pytorch_version': version('torch').partition('+')[0],
        'numpy_version': version('numpy'),
        'required_packages_version': packages,
        'task': 'Skull stripping (brain extraction) of any brain MRI',
        'description': 'A coarse network finds the brain in the whole scan, a fine one its border '
        f'in a box around it. {described["training_data"]}',
        'authors': 'The pumba_pipe developers',
        'copyright': f'The pumba_pipe developers, {described["licence"]}',
        'intended_use': 'Research. Not a medical device: look at the masks.',
        'data_source': 'synthetic heads, see pumba-synth',
        'data_type': 'nifti',
        'references': ['Park et al. 2025, https://arxiv.org/abs/2505.07159'],
        'image_classes': 'grey values of an MR image, from 0 to 1',
        'pred_classes': 'a channel for each border; within it where the logit is above 0',
        'network_data_format': tensors(networks['fine'], 'a box around the brain'),
        'coarse_data_format': tensors(networks['coarse'], 'the whole scan in a cube'),
    }


def tensors(network: Mapping[str, Any], seen: str) -> dict[str, Any]:
    """What goes into a network and comes out of it.

    Parameters
    ----------
    network : mapping
        One of ``networks`` of `pumba_pipe.export.description.describe_pipeline`.
    seen : str
        What it looks at.
    """
    common = {
        'type': 'image',
        'spatial_shape': [network['size']] * 3,
        'dtype': 'float32',
        'is_patch_data': True,
    }
    channels = {str(index): f'logit of {name}' for index, name in enumerate(network['borders'])}
    image = {
        **common,
        'format': 'magnitude',
        'modality': 'MR',
        'num_channels': 1,
        'value_range': [0, 1],
        'channel_def': {'0': f'{seen}, scaled as docs/README.md says'},
    }
    pred = {
        **common,
        'format': 'classes',
        'modality': 'n/a',
        'num_channels': len(channels),
        'value_range': [-LOGIT_LIMIT, LOGIT_LIMIT],
        'channel_def': channels,
    }
    return {'inputs': {'image': image}, 'outputs': {'pred': pred}}


def inference() -> dict[str, Any]:
    """How a scan is stripped: both passes, by the program beside it."""

    def loaded(name: str) -> dict[str, Any]:
        path = f"$@bundle_root + '/{FILES[name]}'"
        return {'_target_': 'torch.jit.load', 'f': path, 'map_location': '@device'}

    return {
        'imports': ['$import json', '$import pathlib', '$import scripts'],
        'bundle_root': '.',
        'image': 'head.nii.gz',
        'mask': 'mask.nii.gz',
        'device': "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        'network_def': loaded('fine'),
        'coarse_def': loaded('coarse'),
        'numbers': f"$json.loads(pathlib.Path(@bundle_root, '{PIPELINE}').read_text('utf-8'))",
        'networks': "$scripts.strip.torch_networks({'coarse': @coarse_def, 'fine': @network_def}, "
        '@device)',
        'run': ['$scripts.strip.strip_file(@image, @mask, @networks, @numbers)'],
    }


def licence_text(name: str) -> str:
    """The licence in full where it is that of this package, whose text comes with it."""
    text = None
    if name == 'Apache-2.0':
        try:
            installed = distribution('pumba_pipe')
            text = installed.read_text('licenses/LICENSE') or installed.read_text('LICENSE')
        except PackageNotFoundError:
            text = None
    return text or NOTICE.format(licence=name)
