"""Distributions as dots on a line, ready to be drawn as SVG."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

WIDTH, HEIGHT = 420.0, 96.0  # of the drawing
LEFT, RIGHT, BASE = 14.0, 406.0, 70.0  # where the axis lies
DOT = 7.0  # width of a dot with its surroundings
MAX_TICKS = 6


@dataclass(frozen=True)
class Plot:
    """Where everything lies in a drawing of 420 by 96.

    Attributes
    ----------
    places : list of (x, y)
        Of the dots, one for each value.
    ticks : list of (x, text)
    quartiles : (float, float, float)
        Places of the quartiles and, between them, the median.
    """

    places: list[tuple[float, float]]
    ticks: list[tuple[float, str]]
    quartiles: tuple[float, float, float]


def dot_plot(values: Sequence[float]) -> Plot:
    """Lay out values along a line, equal ones above each other.

    Parameters
    ----------
    values : sequence of float
        At least one.
    """
    low, high = min(values), max(values)
    whole = all(value == int(value) for value in values)
    margin = 0.04 * (high - low) or (1.0 if whole else 0.04 * abs(high))
    low, high = low - margin, high + margin

    def across(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - low) / (high - low), 1)

    columns: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(values)), key=lambda i: values[i]):
        columns[int(across(values[index]) / DOT)].append(index)
    room = BASE - DOT
    tallest = max(len(members) for members in columns.values())
    step = min(DOT, room / tallest)
    crowded = step < DOT  # dots then share the middle of their column, which is read as a bar
    places = [(0.0, 0.0)] * len(values)
    for column, members in columns.items():
        middle = min(max((column + 0.5) * DOT, LEFT), RIGHT)
        for height, index in enumerate(members):
            x = middle if crowded else across(values[index])
            places[index] = (x, round(BASE - DOT / 2 - 1 - height * step, 1))
    first, median, last = quantiles(values, n=4, method='inclusive') if len(values) > 1 else (
        values[0],
    ) * 3  # fmt: skip
    return Plot(
        places,
        [(across(value), text) for value, text in ticks(low, high, whole)],
        (across(first), across(median), across(last)),
    )


def ticks(low: float, high: float, whole: bool = False) -> list[tuple[float, str]]:
    """Round numbers between two values, at most seven; whole ones where that is asked for.

    Examples
    --------
    >>> ticks(0.42, 0.97)
    [(0.5, '0.5'), (0.6, '0.6'), (0.7, '0.7'), (0.8, '0.8'), (0.9, '0.9')]
    """
    rough = max((high - low) / MAX_TICKS, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(round(n * step, 10), f'{n * step:.{digits}f}') for n in range(first, last + 1)]
