"""PyBIDS filters from a JSON file, as other BIDS-Apps take them (``--bids-filter-file``).

The file has an object for each kind of image, named by its suffix in any case:
``{"t1w": {"acquisition": "mprage", "run": null}}``. ``null`` asks for images without the entity,
``"*"`` for images that have it; a list asks for any of its values, these marks among them. A
filter may change what a kind means: ``{"t1w": {"suffix": "UNIT1"}}`` takes UNIT1 images in place
of T1w images. Labels are those of the file's own name, whatever the folders above are called.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import MODALITIES, UsageError
from pumba_pipe.workflows.naming import ImageName

from pumba_pipe.common.bids_names import NUMBERED
from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError

# Kinds that other BIDS-Apps know; they share the file, so these are passed over.
OTHERS = ('fmap', 'roi', 'transforms')
KINDS = {suffix.lower(): suffix for suffix in MODALITIES}
SPELLINGS = {'Query.NONE': None, 'Query.ANY': '*'}
# PyBIDS' words for entities, and the keys of names.
ENTITIES = {
    'subject': 'sub', 'session': 'ses', 'sample': 'sample', 'task': 'task', 'tracksys': 'tracksys',
    'acquisition': 'acq', 'nucleus': 'nuc', 'volume': 'voi', 'ceagent': 'ce', 'staining': 'stain',
    'tracer': 'trc', 'reconstruction': 'rec', 'direction': 'dir', 'run': 'run', 'proc': 'proc',
    'modality': 'mod', 'echo': 'echo', 'flip': 'flip', 'inv': 'inv', 'mt': 'mt', 'part': 'part',
    'recording': 'recording', 'space': 'space', 'chunk': 'chunk', 'desc': 'desc', 'label': 'label',
    'res': 'res', 'den': 'den', 'hemi': 'hemi',
}  # fmt: skip
PREFIXED = {'subject': 'sub-', 'session': 'ses-'}
REGEX = 'regex_search'
KNOWN = (*ENTITIES, 'suffix', 'extension', 'datatype', REGEX)


def read_filters(path: Path | None) -> dict[str, dict[str, Any]]:
    """Read filters.

    Returns
    -------
    dict of str to dict
        Filters for each suffix, as `BIDSLayout.get` takes them, ``None`` and ``'*'`` still as
        they were written.

    Raises
    ------
    UsageError
        The file cannot be understood.
    """
    if path is None:
        return {}
    try:
        content = read_json(path, unique=True)
    except InputError as error:
        raise UsageError(f'--bids-filter-file {error}') from None
    filters: dict[str, dict[str, Any]] = {}
    for kind, entities in content.items():
        if KINDS.get(kind.lower()) in filters:
            raise UsageError(
                f'--bids-filter-file {path}: {kind!r} and another object are of one kind of '
                'image; make one of them'
            )
        if not isinstance(entities, dict):
            raise UsageError(f'--bids-filter-file {path}: {kind!r} is not an object with entities')
        if kind.lower() in KINDS:
            filters[KINDS[kind.lower()]] = {
                key: _value(path, kind, key, value) for key, value in entities.items()
            }
        elif kind.lower() not in OTHERS:
            raise UsageError(
                f'--bids-filter-file {path}: {kind!r} is no kind of image; use a suffix such as '
                't1w or flair'
            )
    return filters


def split(entities: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a filter into what names of files say, and what only an index with sidecars knows."""
    known = {key: value for key, value in entities.items() if key in KNOWN}
    return known, {key: value for key, value in entities.items() if key not in KNOWN}


def as_query(entities: dict[str, Any]) -> dict[str, Any]:
    """Put PyBIDS' own marks for "without" and "any" in place of ``None`` and ``'*'``."""
    from bids.layout import Query

    def marked(value: Any) -> Any:
        if isinstance(value, list):
            return [marked(one) for one in value]
        return {None: Query.NONE, '*': Query.ANY}.get(value, value)

    return {key: marked(value) for key, value in entities.items()}


def passes(name: ImageName, extension: str, entities: dict[str, Any]) -> bool:
    """Whether a file passes a filter, by its name and the folder it lies in.

    Examples
    --------
    >>> from pathlib import PurePath
    >>> from pumba_pipe.workflows.naming import parse_name
    >>> name = parse_name(PurePath('sub-01_run-01_T1w.nii.gz'))
    >>> passes(name, '.nii.gz', {'run': 1, 'acquisition': [None, 'a']})
    True
    >>> passes(name, '.nii.gz', {'acquisition': ['*']})
    False
    """
    special = {'suffix': name.suffix, 'extension': extension, 'datatype': name.datatype}
    regex = entities.get(REGEX) is True
    for entity, wanted in entities.items():
        if entity == REGEX:
            continue
        label = special.get(entity) or name.get(ENTITIES.get(entity, ''))
        values = wanted if isinstance(wanted, list) else [wanted]
        if not any(_fits(label, value, entity, regex) for value in values):
            return False
    return True


def _fits(label: str | None, value: Any, entity: str, regex: bool) -> bool:
    if value is None or label is None:
        return value is None and label is None
    if value == '*':
        return True
    text = str(value)
    if regex:
        return re.search(text, label) is not None
    if entity == 'extension':
        return label == f'.{text.removeprefix(".")}'
    if entity in PREFIXED:
        text = text.removeprefix(PREFIXED[entity])
    if entity in NUMBERED and text.isdecimal() and label.isdecimal():
        return int(text) == int(label)
    return text == label


def _value(path: Path, kind: str, key: str, value: Any) -> Any:
    """Check a value of a filter, and spell its marks in one way."""
    if isinstance(value, list):
        if any(isinstance(one, list) for one in value):
            raise UsageError(f'--bids-filter-file {path}: {kind}: {key}: a list inside a list')
        return [_value(path, kind, key, one) for one in value]
    fits = value is None or isinstance(value, str | int | float)
    if not fits or (isinstance(value, bool) and key in ENTITIES):
        raise UsageError(
            f'--bids-filter-file {path}: {kind}: {key}: {value!r} is no label; give text, a '
            'number, null, "*", or a list of these'
        )
    return SPELLINGS.get(value, value) if isinstance(value, str) else value
