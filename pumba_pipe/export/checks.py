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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.weights import Stage

    Array = NDArray[np.float32]

# By which logits, which are cut at 10, may differ from ours in float32. On the trial cubes of the
# shipped networks, torch lies 0.00001 from its own result in float64, and onnxruntime 0.00006;
# OpenVINO lies 0.00006 from it with the coarse network, and 0.0013 with the fine one.
TOLERANCES = {'torch': 2e-4, 'openvino': 2e-3}


@dataclass(frozen=True)
class Exported:
    """What was written, and by how much logits differ from ours, at most, of each stage."""

    files: list[Path]
    differences: dict[str, float]

    def in_words(self) -> str:
        """Say how much, a line for each stage."""
        return '\n'.join(
            f'{name}: logits within {off:.1g} of ours' for name, off in self.differences.items()
        )


def difference(predict: Callable[[Array], Array], stage: Stage) -> float:
    """How far logits are from those of our own engine in full precision, at most.

    Parameters
    ----------
    predict : callable
        A cube (size, size, size) to logits (borders, size, size, size).
    stage : Stage
        As it was read from a file.
    """
    cube = trial_cube(stage.size)
    return float(np.abs(predict(cube) - our_logits(stage, cube)).max())


def refuse_others(differences: Mapping[str, float], folder: Path, computed_by: str) -> None:
    """Refuse networks that compute something else than ours, before they are written.

    Raises
    ------
    OutputError
    """
    most = TOLERANCES[our_engine()]
    for stage, off in differences.items():
        if not off < most:
            raise OutputError(
                f'{folder}: not written: by {computed_by} the logits of the {stage} network are '
                f'{off:.2g} away from ours, more than {most:g}'
            )


def our_engine() -> str:
    """Which of our engines others are compared with: torch, the more exact one, if it is there."""
    return 'torch' if find_spec('torch') else 'openvino'


def our_logits(stage: Stage, cube: Array) -> Array:
    """Logits of a stage as we compute them on a CPU, in float32."""
    assert stage.parameters is not None
    if our_engine() == 'openvino':
        from pumba_pipe.network.openvino_engine import OpenVinoEngine

        engine = OpenVinoEngine(stage.parameters, stage.size, LOGIT_LIMIT, 0, 'f32')
        return engine.predict(cube)
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
