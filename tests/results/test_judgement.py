"""Whether results are what is asked for: each reason, and which comes first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pumba_pipe.common.file_records import record_of
from pumba_pipe.results.judgement import (
    AGAIN,
    OTHER_METHOD,
    OTHER_OPTIONS,
    Asked,
    Judgement,
    Result,
    Words,
    judge,
)
from pumba_pipe.results.sidecars import EXTRACTION, METHOD_VERSION

OPTIONS = {EXTRACTION: {METHOD_VERSION: 1, 'BorderMm': 0.0}}
WORDS = Words('the scan', 'what lies beside', 'move it away')


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Two results that are done."""
    for name in ('scan', 'mask', 'brain'):
        (tmp_path / name).write_text(name)
    scan = record_of(tmp_path / 'scan')
    results = [
        Result(path, True, record_of(path), scan, {'a.bval': 'ab'}, OPTIONS, OPTIONS)
        for path in (tmp_path / 'mask', tmp_path / 'brain')
    ]
    return Asked(tmp_path / 'scan', {'a.bval': 'ab'}, results, WORDS)


def second(asked: Asked, /, **change: Any) -> Asked:
    """The same with something else about the second result."""
    first, other = asked.results
    return dataclasses.replace(asked, results=[first, dataclasses.replace(other, **change)])


def test_results_are_done(asked: Asked) -> None:
    assert judge(asked) == Judgement('done')


@pytest.mark.parametrize(
    ('change', 'state', 'reason'),
    [
        ({'described': False}, 'missing', ''),
        ({'record': None}, 'missing', ''),
        ({'source': 'no record'}, 'missing', ''),
        ({'companions': {}}, 'outdated', 'what lies beside has changed'),
        ({'asked': {EXTRACTION: {METHOD_VERSION: 2, 'BorderMm': 0.0}}}, 'outdated', OTHER_METHOD),
        ({'made_with': {EXTRACTION: {'BorderMm': 0.0}}}, 'outdated', OTHER_METHOD),
        ({'made_with': {EXTRACTION: None}}, 'outdated', OTHER_OPTIONS),
        ({'asked': {EXTRACTION: {METHOD_VERSION: 2}}}, 'outdated', OTHER_OPTIONS),
        ({'asked': {}, 'unlike': 'shows another'}, 'outdated', 'shows another'),
    ],
)
def test_each_file_counts(asked: Asked, change: dict[str, Any], state: str, reason: str) -> None:
    found = judge(second(asked, **change))
    assert found == Judgement(state, reason)
    assert found.state in AGAIN


@pytest.mark.parametrize('content', ['', 'brain, cut off'])
def test_a_damaged_file_is_missing_whatever_else(asked: Asked, content: str) -> None:
    asked.results[1].path.write_text(content)
    assert judge(dataclasses.replace(asked, moved=True)).state == 'missing'


def test_results_without_any_record(asked: Asked) -> None:
    results = [dataclasses.replace(one, record=None, source=None) for one in asked.results]
    found = judge(dataclasses.replace(asked, results=results))
    assert (found.state, found.unrecorded) == ('outdated', True)


def test_the_scan_comes_before_the_options(asked: Asked) -> None:
    asked.source.write_text('another')
    assert judge(second(asked, asked={})).reason == 'the scan has changed'
    assert judge(dataclasses.replace(asked, unfit='unfit')).reason == 'the scan has changed'


def test_what_else_makes_results_out_of_date(asked: Asked) -> None:
    for change in ({'unfit': 'another species'}, {'discarded': True}, {'moved': True}):
        assert judge(dataclasses.replace(asked, **change)).state == 'outdated'


def test_edited_masks_are_kept(asked: Asked) -> None:
    mask = asked.results[0].path
    edited = dataclasses.replace(asked, edited=[mask])
    assert judge(edited) == Judgement('edited', f'{mask}: was edited by hand and is kept')
    assert judge(dataclasses.replace(edited, used=[mask])) == Judgement('done')
    for changed, what in (({'moved': True}, 'the scan'), ({'companions': {}}, 'what lies beside')):
        found = judge(dataclasses.replace(edited, used=[mask], **changed))
        assert found.state == 'blocked'
        assert found.reason.endswith(f'but {what} has changed since; move it away')
