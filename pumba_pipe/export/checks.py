"""Whether exported networks compute what ours do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.errors import OutputError
from pumba_pipe.network.engine import LOGIT_LIMIT
from pumba_pipe.network.openvino_engine import OpenVinoEngine, is_usable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.weights import Stage

    Array = NDArray[np.float32]

# By which logits, which are cut at 10, may differ from those of our engines in float32. On the
# trial cubes of the shipped networks, torch lies 0.00001 from its own result in float64, and
# onnxruntime 0.00006; OpenVINO lies 0.00006 from it with the coarse network, 0.0013 with the fine.
TOLERANCES = {'PyTorch': 2e-4, 'OpenVINO': 2e-3}


@dataclass(frozen=True)
class Exported:
    """What was written, and by how much logits differ from ours, at most: see `difference`."""

    files: list[Path]
    differences: dict[str, dict[str, float]]

    def in_words(self) -> str:
        """Say how much, a line for each stage."""
        return '\n'.join(
            f'{name}: logits within '
            + ' and '.join(f'{off:.1g} of those by {engine}' for engine, off in offs.items())
            for name, offs in self.differences.items()
        )


def difference(predict: Callable[[Array], Array], stage: Stage) -> dict[str, float]:
    """How far logits are, at most, from those of each of our engines that can be used here.

    Parameters
    ----------
    predict : callable
        A cube (size, size, size) to logits (borders, size, size, size).
    stage : Stage
        As it was read from a file.
    """
    cube = trial_cube(stage.size)
    logits = predict(cube)
    return {
        engine: float(np.abs(logits - our_logits(stage, cube, engine)).max())
        for engine in our_engines()
    }


def refuse_others(
    differences: Mapping[str, Mapping[str, float]], folder: Path, computed_by: str
) -> None:
    """Refuse networks that compute something else than ours, before they are written.

    Raises
    ------
    OutputError
    """
    for stage, offs in differences.items():
        for engine, off in offs.items():
            if not off < TOLERANCES[engine]:
                raise OutputError(
                    f'{folder}: not written: by {computed_by} the logits of the {stage} network '
                    f'are {off:.2g} away from ours by {engine}, more than {TOLERANCES[engine]:g}'
                )


def our_engines() -> list[str]:
    """Our engines that can be used here, the more exact one first."""
    usable = {'PyTorch': find_spec('torch') is not None, 'OpenVINO': is_usable()}
    return [engine for engine in TOLERANCES if usable[engine]] or ['PyTorch']  # says it is missing


def our_logits(stage: Stage, cube: Array, engine: str) -> Array:
    """Logits of a stage as an engine of ours computes them on a CPU, in float32."""
    assert stage.parameters is not None
    if engine == 'OpenVINO':
        return OpenVinoEngine(stage.parameters, stage.size, LOGIT_LIMIT, 0, 'f32').predict(cube)
    import torch

    from pumba_pipe.network.parameters import torch_network

    with torch.inference_mode():
        logits = torch_network(stage.parameters)(torch.from_numpy(cube)[None, None])[0]
    return logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).numpy()


def trial_cube(size: int) -> Array:
    """A ball in a larger one with noise, so that logits of both signs are compared."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    radius = np.sqrt(sum(np.meshgrid(*[centres**2] * 3, indexing='ij')))
    ball = np.where(radius < 0.3, 0.6, np.where(radius < 0.42, 0.2, 0.05))
    noise = np.random.default_rng(1).normal(0, 0.05, ball.shape)
    return np.clip(ball + noise, 0, 1).astype(np.float32)
