"""``pumba-evaluate``: strip images that have reference masks, and score what was found."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pumba_pipe.commands.common import add_version, guarded, positive_int
from pumba_pipe.errors import InputError, PumbaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.evaluation import CaseScore
    from pumba_pipe.evaluation_cases import Case
    from pumba_pipe.figures import Panel
    from pumba_pipe.volume import Volume

NAME = 'pumba-evaluate'
EPILOG = """
DIR is a folder of <case>/image.nii.gz and <case>/mask.nii.gz. Species and modality come from
its MANIFEST.tsv (columns case, species, modality), or from names <species>_<modality>_<name>.
With --bids DIR is a BIDS derivative: every sub-*_desc-brain_mask.nii.gz (or label-brain) goes
with the images of RAW that have its name without desc and label. Without RAW's
participants.tsv saying else, the species is human.

Written to --out: scores.tsv (a row per case), summary.tsv, worst.png. Distances are in mm.
hd95_mm is the larger of both directions' 95th percentiles. seconds covers reading and
stripping. peak_mb (MiB) is the highest memory use of this process while it stripped the case
(on Linux; elsewhere since it started). The exit code is 1 when a case failed.
"""


class Found(NamedTuple):
    """A found mask and what is known about how it was found."""

    volume: Volume
    mask: NDArray[Any]
    confidence: float = math.nan
    seconds: float = math.nan
    peak_mb: float = math.nan


Finder = Callable[['Case'], Found]


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        NAME,
        description='Strip images that have reference masks, and score the masks found.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', metavar='DIR', type=Path, help='cases, see below')
    parser.add_argument('--bids', metavar='RAW', type=Path, help='raw BIDS data set of the images')
    parser.add_argument(
        '--out', metavar='DIR', type=Path, default=Path('evaluation'),
        help='folder of the results (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--predictions', metavar='DIR', type=Path,
        help='score these masks instead of stripping: <case>.nii.gz, <case>/mask.nii.gz, '
        'or with --bids the names of the reference masks',
    )  # fmt: skip
    parser.add_argument('--cases', nargs='+', metavar='CASE', help='only these cases')
    parser.add_argument(
        '--all', action='store_true', help='strip cases without a reference too, for confidence'
    )
    parser.add_argument(
        '--worst', type=positive_int, default=8, metavar='N',
        help='cases in the picture (default: %(default)s)',
    )  # fmt: skip
    parser.add_argument('--weights', type=Path, metavar='FILE', help='default: the shipped ones')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps')
    parser.add_argument('--threads', type=positive_int, metavar='N', help='CPU threads')
    add_version(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``pumba-evaluate`` and return its exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.all and options.predictions is not None:
        parser.error('--all strips images; with --predictions nothing is stripped')
    return guarded(NAME, lambda: evaluate(options))


def evaluate(options: argparse.Namespace) -> int:
    """Score all cases and write the results; 1 when a case failed."""
    from pumba_pipe.evaluation import SUMMARY_COLUMNS, as_text, summarize
    from pumba_pipe.saving import check_folder

    cases = _select(options)
    check_folder(options.out / 'scores.tsv')
    find = _read_found if options.predictions else _stripper(options)
    scores, pictures = [], []
    for case in cases:
        score, panels = _score_or_report(case, find)
        scores.append(score)
        if panels:
            pictures.append((score, panels))
        print(_progress(score), flush=True)
    compared = [score for score, case in zip(scores, cases, strict=True) if case.mask]
    summary = summarize(compared) if compared else []
    _write(options.out, scores, summary, pictures, options.worst)
    print('\n' + as_text(SUMMARY_COLUMNS, summary) + '\n' if summary else '')
    failed = sum(score.failed for score in scores)
    print(f'cases: {len(scores)}, failed: {failed}; results in {options.out}')
    return 1 if failed else 0


def _select(options: argparse.Namespace) -> list[Case]:
    """List the cases the options ask for, with their ready masks where those are given."""
    from pumba_pipe.evaluation_cases import (
        chosen_cases,
        find_bids_cases,
        find_cases,
        with_predictions,
    )

    if options.bids is not None:
        cases = find_bids_cases(options.folder, options.bids)
    else:
        cases = find_cases(options.folder)
    if options.cases:
        cases = chosen_cases(cases, options.cases)
    blind = [case.name for case in cases if case.mask is None]
    if blind and not options.all:
        cases = [case for case in cases if case.mask is not None]
        if not cases:
            raise InputError(
                f'{options.folder}: no mask.nii.gz beside any of the images; '
                'with --all they are stripped nonetheless'
            )
        print(f'left out for want of a reference mask: {len(blind)} (--all strips them too)')
    if options.predictions is not None:
        derivative = options.folder if options.bids is not None else None
        cases = with_predictions(cases, options.predictions, derivative)
    return cases


def _stripper(options: argparse.Namespace) -> Finder:
    """Load the weights once, and return a function that strips a case with them."""
    from pumba_pipe.devices import choose_device
    from pumba_pipe.extraction import extract
    from pumba_pipe.weights import load_weights

    choose_device(options.device)
    model = load_weights(options.weights)

    def strip(case: Case) -> Found:
        restart_peak()
        start = time.perf_counter()
        result = extract(case.image, model, options.device, options.threads)
        seconds = time.perf_counter() - start
        return Found(result.volume, result.mask, result.quality.confidence, seconds, peak_mb())

    return strip


def _read_found(case: Case) -> Found:
    """Read the ready mask of a case."""
    from pumba_pipe.evaluation_cases import check_grid, load_mask
    from pumba_pipe.volume import load_volume

    assert case.ready is not None
    mask, affine = load_mask(case.ready)
    volume = load_volume(case.image)
    check_grid(case.ready, mask.shape, affine, volume.data.shape, volume.affine)
    return Found(volume, mask)


def _score_or_report(case: Case, find: Finder) -> tuple[CaseScore, list[Panel]]:
    """Score a case; say on stderr why where it fails."""
    from pumba_pipe.evaluation import CaseScore

    try:
        return _score(case, find)
    except PumbaError as error:
        message = str(error)
    except Exception as error:  # one broken case must not lose the scores of all others
        message = f'{type(error).__name__}: {error}'
    print(f'{NAME}: {case.name}: {" ".join(message.split())}', file=sys.stderr)
    return CaseScore(case.name, case.species, case.modality, failed=True), []


def _score(case: Case, find: Finder) -> tuple[CaseScore, list[Panel]]:
    from pumba_pipe.evaluation import CaseScore, compare
    from pumba_pipe.evaluation_cases import check_grid, load_mask
    from pumba_pipe.figures import FOUND_COLOUR, REFERENCE_COLOUR, planes

    reference = load_mask(case.mask) if case.mask is not None else None
    found = find(case)
    volume, overlap, panels = found.volume, None, []
    if case.mask is not None and reference is not None:
        mask, affine = reference
        check_grid(case.mask, mask.shape, affine, volume.data.shape, volume.affine)
        overlap = compare(found.mask, mask, volume.voxel_size)
        outlines = [(mask, REFERENCE_COLOUR), (found.mask, FOUND_COLOUR)]
        panels = planes(volume.data, outlines, volume.affine)
    score = CaseScore(
        case.name, case.species, case.modality, overlap,
        found.confidence, found.seconds, found.peak_mb,
    )  # fmt: skip
    return score, panels


def _progress(score: CaseScore) -> str:
    if score.failed:
        return f'{score.case}: failed'
    parts = []
    if score.overlap is not None:
        parts.append(f'Dice {score.overlap.dice:.3f}, HD95 {score.overlap.hd95_mm:.1f} mm')
    if math.isfinite(score.seconds):
        parts.append(f'confidence {score.confidence:.2f}, {score.seconds:.1f} s')
    return f'{score.case}: {", ".join(parts)}'


def _write(
    folder: Path,
    scores: Sequence[CaseScore],
    summary: Sequence[Sequence[str]],
    pictures: Sequence[tuple[CaseScore, list[Panel]]],
    count: int,
) -> None:
    from pumba_pipe.evaluation import SCORE_COLUMNS, SUMMARY_COLUMNS, write_table
    from pumba_pipe.figures import FOUND_COLOUR, REFERENCE_COLOUR, draw_grid

    write_table(folder / 'scores.tsv', SCORE_COLUMNS, [score.cells() for score in scores])
    write_table(folder / 'summary.tsv', SUMMARY_COLUMNS, summary)
    worst = sorted(pictures, key=lambda pair: pair[0].overlap.dice if pair[0].overlap else 1.0)
    if worst:
        draw_grid(
            folder / 'worst.png',
            [panels for _, panels in worst[:count]],
            [_progress(score) for score, _ in worst[:count]],
            [('reference', REFERENCE_COLOUR), ('found', FOUND_COLOUR)],
        )


def restart_peak() -> None:
    """Let the kernel measure the peak memory of this process anew, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def peak_mb() -> float:
    """Peak memory of this process in MiB, since `restart_peak` where that works."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == 'darwin' else 1024)
