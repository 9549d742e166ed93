"""The log of experiments can be read by a program, and its page names records that exist."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
PAGE = (DOCS / 'experiments.md').read_text(encoding='utf-8')
COLUMNS = [
    'id', 'date', 'commit', 'topic', 'what', 'why', 'border', 'cases', 'samples',
    'median_dice_human', 'median_dice_human_t1w', 'median_dice_human_other',
    'median_dice_monkey_ape', 'median_dice_rodent', 'dice_epi_average', 'dice_rat',
    'dice_mouse_t2w', 'lowest_dice_human', 'mean_dice', 'kept', 'note',
]  # fmt: skip
COUNTS = ['cases', 'samples']
DICE = [name for name in COLUMNS if 'dice' in name]
TOPICS = {
    'synthesis', 'training', 'architecture', 'extraction', 'border', 'ensemble', 'quality',
    'evaluation', 'shipped',
}  # fmt: skip
NOTHING = 'n/a'
# In characters: a record stays one line that is read at a glance.
LONGEST = {'what': 240, 'why': 200, 'note': 200}


def lines() -> list[list[str]]:
    text = (DOCS / 'experiments.tsv').read_text(encoding='utf-8')
    return [line.split('\t') for line in text.splitlines()]


def records() -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in lines()[1:]]


def test_every_row_has_the_same_columns() -> None:
    assert lines()[0] == COLUMNS
    assert [cells[0] for cells in lines() if len(cells) != len(COLUMNS)] == []
    assert [cells[0] for cells in lines() if '' in map(str.strip, cells)] == []


def test_ids_and_dates_ascend() -> None:
    ids = [record['id'] for record in records()]
    assert [name for name in ids if not re.fullmatch(r'E\d{3}', name)] == []
    assert ids == sorted(set(ids))
    dates = [datetime.date.fromisoformat(record['date']) for record in records()]
    assert dates == sorted(dates)


def test_words_are_of_the_allowed_ones() -> None:
    for record in records():
        assert record['kept'] in {'yes', 'no', 'part', NOTHING}, record['id']
        assert record['topic'] in TOPICS, record['id']
        assert re.fullmatch(r'[0-9a-f]{7,40}', record['commit']), record['id']
        for name, limit in LONGEST.items():
            assert len(record[name]) <= limit, (record['id'], name)


@pytest.mark.parametrize('name', COUNTS + DICE)
def test_figures_are_numbers(name: str) -> None:
    given = {record['id']: record[name] for record in records() if record[name] != NOTHING}
    assert given
    for record, value in given.items():
        if name in COUNTS:
            assert int(value) > 0, record
        else:
            assert 0 < float(value) < 1, record


def test_records_that_are_named_exist() -> None:
    ids = {record['id'] for record in records()}
    assert ids >= set(re.findall(r'\bE\d+', PAGE))
    for record in records():
        named = re.findall(r'\bE\d+', ' '.join(record[name] for name in ('what', 'why', 'note')))
        assert ids >= set(named), record['id']


def test_the_page_shows_the_shipped_states_as_recorded() -> None:
    shown = re.findall(r'^\| (E\d+) \| (.+) \|$', PAGE, re.MULTILINE)
    names = ['date', 'median_dice_human', 'median_dice_monkey_ape', 'median_dice_rodent']
    recorded = [
        (record['id'], ' | '.join(record[name] for name in [*names, 'lowest_dice_human']))
        for record in records()
        if record['topic'] == 'shipped'
    ]
    assert shown == recorded
