"""Robust statistics, and how sure a mean is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np
    from numpy.typing import NDArray

MAD_TO_SD, MEAN_TO_SD = 1.4826, 1.2533  # of a normal distribution
LEAST_OWNERS = 5  # for an interval


def robust_z(
    values: Sequence[float] | NDArray[np.floating], least_sd: float = 0.0
) -> NDArray[np.float64]:
    """How many robust standard deviations each value lies from the median.

    The standard deviation is estimated from the median absolute deviation. Where more than half
    of the values are equal that is zero, and the mean absolute deviation takes its place; where
    all are equal, every value is zero.

    (`scipy.stats.median_abs_deviation` gives the same number, but importing it takes a second.)

    Parameters
    ----------
    values : sequence of float, shape (n,)
    least_sd : float
        The standard deviation is taken to be at least this much.

    Returns
    -------
    ndarray of float64, shape (n,)

    References
    ----------
    Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993.

    Examples
    --------
    >>> robust_z([1, 2, 3, 4, 20]).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 11.5]
    >>> robust_z([0, 0, 0, 0, 0, 0.3]).round(1).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 4.8]
    >>> robust_z([2, 2, 2]).tolist()
    [0.0, 0.0, 0.0]
    >>> robust_z([1, 2, 3, 4, 20], least_sd=17).round(1).tolist()
    [-0.1, -0.1, 0.0, 0.1, 1.0]
    """
    import numpy as np

    away = np.asarray(values, dtype=np.float64)
    if away.size == 0:
        return away
    away = away - np.median(away)
    spread = max(MAD_TO_SD * float(np.median(np.abs(away))), least_sd)
    spread = spread or MEAN_TO_SD * float(np.abs(away).mean())
    return away / spread if spread else np.zeros_like(away)


def mean_interval(
    values: Sequence[float],
    owners: Sequence[Hashable],
    share: float = 0.95,
    repeats: int = 10_000,
    seed: int = 1,
) -> tuple[float, float] | None:
    """Interval of a mean, by drawing owners of values again and again (percentile bootstrap).

    Values of one owner, such as two images of one person, are not independent: they are drawn
    together.

    Parameters
    ----------
    values : sequence of float, shape (n,)
    owners : sequence, shape (n,)
        Whose each value is.
    share : float
        Of the drawn means, that lie in the interval.
    repeats, seed : int
        Of the drawing.

    Returns
    -------
    (float, float) or None
        None with fewer than `LEAST_OWNERS` owners: too few to tell.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993.

    Examples
    --------
    >>> low, high = mean_interval([0.1, 0.2, 0.3, 0.2, 0.2, 0.2], 'abcdef')
    >>> 0.1 < low < 0.2 < high < 0.3
    True
    >>> mean_interval([0.1, 0.2], 'ab') is None
    True
    """
    import numpy as np

    places = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
    if len(places) < LEAST_OWNERS:
        return None
    where = [places[owner] for owner in owners]
    sums = np.bincount(where, np.asarray(values, np.float64))
    counts = np.bincount(where)
    drawn = np.random.default_rng(seed).integers(len(places), size=(repeats, len(places)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
