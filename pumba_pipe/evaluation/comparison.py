"""Scores beside those of other tools on the same cases, and what the expected Dice is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pumba_pipe.common.documents import read_text
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_outputs, write_text
from pumba_pipe.common.tables import format_number, parse_number
from pumba_pipe.evaluation.expectations import COLUMNS, expectation_rows, pairs_of_rows
from pumba_pipe.evaluation.metrics import species_group
from pumba_pipe.network.calibration import GOOD_DICE, POOR_DICE
from pumba_pipe.network.model_card import read_scores

Scores = Mapping[str, Mapping[str, float]]  # case -> tool -> Dice
OURS = 'pumba_pipe'
POOR_LIMITS = (POOR_DICE, 0.90, GOOD_DICE)  # Dice below which a mask counts as poor


def read_peers(path: Path) -> dict[str, dict[str, float]]:
    """Read the Dice of other tools from a Markdown table.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        Case to tool to Dice; what a tool was not run on is left out.

    Raises
    ------
    InputError
        The file cannot be read or has no such table.
    """
    lines = read_text(path, what='table').splitlines()
    tools: list[str] = []
    peers: dict[str, dict[str, float]] = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        if cells[0] == 'case':
            tools = cells[1:]
        elif tools and not line.lstrip().startswith('|'):
            break
        elif tools and not set(line) <= set('|-: '):
            peers[cells[0]] = _row(path, cells, tools)
    if not peers:
        raise InputError(f'{path}: has no table whose first column is called "case"')
    return peers


def _row(path: Path, cells: Sequence[str], tools: Sequence[str]) -> dict[str, float]:
    row: dict[str, float] = {}
    for tool, cell in zip(tools, cells[1:], strict=False):
        try:
            row |= {tool: float(cell)} if cell else {}
        except ValueError:
            raise InputError(f'{path}: {cells[0]}: {cell!r} is not a Dice') from None
    return row


def comparison_lines(rows: Sequence[Mapping[str, str]], peers: Scores) -> list[str]:
    """Compare medians over the same cases, per group of species and per modality.

    Parameters
    ----------
    rows : sequence of mappings
        As `pumba_pipe.network.model_card.read_scores` returns them.
    peers : mapping
        As `read_peers` returns it.

    Returns
    -------
    list of str
        Lines of Markdown. Each cell holds a peer's median, and ours on just the cases that
        peer was run on.
    """
    ours = {row['case']: _dice(row) for row in rows}
    tools = list(dict.fromkeys(tool for row in peers.values() for tool in row))
    lines = [
        _line('', 'cases', OURS, *map(_plain, tools)),
        '|---|---|---|' + '---|' * len(tools),
    ]
    for name, cases in groups_of(rows).items():
        cells = [_against(ours, peers, tool, cases) for tool in tools]
        middle = statistics.median(ours[case] for case in cases)
        lines.append(_line(name, str(len(cases)), f'{middle:.3f}', *cells))
    return lines


def _line(*cells: str) -> str:
    """A row of a Markdown table."""
    return f'|{"|".join(f" {cell} " if cell else " " for cell in cells)}|'


def _plain(name: str) -> str:
    """A name in a cell, where a bar would begin another cell and ``<`` a tag."""
    return name.replace('|', '&#124;').replace('<', '&lt;')


def _against(ours: Mapping[str, float], peers: Scores, tool: str, cases: Iterable[str]) -> str:
    """Median of a peer, and where it was not run on all cases, ours on those it was run on."""
    cases = list(cases)
    common = [case for case in cases if tool in peers.get(case, {})]
    if not common:
        return ''
    theirs = statistics.median(peers[case][tool] for case in common)
    if len(common) == len(cases):
        return f'{theirs:.3f}'
    own = statistics.median(ours[case] for case in common)
    return f'{theirs:.3f} (on {len(common)}; ours {own:.3f})'


def groups_of(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Cases of each line of the comparison; a case stands in several."""
    tests: dict[str, Callable[[str, str], bool]] = {
        'human T1w': lambda group, modality: group == 'human' and modality == 'T1w',
        'human, other contrasts': lambda group, modality: group == 'human' and modality != 'T1w',
        'human': lambda group, modality: group == 'human',
        'monkey and ape': lambda group, modality: group == 'monkey and ape',
        'rodent': lambda group, modality: group == 'rodent',
        'monkey, ape and rodent': lambda group, modality: group in ('monkey and ape', 'rodent'),
        'all': lambda group, modality: True,
    }
    found = {
        name: [row['case'] for row in rows if test(species_group(row['species']), row['modality'])]
        for name, test in tests.items()
    }
    return {name: cases for name, cases in found.items() if cases}


def case_lines(rows: Sequence[Mapping[str, str]], peers: Scores) -> list[str]:
    """List every case, the poorest first, with the best peer."""
    lines = [
        '| case | Dice | HD95 (mm) | volume ratio | expected Dice | best peer |',
        '|---|---|---|---|---|---|',
    ]
    for row in sorted(rows, key=_dice):
        others = peers.get(row['case'], {})
        best = max(others, key=lambda tool: others[tool], default='')
        cell = f'{others[best]:.3f} ({_plain(best)})' if best else ''
        lines.append(
            f'| {_plain(row["case"])} | {_dice(row):.3f} | {_cell(row, "hd95_mm", 1)} '
            f'| {_cell(row, "volume_ratio", 2)} | {_expected(row)} | {cell} |'
        )
    return lines


def calibration_lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Compare the expected Dice with the true one, and count poor masks that are not flagged."""
    from scipy.stats import spearmanr

    pairs = pairs_of_rows(rows)
    lines = [
        _line(*(name.replace('_', ' ') for name in COLUMNS)),
        '|' + '---|' * len(COLUMNS),
        *(_line(*row) for row in expectation_rows(pairs)),
    ]
    missed = [
        f'| {limit:.2f} | {len(poor)} | {sum(one.flagged for one in poor)} '
        f'| {sum(one.flagged for one in pairs if one.dice >= limit)} |'
        for limit in POOR_LIMITS
        for poor in [[one for one in pairs if one.dice < limit]]
    ]
    lines += ['', '| poor means Dice below | poor masks | flagged | flagged and not poor |']
    lines += ['|---|---|---|---|', *missed]
    if len(pairs) > 2:
        rank = spearmanr([one.dice for one in pairs], [one.expected for one in pairs]).statistic
        lines += ['', f'Rank correlation of Dice and expected Dice (Spearman): {rank:.2f}.']
    return lines


def _expected(row: Mapping[str, str]) -> str:
    """Expected Dice and its interval, marked where the mask is flagged."""
    if not _cell(row, 'expected_dice', 2):
        return ''
    value, low, high = (_cell(row, f'expected_dice{end}', 2) for end in ('', '_low', '_high'))
    return f'{value} ({low}-{high})' + (' flagged' if row.get('flagged') == 'yes' else '')


def _dice(row: Mapping[str, str]) -> float:
    """Dice of a case; one where nothing was found counts as 0."""
    dice = parse_number(row['dice'])
    return dice if math.isfinite(dice) else 0.0


def _cell(row: Mapping[str, str], key: str, digits: int) -> str:
    """A score with fewer digits; empty where the table lacks the column."""
    return format_number(parse_number(row[key]), digits) if key in row else ''


def write_comparison(scores: Path, target: Path, peers: Path | None = None) -> None:
    """Write all tables to a Markdown file.

    Parameters
    ----------
    scores : Path
        ``scores.tsv`` of `pumba-evaluate`.
    target : Path
    peers : Path, optional
        A Markdown table of other tools' Dice, whose first column is called ``case``; other tables
        in it are passed over.

    Raises
    ------
    InputError, OutputError
    """
    check_outputs([target], [scores, peers])
    rows, others = read_scores(scores), read_peers(peers) if peers else {}
    lines = [
        '# Scores, case by case',
        '',
        'Made by `pumba-evaluate DIR --out OUT` and `pumba-evaluate compare OUT/scores.tsv '
        'TARGET.md PEERS.md`.',
        '',
        '## Median Dice beside other tools on the same cases',
        '',
        *comparison_lines(rows, others),
        '',
        '## The expected Dice',
        '',
        *calibration_lines(rows),
        '',
        '## Cases, the poorest first',
        '',
        *case_lines(rows, others),
    ]
    write_text(target, '\n'.join(lines) + '\n')
