"""Results of a benchmark, as the page of `pumba_pipe.reports.benchmark` shows them."""

from __future__ import annotations

import math
import platform
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pumba_pipe.common.resources import available_cpus, available_memory_gb
from pumba_pipe.evaluation.benchmark import Result, Settings, Tool
from pumba_pipe.evaluation.benchmark_tables import (
    EVERYTHING,
    MEASURES,
    ComparedMeasure,
    GroupRow,
    value_of,
)
from pumba_pipe.evaluation.comparison import OURS
from pumba_pipe.reports.benchmark import (
    Benchmark,
    Comparison,
    Difference,
    Distribution,
    Table,
    number_cell,
)

SIMPLE = re.compile(r'[\w{}@%+=:,./-]+')  # needs no quotes to be read
CPU_INFO = Path('/proc/cpuinfo')
COMPARED = ('dice', 'surface_dice_1mm', 'hd95_mm', 'seconds')  # of which differences are drawn
SHOWN = (  # of a case: key, heading, digits
    ('dice', 'Dice', 3),
    ('surface_dice_1mm', 'Surface Dice 1 mm', 3),
    ('surface_dice_2mm', 'Surface Dice 2 mm', 3),
    ('hd95_mm', 'HD95 (mm)', 1),
    ('assd_mm', 'ASSD (mm)', 2),
    ('volume_error_percent', 'Volume error (%)', 1),
    ('seconds', 'Time (s)', 1),
    ('cpu_seconds', 'CPU time (s)', 1),
    ('peak_mb', 'Memory (MiB)', 0),
)


def page_of(
    results: Sequence[Result], tools: Sequence[Tool], rows: Sequence[GroupRow], settings: Settings
) -> Benchmark:
    """Gather what the page shows."""
    return Benchmark(
        cases=len({result.case.name for result in results}),
        programs=[(tool.name, command_line(tool), tool.version) for tool in tools],
        conditions=_conditions(results, settings),
        failures=[
            f'{result.case.name}, {result.tool}: {result.failure}'
            for result in results
            if result.failure
        ],
        distributions=[_distribution(measure, results, tools) for measure in MEASURES],
        comparisons=[_comparison(one, rows) for one in MEASURES if one.key in COMPARED],
        groups=_group_table(rows),
        results=_case_table(results),
    )


def command_line(tool: Tool) -> str:
    """The command of a program as a person would type it; ours without the way to Python.

    Examples
    --------
    >>> command_line(Tool('bet', ('bet', '{in}', '{out}', 'two words')))
    "bet {in} {out} 'two words'"
    """
    words = tool.words
    if tool.name == OURS and '-m' in words:
        words = ('pumba-strip', *words[words.index('-m') + 2 :])
    return ' '.join(word if SIMPLE.fullmatch(word) else shlex.quote(word) for word in words)


def _conditions(results: Sequence[Result], settings: Settings) -> list[tuple[str, str]]:
    kept = sum(result.kept for result in results)
    return [
        ('Machine', f'{cpu_name()}, {available_cpus()} CPUs, {available_memory_gb():.0f} GB free'),
        (
            'System',
            f'{platform.system()} {platform.machine()}, Python {platform.python_version()}',
        ),
        ('Threads', str(settings.threads or 'as each program chooses')),
        ('Time limit', f'{settings.time_limit:g} s'),
        ('Order', 'one program after the other; another one is the first at each case'),
        ('Runs', f'{len(results)}, of which {kept} were kept from an earlier call'),
    ]


def cpu_name(path: Path = CPU_INFO) -> str:
    """What the processor is called, as far as the system tells."""
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        text = ''
    names = (line.partition(':')[2].strip() for line in text.split('\n') if 'model name' in line)
    return next(names, '') or platform.processor() or 'unknown processor'


def _distribution(
    measure: ComparedMeasure, results: Sequence[Result], tools: Sequence[Tool]
) -> Distribution:
    rows = []
    for tool in tools:
        values = [
            (result.case.name, value_of(result, measure))
            for result in results
            if result.tool == tool.name
        ]
        rows.append((tool.name, [pair for pair in values if math.isfinite(pair[1])]))
    return Distribution(measure.label, measure.units, measure.places, rows)


def _comparison(measure: ComparedMeasure, rows: Sequence[GroupRow]) -> Comparison:
    groups: dict[str, list[Difference]] = {}
    for row in rows:
        if row.measure is measure and row.tool != OURS and math.isfinite(row.difference):
            one = Difference(row.tool, row.difference, row.interval, row.pairs)
            groups.setdefault(row.group, []).append(one)
    everything = groups.pop(EVERYTHING, None)
    ordered = [*([(EVERYTHING, everything)] if everything else []), *groups.items()]
    return Comparison(
        measure.label, measure.units, measure.places, measure.more_is_better, ordered
    )


def _group_table(rows: Sequence[GroupRow]) -> Table:
    """A row for each group and program: the median by each measure."""
    medians: dict[tuple[str, str], dict[str, float]] = {}
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        medians.setdefault((row.group, row.tool), {})[row.measure.key] = row.median
        counts[row.group, row.tool] = row.cases, row.failed
    columns = [('Group', False), ('Program', False), ('Cases', True), ('Failed', True)]
    columns += [(f'{one.label}{f" ({one.units})" if one.units else ""}', True) for one in MEASURES]
    lines: list[list[tuple[str, float | None]]] = []
    for (group, tool), values in medians.items():
        lines.append(
            [(group, None), (tool, None)]
            + [number_cell(count, 0) for count in counts[group, tool]]
            + [number_cell(values[one.key], one.places) for one in MEASURES]
        )
    return Table(columns, lines, [False] * len(lines))


def _case_table(results: Sequence[Result]) -> Table:
    columns = [('Case', False), ('Program', False)]
    columns += [(heading, True) for _, heading, _ in SHOWN] + [('Failure', False)]
    lines: list[list[tuple[str, float | None]]] = []
    for result in results:
        values = asdict(result.measured) | (asdict(result.scores) if result.scores else {})
        lines.append(
            [(result.case.name, None), (result.tool, None)]
            + [number_cell(values.get(key, math.nan), places) for key, _, places in SHOWN]
            + [(result.failure, None)]
        )
    return Table(columns, lines, [bool(result.failure) for result in results])
