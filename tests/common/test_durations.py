"""Durations on command lines: with a unit everywhere, without one as each command means it."""

from __future__ import annotations

import argparse

import pytest

from pumba_pipe.commands import benchmark, train
from pumba_pipe.common.shared_options import minutes, seconds


@pytest.mark.parametrize(
    ('text', 'in_seconds'),
    [('90s', 90), ('1.5m', 90), ('0.5H', 1800), (' 2h ', 7200), ('1e2s', 100)],
)
def test_units(text: str, in_seconds: float) -> None:
    assert seconds(text) == in_seconds
    assert minutes(text) == pytest.approx(in_seconds / 60)


def test_bare_numbers() -> None:
    assert (seconds('30'), minutes('30')) == (30, 30)


@pytest.mark.parametrize(
    'text', ['', 's', '0', '-1h', 'soon', '1d', 'inf', 'nan', '1e308h', '1h30m', 'infm', '1 h h']
)
def test_what_is_no_duration(text: str) -> None:
    for parse in (seconds, minutes):
        with pytest.raises(argparse.ArgumentTypeError, match='is not a time such as 30s'):
            parse(text)


def test_commands_take_units() -> None:
    given = train.build_parser().parse_args(['out', '--time-limit', '8h'])
    assert given.time_limit == 480
    given = benchmark.build_parser().parse_args(['cases', 'out', '--time-limit', '8h'])
    assert given.time_limit == 28800
    given = benchmark.build_parser().parse_args(['cases', 'out', '--time-limit', '8'])
    assert given.time_limit == 8
