"""Reading a BIDS data set: validity, and which images are to be stripped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import MODALITIES, RunConfig, UsageError
from pumba_pipe.bids_app.selection.filters import as_query, read_filters
from pumba_pipe.bids_app.selection.index import list_participants, open_layout
from pumba_pipe.bids_app.selection.species import of_species
from pumba_pipe.workflows.naming import ImageName, parse_name

VALIDATOR = 'bids-validator-deno'
ANATOMICAL: dict[str, Any] = {'datatype': 'anat', 'extension': ['.nii', '.nii.gz']}
MAX_QUERY = 500  # participants that a database is asked for by name
MAX_NAMED = 20  # participants without images that are named
NOT_MAGNITUDE = ('phase', 'real', 'imag')


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
    finished = subprocess.run(
        [program, '--format', 'json', '--ignoreWarnings', str(config.bids_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        issues = json.loads(finished.stdout)['issues']['issues']
    except (ValueError, KeyError, TypeError):
        return f'{VALIDATOR} printed no JSON: the data set is used without validation'
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
        A label, species or filter that fits nothing, or no image at all.
    """
    filters = read_filters(config.filter_file)
    subjects = list_participants(config.bids_dir)
    _check_labels('participant', config.participants, subjects, config.bids_dir)
    participants = list(config.participants) or subjects
    if config.species:
        participants = of_species(config.bids_dir, participants, config.species)
    only = set(participants) if len(participants) < len(subjects) else set()
    layout = open_layout(config, sorted(only))
    if config.sessions:
        _check_labels('session', config.sessions, layout.get_sessions(), config.bids_dir)
    query = ANATOMICAL | ({'subject': sorted(only)} if 0 < len(only) <= MAX_QUERY else {})
    found = [
        path
        for path in _paths(layout.get(return_type='filename', **query))
        if _asked_for(parse_name(path), only, config.sessions)
    ]
    wanted = [path for path in found if parse_name(path).suffix in config.modalities]
    selection = Selection()
    if filters:
        kept = _filtered(layout, config, filters)
        passed = [path for path in found if path in kept]
        if len(passed) < len(wanted):
            selection.remarks.append(
                f'left out by --bids-filter-file: {len(wanted) - len(passed)} images'
            )
        wanted = passed
    seen: set[ImageName] = set()
    for path in wanted:
        _place(path, selection, seen)
    if not selection.images and not selection.broken:
        raise UsageError(_nothing_found(config, found))
    _remark_absent(participants, wanted, selection)
    _remark_unasked(config, found, selection)
    return selection


def _paths(names: Iterable[str]) -> list[Path]:
    return sorted(map(Path, names))


def _asked_for(name: ImageName, participants: Set[str], sessions: Sequence[str]) -> bool:
    return (not participants or name.get('sub') in participants) and (
        not sessions or name.get('ses') in sessions
    )


def _filtered(layout: Any, config: RunConfig, filters: dict[str, dict[str, Any]]) -> set[Path]:
    """Images that pass the filters of their kind."""
    kept: set[Path] = set()
    for suffix in config.modalities:
        query = ANATOMICAL | {'suffix': suffix} | as_query(filters.get(suffix, {}))
        try:
            kept.update(_paths(layout.get(return_type='filename', **query)))
        except Exception as error:  # an unknown entity, a value of a kind it cannot have
            reason = ' '.join(str(error).split())
            raise UsageError(
                f'--bids-filter-file {config.filter_file}: {suffix}: {reason}'
            ) from None
    return kept


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
    elif path.is_symlink():
        selection.broken[path] = (
            'a link to a file that is not here; fetch it first (git-annex, DataLad)'
        )
    else:
        selection.broken[path] = (
            'is in the database and no longer in the folder; remove --bids-database-dir to have '
            'the database made anew'
        )


def _nothing_found(config: RunConfig, found: list[Path]) -> str:
    there = sorted({parse_name(path).suffix for path in found})
    return (
        f'bids_dir {config.bids_dir}: no image to strip; looked for {", ".join(config.modalities)}'
        ' in anat folders' + (f', there is {", ".join(there)}' if there else ', which hold none')
    )


def _remark_absent(participants: list[str], wanted: list[Path], selection: Selection) -> None:
    present = {parse_name(path).get('sub') for path in wanted}
    absent = [f'sub-{name}' for name in participants if name not in present]
    if absent:
        more = f' and {len(absent) - MAX_NAMED} more' if len(absent) > MAX_NAMED else ''
        selection.remarks.append(f'no image to strip: {", ".join(absent[:MAX_NAMED])}{more}')


def _remark_unasked(config: RunConfig, found: list[Path], selection: Selection) -> None:
    suffixes = Counter(parse_name(path).suffix for path in found)
    unasked = [name for name in suffixes if name in MODALITIES and name not in config.modalities]
    if unasked:
        counts = ', '.join(f'{suffixes[name]} {name}' for name in sorted(unasked))
        selection.remarks.append(f'also there, not asked for (--modalities): {counts}')
