"""PyBIDS filters from a JSON file, as other BIDS-Apps take them (``--bids-filter-file``).

The file has an object for each kind of image, named by its suffix in any case:
``{"t1w": {"acquisition": "mprage", "run": null}}``. ``null`` asks for images without the entity,
``"*"`` for images that have it. A filter may change what a kind means: ``{"t1w": {"suffix":
"UNIT1"}}`` takes UNIT1 images in place of T1w images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import MODALITIES, UsageError

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError

# Kinds that other BIDS-Apps know; they share the file, so these are passed over.
OTHERS = ('bold', 'sbref', 'fmap', 'dwi', 'asl', 'pet', 'roi', 'transforms')
KINDS = {suffix.lower(): suffix for suffix in MODALITIES}
SPELLINGS = {'Query.NONE': None, 'Query.ANY': '*'}


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
        content = read_json(path)
    except InputError as error:
        raise UsageError(f'--bids-filter-file {error}') from None
    filters = {}
    for kind, entities in content.items():
        if not isinstance(entities, dict):
            raise UsageError(f'--bids-filter-file {path}: {kind!r} is not an object with entities')
        if kind.lower() in KINDS:
            filters[KINDS[kind.lower()]] = {
                key: SPELLINGS.get(value, value) if isinstance(value, str) else value
                for key, value in entities.items()
            }
        elif kind.lower() not in OTHERS:
            raise UsageError(
                f'--bids-filter-file {path}: {kind!r} is no kind of image; use a suffix such as '
                't1w or flair'
            )
    return filters


def as_query(entities: dict[str, Any]) -> dict[str, Any]:
    """Put PyBIDS' own marks for "without" and "any" in place of ``None`` and ``'*'``."""
    from bids.layout import Query

    marks = {None: Query.NONE, '*': Query.ANY}
    return {
        key: marks.get(value, value) if value is None or isinstance(value, str) else value
        for key, value in entities.items()
    }
