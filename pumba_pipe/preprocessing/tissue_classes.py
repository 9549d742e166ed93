"""Voxels of a brain sorted by intensity: a mixture of Gaussians fitted to the histogram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASSES = 3
BINS = 256
RANGE = (0.5, 99.5)  # percentiles between which the histogram lies
EM_ITERATIONS = 200
SETTLED = 1e-6  # change of the weights, below which the fit ends


def classify(
    data: NDArray[Any], mask: NDArray[np.bool_], classes: int = CLASSES
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Sort the voxels of a mask by intensity.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
    classes : int

    Returns
    -------
    labels : ndarray of uint8, shape (x, y, z)
        1 for the darkest class, `classes` for the brightest, 0 outside the mask.
    shares : ndarray of float32, shape (classes, x, y, z)
        Probability of each class, darkest first; their sum is 1 inside the mask, 0 outside.

    Raises
    ------
    InputError
        The image has no contrast inside the mask.
    """
    values = data[mask].astype(np.float64)
    low, high = np.percentile(values, RANGE) if values.size else (0.0, 0.0)
    if not high > low:
        raise InputError('there is no contrast inside the mask')
    counts, edges = np.histogram(values, BINS, (low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    shares_of_bins = _fit(centres, counts / counts.sum(), classes)
    bins = np.clip(((values - low) / (high - low) * BINS).astype(int), 0, BINS - 1)
    labels = np.zeros(data.shape, np.uint8)
    labels[mask] = shares_of_bins.argmax(0)[bins] + 1
    shares = np.zeros((classes, *data.shape), np.float32)
    shares[:, mask] = shares_of_bins[:, bins]
    return labels, shares


def _fit(
    centres: NDArray[np.float64], weights: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """Probability of each class, darkest first, in each bin, shape (classes, bins)."""
    cumulated = weights.cumsum()
    starts = (np.arange(classes) + 0.5) / classes
    means = np.interp(starts, cumulated, centres)
    least = centres[1] - centres[0]
    spreads = np.full(classes, max((centres[-1] - centres[0]) / (2 * classes), least))
    parts = np.full(classes, 1 / classes)
    for _ in range(EM_ITERATIONS):
        distances = (centres - means[:, None]) / spreads[:, None]
        # relative to the nearest class: far from all of them, densities would be zero
        logs = np.log(np.maximum(parts / spreads, 1e-12))[:, None] - distances**2 / 2
        shares = np.exp(logs - logs.max(0))
        shares /= shares.sum(0)
        amounts = shares * weights
        new = amounts.sum(1)
        settled = np.abs(new - parts).max() < SETTLED
        parts = np.maximum(new, 1e-12)
        means = (amounts * centres).sum(1) / parts
        spreads = np.sqrt((amounts * (centres - means[:, None]) ** 2).sum(1) / parts)
        spreads = np.maximum(spreads, least)
        if settled:
            break
    return np.asarray(shares[means.argsort()])


def classify_files(
    in_file: Path, in_mask: Path, out_labels: Path, out_shares: Sequence[Path]
) -> None:
    """Sort the voxels of a mask by intensity; as many classes as there are `out_shares`.

    Raises
    ------
    InputError, OutputError
    """
    from pumba_pipe.images.masks import load_mask_of
    from pumba_pipe.images.saving import check_images, save_map, save_mask
    from pumba_pipe.images.volume import load_volume

    check_images([out_labels, *out_shares], [in_file, in_mask])
    volume = load_volume(in_file)
    mask = load_mask_of(volume, in_mask)
    try:
        labels, shares = classify(volume.data, mask, len(out_shares))
    except InputError as error:
        raise InputError(f'{in_file}: {error}') from None
    save_mask(volume, labels, out_labels)
    for share, path in zip(shares, out_shares, strict=True):
        save_map(volume, share, path)
