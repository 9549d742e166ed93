"""The description of the method: its figures are those of the log, and it becomes a PDF."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'method.md'
FIELDS = {
    'human T1w': 'median_dice_human_t1w',
    'human, other': 'median_dice_human_other',
    'human': 'median_dice_human',
    'monkey and ape': 'median_dice_monkey_ape',
    'rodent': 'median_dice_rodent',
}


def records() -> dict[str, dict[str, str]]:
    with open(ROOT / 'docs' / 'experiments.tsv', encoding='utf-8', newline='') as file:
        return {row['id']: row for row in csv.DictReader(file, delimiter='\t')}


def test_figures_of_ablations_are_those_of_the_log() -> None:
    log, heads, seen = records(), [], 0
    for line in PAGE.read_text('utf-8').splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'record':
            heads = cells
        for head, cell in zip(heads, cells, strict=False):
            if head in FIELDS and re.fullmatch(r'E\d{3}', cells[0]):
                assert log[cells[0]][FIELDS[head]] == cell, line
                seen += 1
    assert seen == 65


def test_records_that_are_named_exist_and_have_the_figures() -> None:
    log = records()
    rows = re.findall(r'^\| (E\d{3}(?:, E\d{3})*) \|(.*)$', PAGE.read_text('utf-8'), re.MULTILINE)
    assert len(rows) > 10
    for names, rest in rows:
        said = ' '.join(' '.join(log[name].values()) for name in names.split(', '))
        for figure in re.findall(r'\d\.\d{2,}', rest):
            assert re.search(rf'{figure}(?!\d*[1-9])', said), (names, figure)


def test_pdf_has_no_links_to_files_of_this_machine(tmp_path: Path) -> None:
    pytest.importorskip('weasyprint', reason='the extra docs is not installed')
    spec = importlib.util.spec_from_file_location('paper', ROOT / '.ci' / 'paper.py')
    assert spec is not None and spec.loader is not None
    paper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(paper)
    text = paper.html_of(PAGE, '1.2.3')
    assert 'pumba_pipe 1.2.3' in text and '<table>' in text
    links = re.findall(r'href="([^"]*)"', text)
    assert len(links) > 5 and all(link.startswith('https://') for link in links)
    assert paper.main(tmp_path / 'method.pdf') == 0
    assert (tmp_path / 'method.pdf').read_bytes().startswith(b'%PDF')
