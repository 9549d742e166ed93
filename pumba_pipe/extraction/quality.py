"""How far a mask can be trusted, judged without a reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.files import image_suffix
from pumba_pipe.common.imports import import_ndimage
from pumba_pipe.images.intensity import quantiles
from pumba_pipe.images.masks import bounding_block, millilitres
from pumba_pipe.images.orientation import in_memory_order
from pumba_pipe.images.saving import WRITABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.extraction.evidence import AgreementMetrics
    from pumba_pipe.extraction.expected_dice import ExpectedDice
    from pumba_pipe.images.volume import Volume

KEYS = {'volume_ml', 'components', 'flags'}  # of all records, those of earlier versions too
STRIPPED_SHARE = 0.05  # of the mask's volume: signal outside a head that was stripped before
EDGE_SHARE = 0.02
NO_CALIBRATION = 'no calibration in these weights: run pumba-weights calibrate'
EDGE = 'the brain touches the edge of the field of view'
STRIPPED = 'the image looks skull-stripped already'


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
        Mean Dice overlap of the predictions for the image as it is and for other views of it,
        mirrored or brightened, with their average.
    gamma_dice : float
        Dice overlap of the prediction for the brightened image, which is mirrored too, with that
        for the image as it is.
    boundary_certainty : float
        Mean distance of the probability from one half near the border, as 0..1.
    expected_dice : float or None
        Dice that is to be expected with a mask drawn with care, 0..1; None where the weights
        have no calibration (``pumba-weights calibrate``).
    expected_dice_low, expected_dice_high : float or None
        Interval that holds the Dice of nine in ten masks.
    reasons : tuple of str
        What keeps the expected Dice below that of good masks, in words.
    already_stripped : bool
        There was next to no signal outside the brain.
    flags : tuple of str
        What a person should look at, in plain words.
    notes : tuple of str
        What was done to read the image, and whether the CPU stood in for a GPU that failed.
    intracranial_ml : float or None
        Volume of the intracranial space, on the grid of the fine pass; None, and not in the
        record, where the weights do not predict it or the image was stripped before.
    """

    volume_ml: float
    components: int
    edge_contact: float
    coarse_fine_dice: float
    tta_dice: float
    gamma_dice: float
    boundary_certainty: float
    expected_dice: float | None
    expected_dice_low: float | None
    expected_dice_high: float | None
    reasons: tuple[str, ...]
    already_stripped: bool
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    intracranial_ml: float | None = None

    @property
    def confidence(self) -> float | None:
        """Former name of `expected_dice`, another number on another scale; will be removed."""
        warnings.warn(
            'Quality.confidence is now Quality.expected_dice; masks to look at are those with '
            'flags, not those below 0.5',
            FutureWarning,
            stacklevel=2,
        )
        return self.expected_dice

    @property
    def doubtful(self) -> bool:
        """Whether a flag says that the mask may be wrong, not only what the image is like."""
        return any(flag not in (EDGE, STRIPPED) for flag in self.flags)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded, for JSON; `confidence` is a copy for older readers."""
        values = asdict(self) | {'confidence': self.expected_dice}
        if self.intracranial_ml is None:
            del values['intracranial_ml']
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in values.items()
        }

    def __str__(self) -> str:
        """Say the expected Dice in a line, as ``expected Dice 0.95 (0.84-0.98)``."""
        if self.expected_dice is None:
            return 'expected Dice unknown'
        low, high = self.expected_dice_low, self.expected_dice_high
        return f'expected Dice {self.expected_dice:.2f} ({low:.2f}-{high:.2f})'


def check_quality_file(path: Path) -> None:
    """Refuse to write a quality record where another file is, or as an image.

    Such a file may be the image's own JSON file, or another image that was named by mistake.

    Raises
    ------
    OutputError
    """
    if image_suffix(path) in WRITABLE:
        raise OutputError(f'{path}: is the name of an image; let that of a record end with .json')
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        known = read_json(path).keys() >= KEYS
    except InputError:
        known = False
    if not known:
        raise OutputError(
            f'{path}: is there, and is no quality record; choose another name, or remove it'
        )


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
    ndimage = import_ndimage()
    # Every other voxel of a large image says as much, in an eighth of the time.
    steps = tuple(slice(None, None, 2 if side > 128 else 1) for side in mask.shape)
    if mask[steps].any():
        data, mask = data[steps], mask[steps]
    data, mask = in_memory_order(data, mask)
    block = bounding_block(mask, 3)
    near = ndimage.binary_dilation(mask[block], iterations=2)
    blank = quantiles(data[~mask], [0.5])[0] if not mask.all() else 0.0
    level = 0.02 * (quantiles(data[mask], [0.9])[0] - blank)
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
    expected: ExpectedDice | None,
    doubts: Sequence[str] = (),
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
    expected : ExpectedDice or None
        None where the weights have no calibration.
    doubts : sequence of str
        What needs no calibration to be doubted, see `pumba_pipe.extraction.plausibility`.
    """
    contact = edge_contact(mask[seen])
    stripped = is_stripped(volume.data, mask)
    flags = list(_flags(expected))
    if contact > EDGE_SHARE:
        flags.append(EDGE)
    if stripped:
        flags.append(STRIPPED)
    return Quality(
        volume_ml=millilitres(mask, volume),
        components=components,
        edge_contact=contact,
        **agreement._asdict(),
        expected_dice=None if expected is None else expected.value,
        expected_dice_low=None if expected is None else expected.low,
        expected_dice_high=None if expected is None else expected.high,
        reasons=() if expected is None else expected.reasons,
        already_stripped=stripped,
        flags=(*flags, *doubts),
        notes=(*volume.notes, *((NO_CALIBRATION,) if expected is None else ())),
    )


def _flags(expected: ExpectedDice | None) -> Iterator[str]:
    if expected is None or not expected.flagged:
        return
    yield expected.no_brain or str(expected)
