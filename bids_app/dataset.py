"""Reading a BIDS data set: validity, and which images are to be stripped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.config import MODALITIES, RunConfig, UsageError
from pumba_pipe.workflows.naming import ImageName, parse_name

VALIDATOR = 'bids-validator-deno'
EXTENSIONS = ('.nii', '.nii.gz')
NOT_MAGNITUDE = ('phase', 'real', 'imag')
# Nothing there is stripped; leaving it out makes reading a large data set quick.
IGNORED = re.compile(
    r'^/(derivatives|sourcedata|code|stimuli|models|phenotype)(/|$)|/\.'
    r'|/(func|dwi|fmap|perf|eeg|meg|ieeg|pet|beh|micr|nirs|motion|mrs)(/|$)'
)


@dataclass
class Selection:
    """Images of a data set.

    Attributes
    ----------
    images : list of Path
        To be stripped, in order.
    broken : dict of Path to str
        Images that cannot be read, and why.
    remarks : list of str
        What a user should know about the choice.
    """

    images: list[Path] = field(default_factory=list)
    broken: dict[Path, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def validate(config: RunConfig) -> str | None:
    """Run the BIDS validator over the input.

    Returns
    -------
    str or None
        A warning, when the validator is not installed.

    Raises
    ------
    UsageError
        The data set breaks the standard.
    """
    beside = Path(sys.executable).parent
    program = shutil.which(VALIDATOR) or shutil.which(VALIDATOR, path=str(beside))
    if program is None:
        return f'{VALIDATOR} is not installed: the data set is used without validation'
    answer = subprocess.run(
        [program, '--format', 'json', '--ignoreWarnings', str(config.bids_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        issues = json.loads(answer.stdout)['issues']['issues']
    except (ValueError, KeyError, TypeError):
        return f'{VALIDATOR} gave no answer: the data set is used without validation'
    errors = [issue for issue in issues if issue.get('severity') == 'error']
    if errors:
        first = errors[0]
        what = f'{first.get("code")} at {first.get("location", "/")}'
        raise UsageError(
            f'bids_dir {config.bids_dir}: {len(errors)} errors against the BIDS standard, the '
            f'first {what}; see them with "{VALIDATOR} {config.bids_dir}", or go on with '
            '--skip-bids-validation'
        )
    return None


def select_images(config: RunConfig) -> Selection:
    """Find the images that a run is asked to strip.

    Raises
    ------
    UsageError
        A label that is not there, or no image at all.
    """
    layout = _layout(config.bids_dir)
    subjects = layout.get_subjects()
    _check_labels('participant', config.participants, subjects, config.bids_dir)
    if config.sessions:
        _check_labels('session', config.sessions, layout.get_sessions(), config.bids_dir)
    paths = layout.get(return_type='filename', datatype='anat', extension=list(EXTENSIONS))
    found = sorted(path for path in map(Path, paths) if _asked_for(config, parse_name(path)))
    wanted = [path for path in found if parse_name(path).suffix in config.modalities]
    selection = Selection()
    seen: set[ImageName] = set()
    for path in wanted:
        _place(path, selection, seen)
    if not selection.images and not selection.broken:
        raise UsageError(_nothing_found(config, found))
    _remark_absent(config, subjects, wanted, selection)
    _remark_unasked(config, found, selection)
    return selection


def _asked_for(config: RunConfig, name: ImageName) -> bool:
    return (not config.participants or name.get('sub') in config.participants) and (
        not config.sessions or name.get('ses') in config.sessions
    )


def _layout(bids_dir: Path) -> Any:
    from bids import BIDSLayout, BIDSLayoutIndexer

    try:
        return BIDSLayout(
            bids_dir,
            validate=False,
            indexer=BIDSLayoutIndexer(validate=False, ignore=[IGNORED], index_metadata=False),
        )
    except Exception as error:  # pybids raises many kinds on a broken data set
        reason = str(error).strip().split('\n')[0]
        raise UsageError(f'bids_dir {bids_dir}: cannot be read as BIDS ({reason})') from None


def _check_labels(kind: str, asked: Iterable[str], there: list[str], bids_dir: Path) -> None:
    unknown = [name for name in asked if name not in there]
    if not unknown:
        return
    shown = ', '.join(there[:10]) + (', ...' if len(there) > 10 else '')
    raise UsageError(
        f'--{kind}-label {" ".join(unknown)}: not in {bids_dir}; there '
        + (f'is {shown}' if there else f'are no {kind}s')
    )


def _place(path: Path, selection: Selection, seen: set[ImageName]) -> None:
    """Put an image where it belongs in a selection; `seen` are the names there already."""
    name = parse_name(path)
    if not name.is_bids:
        selection.remarks.append(f'{path}: left out, its name is not a BIDS name')
        return
    if name.get('part') in NOT_MAGNITUDE:
        selection.remarks.append(f'{path.name}: left out, only magnitude images are stripped')
        return
    if name in seen:
        selection.remarks.append(f'{path.name}: left out, the same image is there twice')
        return
    seen.add(name)
    if path.exists():
        selection.images.append(path)
    else:
        selection.broken[path] = (
            'a link to a file that is not here; fetch it first (git-annex, DataLad)'
        )


def _nothing_found(config: RunConfig, found: list[Path]) -> str:
    there = sorted({parse_name(path).suffix for path in found})
    return (
        f'bids_dir {config.bids_dir}: no image to strip; looked for {", ".join(config.modalities)}'
        ' in anat folders' + (f', there is {", ".join(there)}' if there else ', which hold none')
    )


def _remark_absent(
    config: RunConfig, subjects: list[str], wanted: list[Path], selection: Selection
) -> None:
    present = {parse_name(path).get('sub') for path in wanted}
    absent = [f'sub-{name}' for name in config.participants or subjects if name not in present]
    if absent:
        selection.remarks.append(f'no image to strip: {", ".join(absent)}')


def _remark_unasked(config: RunConfig, found: list[Path], selection: Selection) -> None:
    suffixes = Counter(parse_name(path).suffix for path in found)
    unasked = [name for name in suffixes if name in MODALITIES and name not in config.modalities]
    if unasked:
        counts = ', '.join(f'{suffixes[name]} {name}' for name in sorted(unasked))
        selection.remarks.append(f'also there, not asked for (--modalities): {counts}')
