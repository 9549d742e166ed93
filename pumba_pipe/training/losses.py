"""What training minimizes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Dice overlap of each item and border, shape (batch, c); both (batch, c, x, y, z)."""
    axes = (2, 3, 4)
    overlap = 2 * (probability * target).sum(axes)
    return (overlap + 1) / (probability.sum(axes) + target.sum(axes) + 1)


def dice_and_cross_entropy(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """One minus Dice, plus the mean binary cross-entropy; all borders count alike.

    Parameters
    ----------
    logits, target : Tensor, shape (batch, borders, x, y, z)
        `target` in 0..1 is the share of the voxel that lies within the border; NaN where nothing
        is known.
    inside : Tensor, shape (batch, 1, x, y, z)
        One where the image was scanned; elsewhere nothing is asked of the network.

    Returns
    -------
    Tensor, scalar
    """
    logits = logits.float()
    known = (inside * target.isfinite()).to(logits)
    target = target.nan_to_num(0.0)
    dice = soft_dice(logits.sigmoid() * known, target * known)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    entropy = (entropy * known).sum((2, 3, 4)) / known.sum((2, 3, 4)).clamp_min(1)
    asked = known.flatten(2).any(2).to(logits)
    return ((1 - dice + entropy) * asked).sum() / asked.sum().clamp_min(1)
