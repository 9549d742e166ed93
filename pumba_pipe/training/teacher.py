"""Learning from trained networks beside the true labels (distillation, Hinton et al. 2015).

A true label is one or zero right up to a border that no image shows to the voxel. What several
trained networks say of it on average is a better target there, and one small network that learns
it comes near to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pumba_pipe.common.errors import InputError
from pumba_pipe.network.engine import Engine, engine_for
from pumba_pipe.network.weights import Stage, load_weights
from pumba_pipe.training.losses import soft_dice
from pumba_pipe.training.samples import Batch

TRUSTED_DICE = 0.9  # below it the teachers are wrong about a head, and only its label counts


class Teacher:
    """Networks whose mean prediction is part of what a network learns.

    Parameters
    ----------
    files : sequence of Path
        Weights; the network of the stage that is trained is asked.
    stage : str
        ``'coarse'`` or ``'fine'``.
    share : float
        Of their prediction in the target, 0..1; the rest is the true label.
    size : int
        Side of the training cubes, in voxels.
    device : str

    Raises
    ------
    InputError
        A network cannot look at cubes of this size, or `share` is out of range.
    WeightsError
    """

    def __init__(
        self, files: Sequence[Path], stage: str, share: float, size: int, device: str
    ) -> None:
        if not 0 < share <= 1:
            raise InputError(f'teacher share {share:g}: must be above 0 and at most 1')
        self.share = share
        self.digests: list[str] = []
        self._engines: list[Engine] = []
        for file in files:
            model = load_weights(file)
            trained: Stage = getattr(model, stage)
            if size % trained.config.multiple:
                raise InputError(f'{file}: cannot teach a network that sees cubes of {size}')
            self.digests.append(model.sha256)
            parameters = trained.parameters
            assert parameters is not None  # just read from a file
            self._engines.append(engine_for(Stage(parameters, size), device))

    def targets(self, batch: Batch) -> Batch:
        """Mix the teachers' prediction into a batch's targets, where they know the head."""
        said = self._predicted(batch.image).to(batch.target)
        seen = batch.inside
        known = batch.target[:, : said.shape[1]]  # teachers may predict fewer borders
        agree = soft_dice((said > 0.5).to(said) * seen, known * seen)
        share = self.share * (agree > TRUSTED_DICE).to(said)[..., None, None, None]
        rest = batch.target[:, said.shape[1] :]
        return batch._replace(target=torch.cat([torch.lerp(known, said, share), rest], 1))

    def _predicted(self, images: Tensor) -> Tensor:
        """Mean probability, (batch, borders, x, y, z), for images (batch, 1, x, y, z)."""
        cubes = images[:, 0].detach().float().cpu().numpy()
        logits = [
            np.mean([engine.predict(cube) for engine in self._engines], axis=0) for cube in cubes
        ]
        return torch.from_numpy(np.stack(logits)).sigmoid()
