"""Why a mask is flagged, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pumba_pipe.extraction.plausibility import NOISE, SECOND, UNIFORM
from pumba_pipe.extraction.quality import AgreementMetrics, confidence_score
from pumba_pipe.reports.words import LOW_CONFIDENCE, QUALITY_NAME, expected_quality, number

DOUBTS = {
    'gamma_dice': 'the mask moves when the image is brightened (Dice {:.3f})',
    'tta_dice': 'mirrored copies of the image get other masks (mean Dice {:.3f})',
    'boundary_certainty': 'the network is uncertain along the border (certainty {:.3f})',
    'coarse_fine_dice': 'a first, coarse look at the image finds another brain (Dice {:.3f})',
}
COUNTS = 0.5  # of the largest doubt: smaller ones are not named
LOW, EDGE, STRIPPED = 'low confidence', 'the brain touches the edge', 'the image looks skull-strip'
FIXED = {
    STRIPPED: 'there is next to no signal outside the mask',
    UNIFORM: 'apart from shading and noise, there is one grey value inside the mask',
    NOISE: 'neighbouring voxels are hardly more alike than distant ones',
    SECOND: 'the image, or what the network takes for brain, falls into two objects of similar '
    'size',
}


@dataclass(frozen=True)
class Flag:
    """What a person should look at, and why; `reason` is empty where the record does not say."""

    text: str
    reason: str = ''


def flags_of(record: Mapping[str, Any]) -> list[Flag]:
    """List the flags of a quality record, with their reasons.

    A mask of low expected quality is flagged whether its record says so or not.

    Examples
    --------
    >>> (flag,) = flags_of({'confidence': 0.3, 'gamma_dice': 0.946, 'flags': []})
    >>> flag.text, flag.reason
    ('low confidence', 'the mask moves when the image is brightened (Dice 0.946)')
    """
    texts = record.get('flags')
    found = [str(text) for text in texts] if isinstance(texts, list | tuple) else []
    expected = expected_quality(record)
    if not found and expected is not None and expected < LOW_CONFIDENCE:
        found = [f'low {QUALITY_NAME}']
    return [Flag(text, reason_of(text, record)) for text in found]


def reason_of(flag: str, record: Mapping[str, Any]) -> str:
    """Say why a flag was set; nothing where the record does not tell."""
    if flag.startswith(LOW):
        return '; '.join(doubts_of(record))
    contact = number(record.get('edge_contact'))
    if flag.startswith(EDGE) and contact is not None:
        return f'{contact:.0%} of its surface lies there: a part of it may be missing'
    return next((reason for start, reason in FIXED.items() if flag.startswith(start)), '')


def doubts_of(record: Mapping[str, Any]) -> list[str]:
    """Name what makes the expected quality low, the most important first."""
    perfect = AgreementMetrics(1.0, 1.0, 1.0, 1.0)
    losses = {}
    for key in DOUBTS:
        value = number(record.get(key))
        if value is not None:
            losses[key] = 1 - confidence_score(perfect._replace(**{key: min(value, 1.0)}))
    largest = max(losses.values(), default=0.0)
    named = sorted(
        (key for key, loss in losses.items() if loss > 0 and loss >= COUNTS * largest),
        key=lambda key: -losses[key],
    )
    return [DOUBTS[key].format(number(record[key])) for key in named]
