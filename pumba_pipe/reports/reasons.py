"""Why a mask is flagged, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pumba_pipe.extraction.expected_dice import SHORTFALLS
from pumba_pipe.extraction.plausibility import NOISE, SECOND, UNIFORM
from pumba_pipe.extraction.quality import EDGE, STRIPPED
from pumba_pipe.extraction.species_volume import IMPLAUSIBLE
from pumba_pipe.reports.words import number

MEASURED = {
    'gamma_dice': 'Dice {:.3f} with the mask of the brightened image',
    'tta_dice': 'mean Dice {:.3f} of the masks of two views with their average',
    'boundary_certainty': 'certainty {:.3f} along the border',
    'coarse_fine_dice': 'Dice {:.3f} with the mask of a first, coarse look',
}
FORMER = {'mirrored views give other masks': 'tta_dice'}  # in records of earlier versions
EXPECTED, NO_BRAIN = 'expected Dice', 'may be no brain'
FIXED = {
    STRIPPED: 'there is next to no signal outside the mask',
    NO_BRAIN: 'so says a comparison with synthetic heads, in which there is one',
    UNIFORM: 'apart from shading and noise, there is one grey value inside the mask',
    NOISE: 'neighbouring voxels are hardly more alike than distant ones',
    SECOND: 'the image, or what the network takes for brain, falls into two objects of similar '
    'size',
    IMPLAUSIBLE: 'the range is that of published brains, newborn and adult, three times wider at '
    'both ends; compare the voxel size with the protocol of the scan (animals are often stored '
    'ten times too large), and the species with participants.tsv',
}


@dataclass(frozen=True)
class Flag:
    """What a person should look at, and why; `reason` is empty where the record does not say."""

    text: str
    reason: str = ''


def flags_of(record: Mapping[str, Any]) -> list[Flag]:
    """List the flags of a quality record, with what was measured.

    Examples
    --------
    >>> said = 'expected Dice 0.81 (0.60-0.92): the mask moves when the image is brightened'
    >>> record = {'gamma_dice': 0.946, 'flags': [said],
    ...           'reasons': ['the mask moves when the image is brightened']}
    >>> flags_of(record)[0].reason
    'Dice 0.946 with the mask of the brightened image'
    """
    texts = record.get('flags')
    found = [str(text) for text in texts] if isinstance(texts, list | tuple) else []
    return [Flag(text, reason_of(text, record)) for text in found]


def reason_of(flag: str, record: Mapping[str, Any]) -> str:
    """Say why a flag was set; nothing where the record does not tell."""
    if flag.startswith(EXPECTED):
        return '; '.join(measured(record))
    contact = number(record.get('edge_contact'))
    if flag.startswith(EDGE) and contact is not None:
        return f'{contact:.0%} of its surface lies there: a part of it may be missing'
    return next((reason for start, reason in FIXED.items() if flag.startswith(start)), '')


def measured(record: Mapping[str, Any]) -> list[str]:
    """Say in figures what the reasons of an expected Dice say in words, in their order."""
    reasons = record.get('reasons')
    if not isinstance(reasons, list | tuple):
        return []
    keys = FORMER | {words: key for key, words in SHORTFALLS.items()}
    named = [keys[reason] for reason in reasons if isinstance(reason, str) and reason in keys]
    values = ((key, number(record.get(key))) for key in named)
    return [MEASURED[key].format(value) for key, value in values if value is not None]
