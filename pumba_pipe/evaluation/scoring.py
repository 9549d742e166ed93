"""Cases to scores: find or read a mask, compare it with its reference; tables and picture."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.tables import write_table
from pumba_pipe.evaluation.cases import Case
from pumba_pipe.evaluation.expectations import COLUMNS as EXPECTED_COLUMNS
from pumba_pipe.evaluation.expectations import expectation_rows, pairs_of_scores
from pumba_pipe.evaluation.metrics import (
    SCORE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseScore,
    StatedQuality,
    compare,
    summarize,
)
from pumba_pipe.images.masks import check_grid, load_mask, load_mask_of
from pumba_pipe.images.volume import load_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.panels import Panel
    from pumba_pipe.images.volume import Volume

SCORES, SUMMARY, PICTURE = 'scores.tsv', 'summary.tsv', 'worst.png'
EXPECTED = 'expected.tsv'
PICTURED = 8


class Prediction(NamedTuple):
    """A found mask and what is known about how it was found."""

    volume: Volume
    mask: NDArray[Any]
    expected: StatedQuality = StatedQuality()
    seconds: float = math.nan
    peak_mb: float = math.nan


MaskSource = Callable[[Case], Prediction]


class Scored(NamedTuple):
    """The score of a case, whether it has a reference, and three planes to look at."""

    score: CaseScore
    compared: bool
    panels: Sequence[Panel] = ()


def make_stripper(
    weights: Path | None, device: str = 'auto', threads: int | None = None
) -> MaskSource:
    """Load weights once, and return a function that strips a case with them.

    Raises
    ------
    WeightsError, InputError
        The weights cannot be used, or there is no such device.
    """
    from pumba_pipe.extraction.pipeline import extract
    from pumba_pipe.network.devices import choose_device
    from pumba_pipe.network.weights import load_weights

    choose_device(device)
    model = load_weights(weights)

    def strip(case: Case) -> Prediction:
        restart_peak()
        start = time.perf_counter()
        result = extract(case.image, model, device, threads)
        seconds = time.perf_counter() - start
        expected = StatedQuality.of(result.quality)
        return Prediction(result.volume, result.mask, expected, seconds, peak_mb())

    return strip


def read_prediction(case: Case) -> Prediction:
    """Read the ready mask of a case."""
    assert case.prediction is not None
    volume = load_volume(case.image, flat=True)
    return Prediction(volume, load_mask_of(volume, case.prediction))


def score_cases(
    cases: Iterable[Case],
    find: MaskSource,
    *,
    done: Callable[[CaseScore], None] = lambda score: None,
    failed: Callable[[str], None] = lambda message: None,
) -> list[Scored]:
    """Score cases one after the other; one that fails does not lose the others.

    Parameters
    ----------
    cases : iterable of Case
    find : callable
        `read_prediction`, or what `make_stripper` returns.
    done : callable
        Called with every score.
    failed : callable
        Called with one line, which names the case, where a case fails.
    """
    scored = []
    for case in cases:
        try:
            result = _scored(case, find)
        except Exception as error:  # one broken case must not lose the scores of all others
            reason = str(error) if isinstance(error, PumbaError) else repr(error)
            failed(f'{case.name}: {" ".join(reason.split())}')
            lost = CaseScore(case.name, case.species, case.modality, failed=True)
            result = Scored(lost, case.mask is not None)
        scored.append(result)
        done(result.score)
    return scored


def _scored(case: Case, find: MaskSource) -> Scored:
    from pumba_pipe.images.panels import FOUND_COLOUR, REFERENCE_COLOUR, planes

    reference = load_mask(case.mask) if case.mask is not None else None
    found = find(case)
    volume, overlap = found.volume, None
    panels: list[Panel] = []
    if case.mask is not None and reference is not None:
        mask, affine = reference
        check_grid(case.mask, mask.shape, affine, volume.data.shape, volume.affine)
        overlap = compare(found.mask, mask, volume.voxel_size)
        outlines = [(mask, REFERENCE_COLOUR), (found.mask, FOUND_COLOUR)]
        panels = planes(volume.data, outlines, volume.affine)
    score = CaseScore(
        case.name, case.species, case.modality, overlap,
        found.expected, found.seconds, found.peak_mb,
    )  # fmt: skip
    return Scored(score, reference is not None, panels)


def in_words(score: CaseScore) -> str:
    """Say a score in one line."""
    if score.failed:
        return f'{score.case}: failed'
    parts = []
    if score.overlap is not None:
        parts.append(f'Dice {score.overlap.dice:.3f}, HD95 {score.overlap.hd95_mm:.1f} mm')
    if math.isfinite(score.seconds):
        parts.append(f'{score.seconds:.1f} s')
    if math.isfinite(score.expected.dice):
        expected = score.expected
        flagged = ', flagged' if expected.flagged == 'yes' else ''
        parts.append(
            f'expected {expected.dice:.3f} ({expected.low:.2f}-{expected.high:.2f}){flagged}'
        )
    return f'{score.case}: {", ".join(parts)}'


def write_results(
    folder: Path, scored: Sequence[Scored], pictured: int = PICTURED
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Write ``scores.tsv``, ``summary.tsv`` and, of the worst cases, ``worst.png``.

    Where masks came with an expected Dice, ``expected.tsv`` compares it with the true one.

    Returns
    -------
    summary, expected : list of tuple of str
        The rows of both tables: of the cases that have a reference.
    """
    from pumba_pipe.images.panels import FOUND_COLOUR, REFERENCE_COLOUR, draw_grid

    compared = [one.score for one in scored if one.compared]
    summary = summarize(compared) if compared else []
    write_table(folder / SCORES, SCORE_COLUMNS, [one.score.cells() for one in scored])
    write_table(folder / SUMMARY, SUMMARY_COLUMNS, summary)
    expected = expectation_rows(pairs_of_scores(compared))
    if expected:
        write_table(folder / EXPECTED, EXPECTED_COLUMNS, expected)
    drawn = [one for one in scored if one.panels]
    worst = sorted(drawn, key=lambda one: one.score.overlap.dice if one.score.overlap else 1.0)
    if worst:
        draw_grid(
            folder / PICTURE,
            [one.panels for one in worst[:pictured]],
            [in_words(one.score) for one in worst[:pictured]],
            [('reference', REFERENCE_COLOUR), ('found', FOUND_COLOUR)],
        )
    return summary, expected


def restart_peak() -> None:
    """Let the kernel measure the peak memory of this process anew, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')


def peak_mb() -> float:
    """Peak memory of this process in MiB, since `restart_peak` where that works.

    Not a number on Windows, which does not tell.
    """
    with contextlib.suppress(OSError):
        for line in Path('/proc/self/status').read_text('utf-8').splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == 'darwin' else 1024)
