"""Networks as ONNX files, with a program that uses them and a page that explains it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import atomic_path, check_outputs, write_json, write_text
from pumba_pipe.export.checks import Exported, difference, refuse_others
from pumba_pipe.export.description import describe_pipeline, readme, script
from pumba_pipe.network.engine import LOGIT_LIMIT
from pumba_pipe.network.onnx_unet import IMAGE, OPSET, unet_onnx
from pumba_pipe.network.weights import STAGES, load_weights

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model, Stage

INSTALL = "pip install 'pumba_pipe[export]'"
PIPELINE, README, SCRIPT = 'pipeline.json', 'README.md', 'strip.py'
HOW = """```sh
pip install numpy scipy nibabel onnxruntime
python strip.py head.nii.gz mask.nii.gz
```"""


def needed_package(name: str) -> Any:
    """Import a package that only an export needs.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'this needs the package {name} ({error}): {INSTALL}') from None


def export_onnx(weights: Path | None, folder: Path) -> Exported:
    """Write the networks of a weights file as ONNX files, and check them.

    Parameters
    ----------
    weights : Path, optional
        Default: the shipped ones.
    folder : Path
        Gets ``coarse.onnx``, ``fine.onnx``, ``pipeline.json``, ``README.md`` and ``strip.py``.

    Raises
    ------
    InputError
        onnx or onnxruntime is not installed.
    WeightsError
        The weights cannot be read.
    OutputError
        A file cannot be written, or onnxruntime computes something else than we do.
    """
    onnx, onnxruntime = needed_package('onnx'), needed_package('onnxruntime')
    model = load_weights(weights)
    names = {stage: f'{stage}.onnx' for stage in STAGES}
    targets = [folder / name for name in (*names.values(), PIPELINE, README, SCRIPT)]
    check_outputs(targets, [weights])
    made = {stage: _onnx_bytes(onnx, model, stage) for stage in STAGES}
    differences = {
        stage: difference(_predictor(onnxruntime, content), getattr(model, stage))
        for stage, content in made.items()
    }
    refuse_others(differences, folder, f'onnxruntime {onnxruntime.__version__}')
    for stage, content in made.items():
        with atomic_path(folder / names[stage]) as partial:
            partial.write_bytes(content)
    described = describe_pipeline(model, names)
    write_json(folder / PIPELINE, described)
    what = f'The networks are ONNX files of opset {OPSET}:'
    write_text(folder / README, readme(described, what, HOW))
    write_text(folder / SCRIPT, script())
    return Exported(targets, differences)


def _onnx_bytes(onnx: Any, model: Model, name: str) -> bytes:
    stage: Stage = getattr(model, name)
    assert stage.parameters is not None  # as they were read from a file
    notes = {
        'stage': name,
        'made_with': f'pumba_pipe {__version__}',
        'weights_sha256': model.sha256,
        'licence': str(model.card.get('licence', 'unknown')),
        'training_data': str(model.card.get('training_data', 'unknown')),
    }
    made = unet_onnx(onnx, stage.parameters, stage.size, LOGIT_LIMIT, notes)
    return bytes(made.SerializeToString())


def _predictor(onnxruntime: Any, content: bytes) -> Any:
    """A cube to logits, by the network in a file."""
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return lambda cube: session.run(None, {IMAGE: cube[None, None]})[0][0]
