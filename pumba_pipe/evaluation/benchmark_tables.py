"""Results of a benchmark as tables: every case and program, and each group of cases."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from pumba_pipe.common.statistics import mean_interval
from pumba_pipe.common.tables import format_number
from pumba_pipe.evaluation.benchmark import Result
from pumba_pipe.evaluation.cases import Case
from pumba_pipe.evaluation.comparison import OURS, groups_of

CASES, GROUPS = 'cases.tsv', 'groups.tsv'
EVERYTHING = 'all'


@dataclass(frozen=True)
class ComparedMeasure:
    """Something that is compared between programs.

    Attributes
    ----------
    key, label, units : str
    places : int
        Digits that are shown.
    more_is_better : bool
    failed : float, optional
        What a program gets that has failed; None where nothing can be said then.
    """

    key: str
    label: str
    units: str
    places: int
    more_is_better: bool = False
    failed: float | None = None


MEASURES = (
    ComparedMeasure('dice', 'Dice', '', 3, True, 0.0),
    ComparedMeasure('surface_dice_1mm', 'Surface Dice at 1 mm', '', 3, True, 0.0),
    ComparedMeasure('surface_dice_2mm', 'Surface Dice at 2 mm', '', 3, True, 0.0),
    ComparedMeasure('hd95_mm', 'HD95', 'mm', 2),
    ComparedMeasure('assd_mm', 'ASSD', 'mm', 2),
    ComparedMeasure('absolute_volume_error_percent', 'Volume error, without its sign', '%', 1),
    ComparedMeasure('seconds', 'Time', 's', 2),
    ComparedMeasure('cpu_seconds', 'CPU time', 's', 2),
    ComparedMeasure('peak_mb', 'Memory', 'MiB', 0),
)
CASE_COLUMNS = (
    *('case', 'tool', 'species', 'modality', 'group', 'subject', 'failure'),
    *('dice', 'surface_dice_1mm', 'surface_dice_2mm', 'hd95_mm', 'assd_mm'),
    *('volume_error_percent', 'seconds', 'cpu_seconds', 'peak_mb'),
)
PLACES = (4, 4, 4, 3, 3, 2, 2, 2, 0)
GROUP_COLUMNS = (
    *('group', 'measure', 'tool', 'cases', 'failed', 'median', 'mean'),
    *('pairs', 'mean_difference', 'low', 'high'),
)


@dataclass(frozen=True)
class GroupRow:
    """A program on a group of cases, by one measure.

    Attributes
    ----------
    group, tool : str
    measure : ComparedMeasure
    cases, failed : int
    median, mean : float
        Of the cases with a value; a failure counts as the measure's `failed`.
    pairs : int
        Cases of which ours and this program have a value.
    difference : float
        Mean over these of this program minus ours; not a number for ours.
    interval : (float, float) or None
        95 % interval of the difference; None where the cases are too few.
    """

    group: str
    measure: ComparedMeasure
    tool: str
    cases: int
    failed: int
    median: float
    mean: float
    pairs: int
    difference: float
    interval: tuple[float, float] | None

    def cells(self) -> list[str]:
        """The row's cells, in the order of `GROUP_COLUMNS`."""
        places = self.measure.places + 1
        low, high = self.interval or (math.nan, math.nan)
        numbers = (self.difference, low, high)
        return [
            *(self.group, self.measure.key, self.tool, str(self.cases), str(self.failed)),
            *(format_number(value, places) for value in (self.median, self.mean)),
            str(self.pairs),
            *(format_number(value, places) for value in numbers),
        ]


def value_of(result: Result, measure: ComparedMeasure) -> float:
    """What a result has by a measure; not a number where nothing can be said."""
    if result.failure:
        return math.nan if measure.failed is None else measure.failed
    assert result.scores is not None
    values = asdict(result.scores) | asdict(result.measured)
    values['absolute_volume_error_percent'] = abs(values['volume_error_percent'])
    return float(values[measure.key])


def case_rows(results: Iterable[Result]) -> list[list[str]]:
    """Rows of ``cases.tsv``, in the order of `CASE_COLUMNS`."""
    return [_case_row(result) for result in results]


def _case_row(result: Result) -> list[str]:
    values = asdict(result.measured)
    if result.scores is not None:
        values |= asdict(result.scores)
    numbers = [
        format_number(float(values.get(key, math.nan)), places)
        for key, places in zip(CASE_COLUMNS[7:], PLACES, strict=True)
    ]
    case = result.case
    words = (case.name, result.tool, case.species, case.modality, case.group, case.subject)
    return [*words, result.failure, *numbers]


def groups_of_cases(cases: Sequence[Case]) -> dict[str, list[str]]:
    """Names of the cases of each group.

    Where a table names groups these are taken, and those of species and contrast otherwise; all
    cases together are the last one.
    """
    if any(case.group for case in cases):
        groups: dict[str, list[str]] = {}
        for case in cases:
            groups.setdefault(case.group or 'no group', []).append(case.name)
    else:
        rows = [
            {'case': case.name, 'species': case.species, 'modality': case.modality}
            for case in cases
        ]
        groups = groups_of(rows)
    everything = [case.name for case in cases]
    kept: dict[str, list[str]] = {}
    for name, members in groups.items():
        if members != everything and members not in kept.values():  # of two names the first
            kept[name] = members
    return {**kept, EVERYTHING: everything}


def group_rows(results: Sequence[Result], tools: Sequence[str]) -> list[GroupRow]:
    """Every group, measure and program, beside ours."""
    cases = list({result.case.name: result.case for result in results}.values())
    found = {(result.case.name, result.tool): result for result in results}
    by_name = {case.name: case for case in cases}
    return [
        _group_row(group, measure, tool, members, lambda case, tool: found[case, tool], by_name)
        for group, members in groups_of_cases(cases).items()
        for measure in MEASURES
        for tool in tools
    ]


def _group_row(
    group: str,
    measure: ComparedMeasure,
    tool: str,
    members: Sequence[str],
    found: Callable[[str, str], Result],
    cases: dict[str, Case],
) -> GroupRow:
    theirs = {case: value_of(found(case, tool), measure) for case in members}
    known = [value for value in theirs.values() if math.isfinite(value)]
    ours = {case: value_of(found(case, OURS), measure) for case in members}
    paired = {
        case: theirs[case] - ours[case]
        for case in members
        if math.isfinite(theirs[case]) and math.isfinite(ours[case]) and tool != OURS
    }
    owners = [cases[case].subject or case for case in paired]
    differences = list(paired.values())
    return GroupRow(
        group,
        measure,
        tool,
        len(members),
        sum(bool(found(case, tool).failure) for case in members),
        statistics.median(known) if known else math.nan,
        statistics.mean(known) if known else math.nan,
        len(differences),
        statistics.mean(differences) if differences else math.nan,
        mean_interval(differences, owners) if differences else None,
    )
