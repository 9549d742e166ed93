"""The group level: one table of quality records for each kind of image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.config import RunConfig, UsageError
from pumba_pipe.workflows.naming import parse_name

from pumba_pipe.files import write_json, write_text

ABSENT = 'n/a'
COLUMNS: dict[str, dict[str, str]] = {
    'bids_name': {'Description': 'Name of the image, without extension'},
    'volume_ml': {'Description': 'Volume of the mask', 'Units': 'mL'},
    'components': {'Description': 'Pieces of the raw answer, of which the largest was kept'},
    'edge_contact': {
        'Description': "Share of the mask's surface on the edge of the field of view, 0..1"
    },
    'pass_agreement': {'Description': 'Dice overlap of the coarse and the fine pass, 0..1'},
    'flip_agreement': {
        'Description': 'Mean Dice overlap of the answers to mirrored images with their average'
    },
    'certainty': {'Description': 'How clear-cut the answer is, 0..1'},
    'confidence': {'Description': 'How far the mask can be trusted, 0..1; look at it below 0.5'},
    'already_stripped': {'Description': 'Whether the image was skull-stripped before'},
    'flags': {'Description': 'What a person should look at, in words'},
    'notes': {'Description': 'What was done to read the image, in words'},
}


def run_group(config: RunConfig, say: Callable[[str], None]) -> int:
    """Write ``group_<suffix>.tsv``, with a JSON file that explains its columns.

    Raises
    ------
    UsageError
        There are no results of the participant level.
    """
    tables: dict[str, list[dict[str, str]]] = defaultdict(list)
    for sidecar in sorted(config.output_dir.glob('sub-*/**/anat/*_desc-brain_mask.json')):
        found = _record(sidecar)
        if found is not None and _asked_for(config, found[0]):
            tables[parse_name(found[0]).suffix].append(found[1])
    if not tables:
        raise UsageError(
            f'output_dir {config.output_dir}: no results here; run the participant level first'
        )
    for suffix, rows in sorted(tables.items()):
        path = config.output_dir / f'group_{suffix}.tsv'
        lines = ['\t'.join(COLUMNS)]
        lines += ['\t'.join(row[column] for column in COLUMNS) for row in rows]
        write_json(path.with_suffix('.json'), COLUMNS)
        write_text(path, '\n'.join(lines) + '\n')
        flagged = sum(row['flags'] != ABSENT for row in rows)
        say(f'{path}: {len(rows)} images, {flagged} to look at')
    return 0


def _record(sidecar: Path) -> tuple[Path, dict[str, str]] | None:
    """Read source and quality of a mask; None for a sidecar that is not ours."""
    try:
        content = json.loads(sidecar.read_text('utf-8'))
        source = Path(content['Sources'][0].split(':')[-1])
        quality = dict(content['Quality'])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    row = {column: _cell(quality.get(column)) for column in COLUMNS}
    row['bids_name'] = parse_name(source).stem
    return source, row


def _asked_for(config: RunConfig, source: Path) -> bool:
    name = parse_name(source)
    return (
        (not config.participants or name.get('sub') in config.participants)
        and (not config.sessions or name.get('ses') in config.sessions)
        and name.suffix in config.modalities
    )


def _cell(value: Any) -> str:
    """Write a value the way BIDS tables have it."""
    if value is None or value == []:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        value = '; '.join(str(item) for item in value)
    return ' '.join(str(value).split())
