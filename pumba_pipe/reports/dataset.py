"""What pages say of the derivative data set they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.reports.naming import group_path, index_path


class GroupLink(NamedTuple):
    """A suffix, the address of the page of all its images, and whether that page is there."""

    suffix: str
    address: str
    there: bool


def dataset_name(output_dir: Path) -> str:
    """Name of a derivative data set, by its description or else its folder."""
    try:
        content = read_json(output_dir / 'dataset_description.json')
        name = content.get('Name') if isinstance(content, dict) else None
    except InputError:
        name = None
    return name if isinstance(name, str) and name.strip() else f'{output_dir.name}: brain masks'


def dataset_key(output_dir: Path) -> str:
    """Tell a derivative data set from others, so that ratings of two in one browser do not mix.

    By place and name: in a container, the place may be the same for all data sets.
    """
    text = f'{output_dir.resolve()}\n{dataset_name(output_dir)}'
    return hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]


def group_links(output_dir: Path, suffixes: Iterable[str]) -> list[GroupLink]:
    """Lead to the group page of each suffix, or, before it is written, to where it will be listed.

    Examples
    --------
    >>> group_links(Path('out'), ['T1w'])
    [GroupLink(suffix='T1w', address='index.html#group-T1w', there=False)]
    """
    links = []
    for suffix in sorted(set(suffixes)):
        path = group_path(output_dir, suffix)
        there = path.is_file()
        listed = f'{index_path(output_dir).name}#group-{quote(suffix)}'
        links.append(GroupLink(suffix, quote(path.name) if there else listed, there))
    return links
