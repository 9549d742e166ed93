"""What training asks beside the labels: that two images of a head agree, and plausible shapes.

Neither needs to know where the brain is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pumba_pipe.images.masks import clean
from pumba_pipe.network.config import WITH_CSF
from pumba_pipe.training.losses import dice_and_cross_entropy, soft_dice
from pumba_pipe.training.samples import Batch

if TYPE_CHECKING:
    from torch import nn


def disagreement(logits: Tensor, inside: Tensor) -> Tensor:
    """One minus the Dice overlap of two predictions of each head, where both saw it.

    Parameters
    ----------
    logits : Tensor, shape (2 * heads, borders, x, y, z)
        Two predictions of a head stand side by side.
    inside : Tensor, shape (2 * heads, 1, x, y, z)

    Returns
    -------
    Tensor, scalar
    """
    first, second = (logits[index::2].float().sigmoid() for index in range(2))
    both = inside[0::2] * inside[1::2]
    return (1 - soft_dice(first * both, second * both)).mean()


@torch.no_grad()
def hardest_pairs(network: nn.Module, batch: Batch, renderings: int) -> Batch:
    """Of the renderings of each head keep the first, and the one the network does worst on.

    Training then looks for the contrast and the artefact that fool the network as it is.

    Parameters
    ----------
    network : UNet
    batch : Batch
        `renderings` images of each head, one after the other, in the same view.
    renderings : int
        Two or more; of two both are kept.
    """
    count = len(batch.image)
    kept = []
    for first in range(0, count, renderings):
        others = range(first + 1, first + renderings)
        hardest = max(others, key=lambda item: _loss(network, batch, item, len(others)))
        kept += [first, hardest]
    return Batch(*(part[kept] for part in batch))


def _loss(network: nn.Module, batch: Batch, item: int, candidates: int) -> float:
    if candidates == 1:
        return 0.0
    image, target, inside = (part[item : item + 1] for part in batch)
    return float(dice_and_cross_entropy(network(image), target, inside))


def implausible_shape(logits: Tensor, inside: Tensor) -> Tensor:
    """Cross-entropy of what lies off the largest piece, or is a hole in it, by the prediction.

    A brain is one piece without holes; that the brain with CSF holds the one without and lies in
    the intracranial space is true of every prediction (`pumba_pipe.network.unet.nested`).

    Parameters
    ----------
    logits : Tensor, shape (batch, borders, x, y, z)
    inside : Tensor, shape (batch, 1, x, y, z)
        One where the image was scanned.

    Returns
    -------
    Tensor, scalar
    """
    brain = logits[:, WITH_CSF].float()
    seen = inside[:, 0] > 0.5
    predicted = (brain.detach() > 0) & seen
    pieces = [torch.from_numpy(clean(mask.cpu().numpy())[0]) for mask in predicted]
    wanted = torch.stack(pieces).to(predicted.device)
    wrong = (wanted != predicted) & seen
    entropy = F.binary_cross_entropy_with_logits(brain, wanted.to(brain), reduction='none')
    # relative to the brain, as Dice is: what is wrong is a small share of the cube
    return (entropy * wrong).sum() / wanted.sum().clamp_min(1)
