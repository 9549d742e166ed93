"""Each option becomes a field of the configuration, for `pumba` and for the list of jobs."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pumba_pipe.bids_app import subjects
from pumba_pipe.bids_app.options.config import MODALITIES, RunConfig
from pumba_pipe.bids_app.options.parser import (
    OTHER_NAMES,
    SWITCHED_OFF,
    build_parser,
    config_of,
    parse,
)

NO_FIELD = {'help', 'version', 'config_file', 'notrack'}
OF_THE_LIST = {'per_job', 'jobs', 'missing_in'}
NAMES = {OTHER_NAMES.get(field.name, field.name): field.name for field in fields(RunConfig)}


def dests(parser: argparse.ArgumentParser) -> set[str]:
    return {action.dest for action in parser._actions}


def test_each_option_has_a_field() -> None:
    assert dests(build_parser()) - NO_FIELD <= set(NAMES)
    assert dests(subjects.build_parser()) - NO_FIELD - OF_THE_LIST <= set(NAMES)
    assert set(OTHER_NAMES) <= {field.name for field in fields(RunConfig)}
    assert set(OTHER_NAMES.values()) <= dests(build_parser())


@pytest.mark.parametrize('option', sorted(dests(build_parser()) - NO_FIELD))
def test_a_value_reaches_its_field(option: str, tmp_path: Path) -> None:
    field = NAMES[option]
    default = RunConfig(tmp_path, tmp_path, 'participant')
    values: dict[str, Any] = {'bids_dir': tmp_path, 'output_dir': tmp_path}
    values['analysis_level'] = 'participant'
    given: Any = ['other']
    if option.endswith('dir') or option == 'masks':
        given = tmp_path / 'other'
    if isinstance(getattr(default, field), int | float):
        given = 77
    if isinstance(getattr(default, field), bool):
        given = True
    found = getattr(config_of(argparse.Namespace(**values | {option: given})), field)
    assert found != getattr(default, field)
    wanted = tuple(given) if isinstance(given, list) else given
    assert found == ((not given) if field in SWITCHED_OFF else wanted)


def test_folders_are_absolute_and_lists_hold_each_value_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ['in', 'out', 'participant', '--masks', 'm', '-w', 'w', '--bids-database-dir', 'd']
    config = parse([*words, '--participant-label', '01', 'sub-01', '02', '--no-reports'])
    assert (config.bids_dir, config.output_dir) == (tmp_path / 'in', tmp_path / 'out')
    assert (config.masks, config.work_dir) == (tmp_path / 'm', tmp_path / 'w')
    assert config.database_dir == tmp_path / 'd'
    assert config.participants == ('01', '02')
    assert config.modalities == RunConfig.modalities
    assert not config.reports
    assert config.filter_file is None and config.nprocs > 0 and config.mem_gb > 0
    assert parse(['in', 'out', 'group']).modalities == MODALITIES
