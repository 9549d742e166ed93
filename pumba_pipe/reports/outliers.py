"""Which images differ from the others of their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean, median

from pumba_pipe.reports.findings import Finding
from pumba_pipe.reports.words import COMPARED, number

LIMIT = 3.5  # robust standard deviations
MIN_GROUP = 5  # images; fewer say little about what is usual
MAD_TO_SD, MEAN_TO_SD = 1.4826, 1.2533  # of a normal distribution


def robust_z(values: Sequence[float]) -> list[float]:
    """How many robust standard deviations each value lies from the median.

    The standard deviation is estimated from the median absolute deviation. Where more than half
    of the values are equal that is zero, and the mean absolute deviation takes its place; where
    all are equal, every value is zero.

    References
    ----------
    Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.

    Examples
    --------
    >>> [round(z, 1) for z in robust_z([1, 2, 3, 4, 20])]
    [-1.3, -0.7, 0.0, 0.7, 11.5]
    >>> [round(z, 1) for z in robust_z([0, 0, 0, 0, 0, 0.3])]
    [0.0, 0.0, 0.0, 0.0, 0.0, 4.8]
    >>> robust_z([2, 2, 2])
    [0.0, 0.0, 0.0]
    """
    if not values:
        return []
    middle = median(values)
    away = [abs(value - middle) for value in values]
    spread = MAD_TO_SD * median(away) or MEAN_TO_SD * fmean(away)
    return [(value - middle) / spread if spread else 0.0 for value in values]


def find_outliers(
    found: Sequence[Finding], kinds: Sequence[Hashable] | None = None
) -> list[dict[str, float]]:
    """Compare images with the others of their kind.

    Parameters
    ----------
    found : sequence of Finding
    kinds : sequence, optional
        The kind of each image, such as its species. Default: all are of one kind.

    Returns
    -------
    list of dict
        For each image, the measures in which it is worse than usual, with their robust z.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, kind in enumerate(kinds or [None] * len(found)):
        groups[kind].append(index)
    result: list[dict[str, float]] = [{} for _ in found]
    for members in groups.values():
        for measure in COMPARED:
            known = [
                (index, value)
                for index in members
                if (value := number(found[index].quality.get(measure.key))) is not None
            ]
            if len(known) < MIN_GROUP:
                continue
            values = [value for _, value in known]
            middle = median(values)
            for (index, value), z in zip(known, robust_z(values), strict=True):
                bad = {'low': -z, 'high': z, 'both': abs(z)}[measure.worse]
                if bad > LIMIT and abs(value - middle) > measure.tolerance:
                    result[index][measure.key] = z
    return result
