"""Which images differ from the others of their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import median

from pumba_pipe.common.statistics import robust_z
from pumba_pipe.reports.findings import Finding
from pumba_pipe.reports.words import COMPARED, OF_THE_MASK, is_manual, number

LIMIT = 3.5  # robust standard deviations
MIN_GROUP = 5  # images; fewer say little about what is usual


def find_outliers(
    found: Sequence[Finding], kinds: Sequence[Hashable] | None = None
) -> list[dict[str, float]]:
    """Compare images with the others of their kind.

    Of manual masks the volume alone is compared: the other figures are the network's.

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
                and (measure.key in OF_THE_MASK or not is_manual(found[index].quality))
            ]
            if len(known) < MIN_GROUP:
                continue
            values = [value for _, value in known]
            middle = median(values)
            for (index, value), z in zip(known, robust_z(values).tolist(), strict=True):
                bad = {'low': -z, 'high': z, 'both': abs(z)}[measure.worse]
                if bad > LIMIT and abs(value - middle) > measure.tolerance:
                    result[index][measure.key] = z
    return result
