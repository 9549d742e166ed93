"""Several programs on the same cases, each run as a process of its own, measured and scored."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.common.file_records import MODIFIED, is_record, is_same, record_of
from pumba_pipe.common.files import write_json
from pumba_pipe.common.measured_run import Measured, can_measure, run_measured
from pumba_pipe.common.partial_files import PARTIAL
from pumba_pipe.evaluation.cases import Case
from pumba_pipe.evaluation.comparison import OURS
from pumba_pipe.evaluation.metrics import agreement
from pumba_pipe.images.masks import load_mask, load_mask_of
from pumba_pipe.images.volume import load_volume

IN, OUT, FOLDER = '{in}', '{out}', '{dir}'
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
SCORING = 1  # to be raised when scores are computed in another way
TIME_LIMIT = 3600.0  # seconds a case
# What the common libraries read to know how many threads they may use.
THREADS = (
    *('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMEXPR_NUM_THREADS'),
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS',
)
MASKS, RUNS = 'masks', 'runs'
TAIL = 200  # characters of what a program printed, in a message


@dataclass(frozen=True)
class Tool:
    """A program that strips.

    Attributes
    ----------
    name : str
    words : tuple of str
        Its command line; ``{in}``, ``{out}`` and ``{dir}`` stand for the image, the mask to write
        and an empty folder for whatever else it writes.
    version : str
        What else decides which masks it writes; empty where that is not known.
    """

    name: str
    words: tuple[str, ...]
    version: str = ''

    def command(self, image: Path, mask: Path, folder: Path) -> list[str]:
        """The command line for one case."""
        places = {IN: image, OUT: mask, FOLDER: folder}
        filled = []
        for word in self.words:
            for sign, path in places.items():
                word = word.replace(sign, str(path))
            filled.append(word)
        return filled


@dataclass(frozen=True)
class Scores:
    """How good a mask is; distances in mm, not a number where the mask is empty."""

    dice: float
    surface_dice_1mm: float
    surface_dice_2mm: float
    hd95_mm: float
    assd_mm: float
    volume_error_percent: float


@dataclass(frozen=True)
class Result:
    """One program on one case.

    Attributes
    ----------
    case : Case
    tool : str
    measured : Measured
    failure : str
        Why there is no mask to score, in words; empty where there is one.
    scores : Scores or None
    kept : bool
        Whether it is the result of an earlier run.
    """

    case: Case
    tool: str
    measured: Measured
    failure: str = ''
    scores: Scores | None = None
    kept: bool = False


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    Attributes
    ----------
    time_limit : float
        Seconds for a program and a case.
    threads : int, optional
        CPU threads for every program, as far as it heeds `THREADS`.
    again : frozenset of str
        Programs whose earlier results do not count.
    """

    time_limit: float = TIME_LIMIT
    threads: int | None = None
    again: frozenset[str] = field(default_factory=frozenset)


def parse_tool(text: str) -> Tool:
    """Read a program from ``name=command line``.

    Raises
    ------
    InputError
        There is no name, no command, or the command lacks ``{in}`` or ``{out}``.

    Examples
    --------
    >>> parse_tool("mine=sh 'my tool.sh' {in} {out}").words
    ('sh', 'my tool.sh', '{in}', '{out}')
    """
    name, equals, line = text.partition('=')
    name = name.strip()
    if not equals or not NAME.fullmatch(name):
        raise InputError(
            f"--tool {text!r}: give it as NAME='COMMAND {{in}} {{out}}', with a NAME of letters, "
            'digits and . _ + -'
        )
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise InputError(f'--tool {name}: the command cannot be read ({error})') from None
    for sign in (IN, OUT):
        if not any(sign in word for word in words):
            raise InputError(f'--tool {name}: the command has no {sign}')
    if shutil.which(words[0]) is None:
        raise InputError(f'--tool {name}: there is no program {words[0]}')
    return Tool(name, words)


def checked_tools(tools: Sequence[Tool]) -> list[Tool]:
    """Refuse programs whose names, as folders, would be the same.

    Raises
    ------
    InputError
    """
    seen: set[str] = set()
    for tool in tools:
        if tool.name.casefold() in seen:
            raise InputError(f'--tool {tool.name}: this name is taken; give each its own')
        seen.add(tool.name.casefold())
    return list(tools)


def our_tool(weights: Path | None, device: str, threads: int | None) -> Tool:
    """``pumba-strip`` of this installation, run as any other program.

    Raises
    ------
    WeightsError
        The weights cannot be used.
    """
    from pumba_pipe._version import __version__
    from pumba_pipe.network.weights import load_weights

    words = [sys.executable, '-m', 'pumba_pipe.commands.strip', '-i', IN, '-m', OUT]
    words += ['--device', device, *(['--weights', str(weights)] if weights else [])]
    words += ['--threads', str(threads)] if threads else []
    return Tool(OURS, tuple(words), f'{__version__}, weights {load_weights(weights).sha256}')


def run_benchmark(
    cases: Sequence[Case],
    tools: Sequence[Tool],
    folder: Path,
    settings: Settings = Settings(),
    done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run every program on every case, one after the other, and score the masks.

    All programs take a case before the next case begins, and another one is the first each time,
    so that a machine that slows down slows all of them. What was done before, and is unchanged,
    is not done again: see `_earlier`.

    Parameters
    ----------
    cases : sequence of Case
        With reference masks.
    tools : sequence of Tool
    folder : Path
        Gets ``masks`` and ``runs``, with what each program printed.
    settings : Settings
    done : callable
        Called with every result.

    Raises
    ------
    InputError
        This system does not tell what a process has used.
    OutputError
    """
    if not can_measure():
        raise InputError('this system does not tell what a process has used; use Linux or macOS')
    results = []
    for turn, case in enumerate(cases):
        first = turn % len(tools)
        for tool in (*tools[first:], *tools[:first]):
            result = _result(case, tool, folder, settings)
            results.append(result)
            done(result)
    return results


def _result(case: Case, tool: Tool, folder: Path, settings: Settings) -> Result:
    record_file = folder / RUNS / tool.name / f'{case.name}.json'
    mask = folder / MASKS / tool.name / f'{case.name}.nii.gz'
    try:
        asked: dict[str, Any] = {
            'command': list(tool.words),
            'version': tool.version,
            'threads': settings.threads,
        }
        inputs = {'image': record_of(case.image), 'reference': record_of(_reference(case))}
    except OSError as error:
        reason = error.strerror or str(error)
        return Result(case, tool.name, _nothing(), f'cannot read the case ({reason})')
    earlier = None if tool.name in settings.again else _earlier(record_file, asked, inputs, mask)
    if earlier is not None and earlier.get('scores') is not None:
        kept = Scores(**_with_numbers(earlier['scores']))
        return Result(case, tool.name, Measured(**earlier['measured']), '', kept, kept=True)
    if earlier is None:
        measured, failure = _run(case, tool, mask, record_file.with_suffix('.log'), settings)
    else:  # the reference is another one, or scores are computed in another way
        measured, failure = Measured(**earlier['measured']), ''
    scores: Scores | None = None
    if not failure:
        scores, failure = _scored(case, mask)
    record = {
        **asked,
        **inputs,
        'measured': asdict(measured),
        'failure': failure,
        'scores': None if scores is None else _without_nan(asdict(scores)),
        'scoring': SCORING,
        'mask': record_of(mask) if not failure else None,
    }
    write_json(record_file, record)
    return Result(case, tool.name, measured, failure, scores, kept=earlier is not None)


def _reference(case: Case) -> Path:
    assert case.mask is not None
    return case.mask


def _nothing() -> Measured:
    return Measured(math.nan, math.nan, math.nan, 0)


def _earlier(
    record_file: Path, asked: Mapping[str, Any], inputs: Mapping[str, Any], mask: Path
) -> dict[str, Any] | None:
    """Record of an earlier run that still holds: same command, same image, its mask unchanged.

    A run that failed is none: its cause may have been mended. Scores are left out where they have
    to be computed anew.
    """
    try:
        record = read_json(record_file)
        holds = (
            all(record.get(key) == value for key, value in asked.items())
            and not record.get('failure')
            and _same(record.get('image'), inputs['image'])
            and is_record(record.get('mask'))
            and is_same(mask, record['mask'], MODIFIED)
            and set(record['measured']) == {one.name for one in fields(Measured)}
        )
    except (InputError, OSError, KeyError, TypeError):
        return None
    if not holds:
        return None
    scored = record.get('scoring') == SCORING
    if not scored or not _same(record.get('reference'), inputs['reference']):
        record['scores'] = None
    return record


def _same(before: Any, now: Mapping[str, Any]) -> bool:
    """Whether two records are of the same content."""
    return is_record(before) and before.get('SHA256') == now['SHA256']


def _run(
    case: Case, tool: Tool, mask: Path, log: Path, settings: Settings
) -> tuple[Measured, str]:
    """Run a program on a case: what it took, and in words why there is no mask."""
    log.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        mask.unlink()
    with _scratch(mask) as scratch:
        made = (scratch / 'mask.nii.gz').absolute()
        other = (scratch / 'other').absolute()
        other.mkdir()
        words = tool.command(case.image.absolute(), made, other)
        environment = dict(os.environ)
        if settings.threads:
            environment |= dict.fromkeys(THREADS, str(settings.threads))
        measured = run_measured(words, settings.time_limit, log, environment)
        failure = _failure(measured, made, log, settings.time_limit)
        if not failure:
            made.replace(mask)
    return measured, failure


@contextlib.contextmanager
def _scratch(mask: Path) -> Iterator[Path]:
    """An empty folder beside a mask, which is gone afterwards."""
    scratch = mask.with_name(f'{PARTIAL}{mask.name.removesuffix(".nii.gz")}')
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _failure(measured: Measured, made: Path, log: Path, limit: float) -> str:
    if measured.error:
        return f'not started ({measured.error})'
    if measured.timed_out:
        return f'time limit ({limit:g} s)'
    if measured.code < 0:
        return f'ended by signal {-measured.code}'
    if measured.code:
        return f'exit code {measured.code}{_said(log)}'
    return '' if made.is_file() else f'no mask written{_said(log)}'


def _said(log: Path) -> str:
    """The last line that a program printed."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
        last = next((line.strip() for line in reversed(lines) if line.strip()), '')
        return f' ({last[-TAIL:]})' if last else ''
    return ''


def _scored(case: Case, mask: Path) -> tuple[Scores | None, str]:
    """Scores of a mask, or in words why there are none."""
    try:
        volume = load_volume(case.image, flat=True)
        reference = load_mask_of(volume, _reference(case))
        try:
            found = load_mask_of(volume, mask)
        except InputError as error:
            reason = str(error).removeprefix(f'{mask}: ')
            return None, f'mask cannot be used: {reason}'
        one = agreement(found, reference, volume.voxel_size)
    except PumbaError as error:
        return None, f'case cannot be scored: {error}'
    return Scores(
        one.overlap.dice, one.surface_dice_1mm, one.surface_dice_2mm,
        one.overlap.hd95_mm, one.overlap.assd_mm, 100 * (one.overlap.volume_ratio - 1),
    ), ''  # fmt: skip


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no word for what is not a number."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _with_numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: math.nan if value is None else value for key, value in values.items()}


def check_references(cases: Sequence[Case]) -> None:
    """Refuse cases without a usable reference mask before anything is run.

    Raises
    ------
    InputError
        A reference cannot be read, or is empty.
    """
    for case in cases:
        if not load_mask(_reference(case))[0].any():
            raise InputError(f'{case.mask}: this reference mask is empty')
