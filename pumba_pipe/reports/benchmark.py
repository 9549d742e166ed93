"""The page of a benchmark: several programs on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pumba_pipe.reports.pages import write_page
from pumba_pipe.reports.plots import LEFT, RIGHT, WIDTH, ticks

PAGE = 'benchmark.html'
ROW, TOP, FOOT = 40.0, 6.0, 26.0  # heights in the drawings
SPREAD = (0.0, -3.0, 3.0, -6.0, 6.0)  # dots beside each other lie at these heights, in turn


@dataclass(frozen=True)
class Distribution:
    """A measure of all cases, a row for each program.

    Attributes
    ----------
    label, units : str
    places : int
        Digits that are shown.
    rows : list of (program, values), values a list of (case, value)
    """

    label: str
    units: str
    places: int
    rows: list[tuple[str, list[tuple[str, float]]]]


@dataclass(frozen=True)
class Difference:
    """Mean difference of a program to ours, and its interval where there is one."""

    tool: str
    value: float
    interval: tuple[float, float] | None
    pairs: int


@dataclass(frozen=True)
class Comparison:
    """Differences of a measure, for each group of cases.

    Attributes
    ----------
    label, units : str
    places : int
        Digits that are shown.
    more_is_better : bool
    groups : list of (group, differences)
    """

    label: str
    units: str
    places: int
    more_is_better: bool
    groups: list[tuple[str, list[Difference]]]


@dataclass(frozen=True)
class Table:
    """A table of text and numbers, as they are shown.

    Attributes
    ----------
    columns : list of (heading, whether it holds numbers)
    rows : list of rows of (text, sort key)
    marked : list of bool
        For each row, whether it is one to look at.
    """

    columns: list[tuple[str, bool]]
    rows: list[list[tuple[str, float | None]]]
    marked: list[bool]


@dataclass(frozen=True)
class Benchmark:
    """All that the page shows.

    Attributes
    ----------
    cases : int
    programs : list of (name, command line, version)
    conditions : list of (what, value)
    failures : list of str
    distributions : list of Distribution
    comparisons : list of Comparison
    groups, results : Table
    """

    cases: int
    programs: list[tuple[str, str, str]]
    conditions: list[tuple[str, str]]
    failures: list[str]
    distributions: list[Distribution]
    comparisons: list[Comparison]
    groups: Table
    results: Table


@dataclass(frozen=True)
class Dots:
    """Where everything lies in the drawing of a `Distribution`."""

    height: float
    ticks: list[tuple[float, str]]
    rows: list[tuple[str, float, float | None, list[tuple[float, float, str]]]]


@dataclass(frozen=True)
class Bars:
    """Where everything lies in the drawing of a `Comparison`."""

    height: float
    ticks: list[tuple[float, str]]
    zero: float
    headings: list[tuple[float, str]]
    rows: list[tuple[str, float, float, tuple[float, float] | None]]


def write_benchmark_page(path: Path, shown: Benchmark) -> None:
    """Write the page.

    Raises
    ------
    OutputError
    """
    from pumba_pipe._version import __version__

    write_page(
        path,
        'benchmark.html',
        ('table.js',),
        shown=shown,
        distributions=[(one, dots(one)) for one in shown.distributions if any_value(one)],
        comparisons=[(one, bars(one)) for one in shown.comparisons if one.groups],
        width=WIDTH,
        version=__version__,
    )


def any_value(one: Distribution) -> bool:
    """Whether there is something to draw."""
    return any(values for _, values in one.rows)


def dots(one: Distribution) -> Dots:
    """Lay out a row of dots for each program, all on one scale, with the median of each."""
    known = [value for _, values in one.rows for _, value in values]
    scale = Scale.of(known)
    rows = []
    for index, (tool, values) in enumerate(one.rows):
        y = TOP + index * ROW + 26
        places = [
            (scale.x(value), y + SPREAD[turn % len(SPREAD)], f'{case}: {value:.{one.places}f}')
            for turn, (case, value) in enumerate(sorted(values, key=lambda pair: pair[1]))
        ]
        numbers = [value for _, value in values]
        middle = scale.x(median(numbers)) if numbers else None
        label = f'{tool}: median {median(numbers):.{one.places}f}' if numbers else f'{tool}: none'
        rows.append((label, y, middle, places))
    return Dots(TOP + len(one.rows) * ROW + FOOT, scale.marks(), rows)


def bars(one: Comparison) -> Bars:
    """Lay out an interval for each group and program, all on one scale that shows zero."""
    known = [0.0]
    for _, differences in one.groups:
        for each in differences:
            known += [each.value, *(each.interval or ())]
    scale = Scale.of(known)
    y, headings, rows = TOP, [], []
    for group, differences in one.groups:
        y += 22
        headings.append((y - 6, group))
        for each in differences:
            interval = each.interval
            across = (scale.x(interval[0]), scale.x(interval[1])) if interval else None
            rows.append((said(each, one.places), y + 26, scale.x(each.value), across))
            y += ROW
    return Bars(y + FOOT, scale.marks(), scale.x(0.0), headings, rows)


def said(each: Difference, places: int) -> str:
    """A difference in words.

    Examples
    --------
    >>> said(Difference('bet', -0.0124, (-0.02, -0.004), 12), 3)
    'bet: -0.012 (-0.020 to -0.004), 12 cases'
    """
    if each.interval is None:
        between = ''
    else:
        low, high = each.interval
        between = f' ({low:+.{places}f} to {high:+.{places}f})'
    cases = 'case' if each.pairs == 1 else 'cases'
    return f'{each.tool}: {each.value:+.{places}f}{between}, {each.pairs} {cases}'


@dataclass(frozen=True)
class Scale:
    """From values to places across a drawing."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """A scale on which all of these values have room."""
        low, high = min(values), max(values)
        margin = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
        return cls(low - margin, high + margin)

    def x(self, value: float) -> float:
        """Place of a value."""
        return round(LEFT + (RIGHT - LEFT) * (value - self.low) / (self.high - self.low), 1)

    def marks(self) -> list[tuple[float, str]]:
        """Places of round numbers."""
        return [(self.x(value), text) for value, text in ticks(self.low, self.high)]


def number_cell(value: float, places: int) -> tuple[str, float | None]:
    """A number as a cell of a `Table`.

    Examples
    --------
    >>> number_cell(0.5, 2), number_cell(math.nan, 2)
    (('0.50', 0.5), ('', None))
    """
    return (f'{value:.{places}f}', value) if math.isfinite(value) else ('', None)
