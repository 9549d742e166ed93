"""``pumba-evaluate benchmark``: several programs on the same cases, measured and scored."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.shared_options import add_device, add_quiet, add_threads, seconds
from pumba_pipe.common.standard_streams import remarks_of, tell

if TYPE_CHECKING:
    from pumba_pipe.evaluation.benchmark import Result
    from pumba_pipe.evaluation.cases import Case

NAME = 'pumba-evaluate benchmark'
HOUR = 3600.0  # seconds
SUMMARY = 'dice'  # of which a table is printed
OWN = 3  # first columns by which a table is known as one of ours, of earlier versions too
EPILOG = """
DIR is a folder of <case>/image.nii.gz and <case>/mask.nii.gz, with or without a MANIFEST.tsv of
the columns case, species, modality, subject and group. Without a column group, cases are grouped
by species and contrast.

A program is given as a name and its command line. {in} stands for the image, {out} for the mask it
has to write (.nii.gz, on the image's grid), {dir} for an empty folder for whatever else it writes.
No shell reads the line; for one, write NAME='sh -c "..."'. Programs are run one after the other,
each as a process of its own. A run fails that ends with another exit code than 0, writes no mask
or one on another grid, or takes too long. A failure counts as Dice 0.

Written to OUT: cases.tsv (a row per case and program), groups.tsv (each group, with the mean
difference to ours and its 95 % interval), benchmark.html with plots, masks/, and in runs/ what the
programs printed. The same call goes on where it was stopped: a run whose command, image and mask
are unchanged is not repeated. Nothing is downloaded.

Exit codes: 0 done (failures of programs are results), 1 failed, 2 wrong usage.

examples:
  pumba-evaluate benchmark cases out
  pumba-evaluate benchmark cases out --tool synthstrip='mri_synthstrip -i {in} -m {out}'
  pumba-evaluate benchmark cases out --threads 2 --tool mine='python3 mine.py {in} {out}'
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        NAME,
        description='Run pumba-strip and other programs on the same cases, one after the other; '
        'measure their time and memory, and score their masks.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, metavar='DIR', help='folder of the cases, see below')
    parser.add_argument('out', type=Path, metavar='OUT', help='folder of the results')
    parser.add_argument(
        '--tool', action='append', default=[], metavar="NAME='COMMAND'",
        help='a program to compare with; repeat it for further ones',
    )  # fmt: skip
    parser.add_argument('--cases', nargs='+', metavar='CASE', help='only these cases')
    parser.add_argument(
        '--time-limit', type=seconds, default=HOUR, metavar='T',
        help='of one program on one case: 90s, 30m or 1.5h; a bare number is in seconds '
        '(default: 1h)',
    )  # fmt: skip
    parser.add_argument(
        '--again', nargs='+', default=[], metavar='NAME',
        help='programs to run anew on all cases, as after an update of theirs',
    )  # fmt: skip
    parser.add_argument(
        '--weights', type=Path, metavar='FILE', help='weights of ours (default: the shipped ones)'
    )
    add_device(parser)
    add_threads(parser)
    add_quiet(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pumba-evaluate benchmark`` and return its exit code."""
    options = build_parser().parse_args(argv)
    return guarded(NAME, lambda: benchmark(options))


def benchmark(options: argparse.Namespace) -> int:
    """Run everything, write the tables and the page, and print a summary."""
    from pumba_pipe.commands.benchmark_page import page_of
    from pumba_pipe.common.folder_lock import only_run_in
    from pumba_pipe.common.progress import ProgressBar
    from pumba_pipe.common.tables import as_text, check_table, write_table
    from pumba_pipe.evaluation.benchmark import (
        Settings,
        check_references,
        checked_tools,
        our_tool,
        parse_tool,
        run_benchmark,
    )
    from pumba_pipe.evaluation.benchmark_tables import (
        CASE_COLUMNS,
        CASES,
        GROUP_COLUMNS,
        GROUPS,
        case_rows,
        group_rows,
    )
    from pumba_pipe.reports.benchmark import PAGE, write_benchmark_page

    cases = _select(options)
    ours = our_tool(options.weights, options.device, options.threads)
    tools = checked_tools([ours, *(parse_tool(text) for text in options.tool)])
    names = [tool.name for tool in tools]
    unknown = sorted(set(options.again) - set(names))
    if unknown:
        raise InputError(f'--again {unknown[0]}: no program of this name; there is {names[0]}')
    _check_place(options.out, cases)
    for name, columns in ((CASES, CASE_COLUMNS), (GROUPS, GROUP_COLUMNS)):
        check_table(options.out / name, columns[:OWN])
    check_references(cases)
    settings = Settings(options.time_limit, options.threads, frozenset(options.again))
    with only_run_in(options.out), ProgressBar(len(cases) * len(tools), 'run') as bar:

        def done(result: Result) -> None:
            bar.advance()
            if not options.quiet:
                bar.say(in_words(result))

        results = run_benchmark(cases, tools, options.out, settings, done)
        rows = group_rows(results, names)
        write_table(options.out / CASES, CASE_COLUMNS, case_rows(results))
        write_table(options.out / GROUPS, GROUP_COLUMNS, [row.cells() for row in rows])
        write_benchmark_page(options.out / PAGE, page_of(results, tools, rows, settings))
    shown = [row.cells() for row in rows if row.measure.key == SUMMARY]
    tell('\n' + as_text(GROUP_COLUMNS, shown) + '\n')
    failed = sum(bool(result.failure) for result in results)
    kept = sum(result.kept for result in results)
    tell(f'runs: {len(results)}, {kept} of them kept from before, failed: {failed}')
    tell(f'{options.out / PAGE}: written, with {CASES} and {GROUPS} beside it')
    return 0


def in_words(result: Result) -> str:
    """Say a result in one line."""
    start = f'{result.case.name}, {result.tool}: '
    if result.failure or result.scores is None:
        return f'{start}failed: {result.failure}'
    scores, measured = result.scores, result.measured
    distance = f', HD95 {scores.hd95_mm:.1f} mm' if math.isfinite(scores.hd95_mm) else ''
    return (
        f'{start}Dice {scores.dice:.3f}{distance}, {measured.seconds:.1f} s, '
        f'{measured.peak_mb:.0f} MiB' + (' (kept)' if result.kept else '')
    )


def _select(options: argparse.Namespace) -> list[Case]:
    from pumba_pipe.evaluation.cases import chosen_cases, find_cases, with_masks

    cases = find_cases(options.folder, remarks_of(NAME))
    if options.cases:
        cases = chosen_cases(cases, options.cases)
    labelled = with_masks(cases, options.folder)
    if len(labelled) < len(cases):
        tell(f'left out, without a reference mask: {len(cases) - len(labelled)}')
    return labelled


def _check_place(out: Path, cases: Sequence[Case]) -> None:
    """Refuse a folder of results that is a file, or among the cases."""
    if out.exists() and not out.is_dir():
        raise InputError(f'{out}: is a file, a folder is needed')
    if any(out.resolve() == case.image.parent.resolve() for case in cases):
        raise InputError(f'{out}: is the folder of a case; choose another folder for the results')


if __name__ == '__main__':
    sys.exit(main())
