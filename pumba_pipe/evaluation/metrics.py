"""Found masks against reference masks: overlap, surface distances, and their tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import MISSING, format_number
from pumba_pipe.images.masks import bounding_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.extraction.quality import Quality

GROUPS = {
    'human': ('human', 'homo'),
    'monkey and ape': (
        *('chimpanzee', 'ape', 'apes', 'gorilla', 'orangutan', 'bonobo', 'gibbon', 'pan'),
        *('monkey', 'macaque', 'macaca', 'marmoset', 'callithrix', 'baboon', 'papio', 'lemur'),
    ),
    'rodent': ('mouse', 'mus', 'rat', 'rattus', 'rodent', 'vole', 'hamster'),
}
OTHER = 'other'


@dataclass(frozen=True)
class Overlap:
    """How a found mask compares with its reference.

    Attributes
    ----------
    dice : float
        0..1.
    hd95_mm : float
        95th percentile of the distances between the surfaces, the larger of both directions.
    assd_mm : float
        Mean distance between the surfaces, over the surface voxels of both masks.
    sensitivity, specificity : float
        Share of the reference that was found; share of the rest of the image left out.
    volume_ratio : float
        Found volume over reference volume.

    Values that do not exist (distances to an empty mask) are not a number.

    """

    dice: float
    hd95_mm: float
    assd_mm: float
    sensitivity: float
    specificity: float
    volume_ratio: float


@dataclass(frozen=True)
class Agreement:
    """An `Overlap`, and how much of the surfaces agrees.

    Attributes
    ----------
    overlap : Overlap
    surface_dice_1mm, surface_dice_2mm : float
        Share of the surface voxels of both masks that lie within 1 or 2 mm of the other surface
        (Nikolov et al. 2018, where each surface element counts by its area); 0 where nothing was
        found.
    """

    overlap: Overlap
    surface_dice_1mm: float
    surface_dice_2mm: float


@dataclass(frozen=True)
class StatedQuality:
    """What the program itself said of a mask, before it was compared.

    Attributes
    ----------
    dice, low, high : float
        Expected Dice and its 90 % interval; not a number where nothing was said.
    flagged : str
        ``'yes'`` or ``'no'``: whether a flag says that the mask may be wrong; `MISSING` where
        nothing was said.
    """

    dice: float = math.nan
    low: float = math.nan
    high: float = math.nan
    flagged: str = MISSING

    @classmethod
    def of(cls, quality: Quality) -> StatedQuality:
        """Read a quality record."""
        values = (quality.expected_dice, quality.expected_dice_low, quality.expected_dice_high)
        value, low, high = (math.nan if one is None else one for one in values)
        return cls(value, low, high, 'yes' if quality.doubtful else 'no')


@dataclass(frozen=True)
class CaseScore:
    """One row of ``scores.tsv``; what is not known is not a number."""

    case: str
    species: str
    modality: str
    overlap: Overlap | None = None
    expected: StatedQuality = StatedQuality()
    seconds: float = math.nan
    peak_mb: float = math.nan
    failed: bool = False

    def cells(self) -> list[str]:
        """The row's cells as text, in the order of `SCORE_COLUMNS`."""
        overlap = self.overlap or Overlap(*[math.nan] * 6)
        stated = self.expected
        numbers = (
            *astuple(overlap),
            *(stated.dice, stated.low, stated.high, self.seconds, self.peak_mb),
        )
        digits = (4, 3, 3, 4, 4, 4, 4, 4, 4, 2, 0)
        words = [format_number(*pair) for pair in zip(numbers, digits, strict=True)]
        return [self.case, self.species, self.modality, *words, stated.flagged]


SCORE_COLUMNS = (
    *('case', 'species', 'modality'),
    *(field.name for field in fields(Overlap)),
    *('expected_dice', 'expected_dice_low', 'expected_dice_high'),
    *('seconds', 'peak_mb', 'flagged'),
)
SUMMARY_COLUMNS = (
    *('level', 'species', 'modality'),
    *('n', 'failed', 'median_dice', 'min_dice', 'median_hd95_mm'),
)


def compare(
    found: NDArray[Any], reference: NDArray[Any], voxel_size: Sequence[float] | NDArray[Any]
) -> Overlap:
    """Compare a found mask with its reference, see `agreement`."""
    return agreement(found, reference, voxel_size).overlap


def agreement(
    found: NDArray[Any], reference: NDArray[Any], voxel_size: Sequence[float] | NDArray[Any]
) -> Agreement:
    """Compare a found mask and its surface with its reference.

    Parameters
    ----------
    found, reference : ndarray, shape (x, y, z)
        Non-zero inside.
    voxel_size : three floats
        In millimetres.

    Raises
    ------
    InputError
        The shapes differ, or the reference is empty.

    """
    if found.shape != reference.shape:
        raise InputError(f'the found mask is {found.shape}, its reference {reference.shape}')
    found, reference = found.astype(bool), reference.astype(bool)
    inside = int(reference.sum())
    if inside == 0:
        raise InputError('the reference mask is empty')
    size, both = int(found.sum()), int((found & reference).sum())
    outside = reference.size - inside
    forward, backward = surface_distances(found, reference, voxel_size)
    exists = len(forward) > 0
    overlap = Overlap(
        dice=2 * both / (size + inside),
        hd95_mm=float(max(np.percentile(forward, 95), np.percentile(backward, 95)))
        if exists
        else math.nan,
        assd_mm=float(np.concatenate([forward, backward]).mean()) if exists else math.nan,
        sensitivity=both / inside,
        specificity=(outside - (size - both)) / outside if outside else math.nan,
        volume_ratio=size / inside,
    )
    near = (share_within(np.concatenate([forward, backward]), distance) for distance in (1, 2))
    return Agreement(overlap, *near)


def share_within(distances: NDArray[np.float64], limit: float) -> float:
    """Share of distances up to a limit; 0 where there are none.

    Examples
    --------
    >>> share_within(np.array([0.0, 1.0, 2.5, 3.0]), 1)
    0.5
    """
    return float((distances <= limit + 1e-6).mean()) if len(distances) else 0.0


def surface_distances(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    voxel_size: Sequence[float] | NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface voxel of one mask to the other mask's surface.

    A surface voxel lies in the mask and touches, by a face, a voxel outside it or the edge of the
    image. Only the box around both masks is looked at.

    Returns
    -------
    first_to_second, second_to_first : ndarray, shapes (n,), (m,)
        Both empty where one of the masks is empty.

    """
    from scipy import ndimage

    if not (first.any() and second.any()):
        return np.zeros(0), np.zeros(0)
    box = bounding_block(first | second)
    surfaces = []
    for mask in (first[box], second[box]):
        padded = np.pad(mask, 1)
        surfaces.append((padded & ~ndimage.binary_erosion(padded))[1:-1, 1:-1, 1:-1])
    sampling = [float(size) for size in voxel_size]
    to_first, to_second = (
        ndimage.distance_transform_edt(~surface, sampling=sampling) for surface in surfaces
    )
    return to_second[surfaces[0]], to_first[surfaces[1]]


def species_group(species: str) -> str:
    """The group a species belongs to: human, monkey and ape, rodent or other."""
    words = set(''.join(c if c.isalpha() else ' ' for c in species.lower()).split())
    for group, names in GROUPS.items():
        if words.intersection(names):
            return group
    return OTHER


def summarize(scores: Sequence[CaseScore]) -> list[tuple[str, ...]]:
    """Rows of ``summary.tsv``: all cases, the groups, and every species and modality.

    A case that failed is counted as such and enters neither median nor minimum.
    """
    groups: dict[str, list[CaseScore]] = {name: [] for name in (*GROUPS, OTHER)}
    kinds: dict[tuple[str, str], list[CaseScore]] = {}
    for score in scores:
        groups[species_group(score.species)].append(score)
        kinds.setdefault((score.species, score.modality), []).append(score)
    rows = [_summary_row('all', 'all', 'all', scores)]
    rows += [_summary_row('group', name, 'all', part) for name, part in groups.items() if part]
    rows += [_summary_row('species', *key, kinds[key]) for key in sorted(kinds)]
    return rows


def _summary_row(
    level: str, species: str, modality: str, scores: Sequence[CaseScore]
) -> tuple[str, ...]:
    overlaps = [score.overlap for score in scores if score.overlap is not None]
    dice = [overlap.dice for overlap in overlaps]
    hd95 = [overlap.hd95_mm for overlap in overlaps if math.isfinite(overlap.hd95_mm)]
    return (
        *(level, species, modality, str(len(dice)), str(sum(s.failed for s in scores))),
        format_number(float(np.median(dice)) if dice else math.nan, 4),
        format_number(min(dice, default=math.nan), 4),
        format_number(float(np.median(hd95)) if hd95 else math.nan, 3),
    )
