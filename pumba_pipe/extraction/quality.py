"""How far a mask can be trusted, judged without a reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe.images.masks import bounding_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

LOW_CONFIDENCE = 0.5
STRIPPED_SHARE = 0.05  # of the mask's volume: signal outside a head that was stripped before
EDGE_SHARE = 0.02
GREY_WEIGHT = 13.0


class AgreementMetrics(NamedTuple):
    """What the confidence is made of; see `Quality`."""

    coarse_fine_dice: float
    tta_dice: float
    gamma_dice: float
    boundary_certainty: float


@dataclass(frozen=True)
class Quality:
    """A record of one extraction.

    Attributes
    ----------
    volume_ml : float
        Of the mask, by the header's voxel size.
    components : int
        Connected components of the prediction before the largest was kept.
    edge_contact : float
        Share of the mask's surface that lies on the edge of the field of view, blank planes at the
        image's edges left out.
    coarse_fine_dice : float
        Dice overlap of the coarse and the fine pass.
    tta_dice : float
        Mean Dice overlap of the predictions of mirrored views, some of them brightened, with their
        average.
    gamma_dice : float
        Dice overlap of the prediction for the brightened image with that for the image as it is.
    boundary_certainty : float
        Mean distance of the probability from one half near the border, as 0..1.
    confidence : float
        0..1; below 0.5 the mask should be looked at.
    already_stripped : bool
        There was next to no signal outside the brain.
    flags : tuple of str
        What a person should look at, in plain words.
    notes : tuple of str
        What was done to read the image, and whether the CPU stood in for a GPU that failed.
    """

    volume_ml: float
    components: int
    edge_contact: float
    coarse_fine_dice: float
    tta_dice: float
    gamma_dice: float
    boundary_certainty: float
    confidence: float
    already_stripped: bool
    flags: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded, for JSON."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def edge_contact(mask: NDArray[np.bool_]) -> float:
    """Share of a mask's surface faces that lie on the edge of the grid."""
    block = mask[bounding_block(mask)]
    inner = sum(int(np.count_nonzero(_steps(block, axis))) for axis in range(3))
    return _outer_faces(mask) / max(1, inner + _outer_faces(block))


def _steps(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Where a mask begins or ends along an axis."""
    planes = np.moveaxis(mask, axis, 0)
    return planes[1:] != planes[:-1]


def _outer_faces(mask: NDArray[np.bool_]) -> int:
    """Faces of a mask that lie on the edge of its grid."""
    ends = (np.moveaxis(mask, axis, 0)[end] for axis in range(3) for end in (0, -1))
    return sum(int(np.count_nonzero(plane)) for plane in ends)


def is_stripped(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether everything but the brain was blank before: next to no signal outside the mask."""
    from scipy import ndimage

    # Every other voxel of a large image says as much, in an eighth of the time.
    steps = tuple(slice(None, None, 2 if side > 128 else 1) for side in mask.shape)
    if mask[steps].any():
        data, mask = data[steps], mask[steps]
    block = bounding_block(mask, 3)
    near = ndimage.binary_dilation(mask[block], iterations=2)
    blank = float(np.median(data[~mask])) if not mask.all() else 0.0
    level = 0.02 * (float(np.percentile(data[mask][::7], 90)) - blank)
    signal = np.abs(data - blank) > abs(level)
    outside = int(np.count_nonzero(signal)) - int(np.count_nonzero(signal[block] & near))
    return outside < STRIPPED_SHARE * int(np.count_nonzero(mask))


def boundary_certainty(doubtful: int, voxels: int) -> float:
    """One minus half the share of uncertain voxels, by the size of the mask, as 0..1.

    Parameters
    ----------
    doubtful : int
        Voxels with a probability between 0.1 and 0.9.
    voxels : int
        Of the mask.
    """
    return max(0.0, 1.0 - 0.5 * doubtful / max(1, voxels))


def quality_record(
    volume: Volume,
    seen: tuple[slice, ...],
    mask: NDArray[np.bool_],
    components: int,
    agreement: AgreementMetrics,
) -> Quality:
    """Gather the record of one extraction.

    Parameters
    ----------
    volume : Volume
    seen : three slices
        Its field of view.
    mask : ndarray of bool, shape (x, y, z)
        Not empty.
    components : int
    agreement : AgreementMetrics
    """
    contact = edge_contact(mask[seen])
    confidence = confidence_score(agreement)
    stripped = is_stripped(volume.data, mask)
    flags = []
    if confidence < LOW_CONFIDENCE:
        flags.append('low confidence: look at this mask')
    if contact > EDGE_SHARE:
        flags.append('the brain touches the edge of the field of view')
    if stripped:
        flags.append('the image looks skull-stripped already')
    return Quality(
        volume_ml=float(np.count_nonzero(mask)) * float(np.prod(volume.voxel_size)) / 1000,
        components=components,
        edge_contact=contact,
        **agreement._asdict(),
        confidence=confidence,
        already_stripped=stripped,
        flags=tuple(flags),
        notes=volume.notes,
    )


def confidence_score(agreement: AgreementMetrics) -> float:
    """One number from what passes, mirrored and brightened images agree on, 0..1.

    Its constants were set by hand so that poor masks of real scans come out below 0.5.
    """
    passes, flips, greys, clear = agreement
    doubt = 3 * (1 - flips) + 0.8 * (1 - clear) + 0.2 * (1 - passes)
    confidence = min(1 - 1.1 * doubt, 1 - GREY_WEIGHT * (1 - greys))
    return float(np.clip(confidence, 0.0, 1.0))
