"""The page of licences names every package that is installed along."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

PAGE = Path(__file__).parents[2] / 'docs' / 'licences.md'


def plain(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def test_every_requirement_is_in_the_table() -> None:
    rows = re.findall(r'^\| ([\w.-]+) \| (.+) \|$', PAGE.read_text('utf-8'), re.MULTILINE)
    table = {plain(name): licence for name, licence in rows}
    needed = [
        plain(re.split(r'[^\w.-]', line)[0])
        for line in distribution('pumba_pipe').requires or []
        if 'extra ==' not in line and 'python_version <' not in line
    ]
    assert [name for name in needed if name not in table] == [], 'run: make licences'
    assert [name for name, licence in table.items() if licence == 'UNKNOWN'] == []
