"""Networks as ONNX files, with a program that uses them and a page that explains it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe._version import __version__
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.files import atomic_path, check_outputs, write_json, write_text
from pumba_pipe.export.description import describe_pipeline, readme, script
from pumba_pipe.network.engine import LOGIT_LIMIT
from pumba_pipe.network.onnx_unet import IMAGE, OPSET, unet_onnx
from pumba_pipe.network.weights import STAGES, load_weights

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model, Stage

TOLERANCE = 1e-3  # by which logits may differ from ours, which are cut at 10
INSTALL = "pip install 'pumba_pipe[export]'"
PIPELINE, README, SCRIPT = 'pipeline.json', 'README.md', 'strip.py'
HOW = """```sh
pip install numpy scipy nibabel onnxruntime
python strip.py head.nii.gz mask.nii.gz
```"""


@dataclass(frozen=True)
class Exported:
    """What was written, and by how much logits differ from ours, at most, of each stage."""

    files: list[Path]
    differences: dict[str, float]


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
        stage: difference(onnxruntime, made[stage], getattr(model, stage)) for stage in STAGES
    }
    for stage, off in differences.items():
        if not off < TOLERANCE:
            raise OutputError(
                f'{folder / names[stage]}: not written: by onnxruntime {onnxruntime.__version__} '
                f'its logits are {off:.2g} away from ours, more than {TOLERANCE:g}'
            )
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


def difference(onnxruntime: Any, content: bytes, stage: Stage) -> float:
    """How far logits of a file are from those of our own engine in full precision, at most."""
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    cube = trial_cube(stage.size)
    theirs = session.run(None, {IMAGE: cube[None, None]})[0][0]
    return float(np.abs(theirs - our_logits(stage, cube)).max())


def our_logits(stage: Stage, cube: np.ndarray) -> np.ndarray:
    """Logits of a stage as we compute them on a CPU, in float32."""
    from pumba_pipe.network.openvino_engine import OpenVinoEngine, is_usable

    assert stage.parameters is not None
    if is_usable():
        engine = OpenVinoEngine(stage.parameters, stage.size, LOGIT_LIMIT, 0, 'f32')
        return engine.predict(cube)
    import torch

    from pumba_pipe.network.parameters import torch_network

    with torch.inference_mode():
        logits = torch_network(stage.parameters)(torch.from_numpy(cube)[None, None])[0]
    return logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).numpy()


def trial_cube(size: int) -> np.ndarray:
    """A ball in a larger one with noise, so that logits of both signs are compared."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    radius = np.sqrt(sum(np.meshgrid(*[centres**2] * 3, indexing='ij')))
    ball = np.where(radius < 0.3, 0.6, np.where(radius < 0.42, 0.2, 0.05))
    noise = np.random.default_rng(1).normal(0, 0.05, ball.shape)
    return np.clip(ball + noise, 0, 1).astype(np.float32)


def in_words(differences: dict[str, float]) -> Sequence[str]:
    """One line for each stage."""
    return [f'{name}: logits within {off:.1g} of ours' for name, off in differences.items()]
