"""Reading a BIDS data set: validity, and which images are to be stripped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import MODALITIES, RunConfig, UsageError
from pumba_pipe.bids_app.selection.filters import as_query, passes, read_filters, split
from pumba_pipe.bids_app.selection.ignore import Ignored, read_ignored
from pumba_pipe.bids_app.selection.index import DATABASE, open_layout, split_participants
from pumba_pipe.bids_app.selection.species import of_species
from pumba_pipe.bids_app.selection.tree import (
    ENDINGS,
    Listing,
    Place,
    lies_in,
    list_files,
    meaning,
    place_of,
    shown,
    without_ignored,
)
from pumba_pipe.workflows.modalities import datatypes_of

from pumba_pipe.common.files import image_suffix

VALIDATOR = 'bids-validator-deno'
# What DataLad leaves of files not fetched yet. Of the images asked for, these fail one by one.
NOT_FETCHED = ('SYMLINK_BROKEN',)
MAX_NAMED = 20  # participants or images that are named
NOT_MAGNITUDE = ('phase', 'real', 'imag')


@dataclass
class Selection:
    """Images of a data set.

    Attributes
    ----------
    images : list of Path
        To be stripped, in order.
    broken : dict of Path to str
        Images that cannot be read or not be told from others, and why.
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
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        if config.dry_run:  # what it is built with keeps a cache in the user's folder
            cache = tempfile.TemporaryDirectory(prefix='pumba-', ignore_cleanup_errors=True)
            environment['DENO_DIR'] = stack.enter_context(cache)
        finished = subprocess.run(
            [program, '--format', 'json', '--ignoreWarnings', str(config.bids_dir)],
            capture_output=True,
            text=True,
            errors='replace',
            env=environment,
            check=False,
        )
    try:
        issues = json.loads(finished.stdout)['issues']['issues']
    except (ValueError, KeyError, TypeError):
        return f'{VALIDATOR} printed no JSON: the data set is used without validation'
    errors = [
        issue
        for issue in issues
        if issue.get('severity') == 'error' and issue.get('code') not in NOT_FETCHED
    ]
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
    selection = Selection()
    subjects, foreign = split_participants(config.bids_dir)
    selection.remarks += [
        f'{shown(config.bids_dir / name)}: left out, its name is not a BIDS name'
        for name in foreign
    ]
    _check_labels('participant', config.participants, subjects, config.bids_dir)
    participants = list(config.participants) or subjects
    if config.species:
        participants = of_species(config.bids_dir, participants, config.species)
    datatypes = datatypes_of(config.modalities)
    ignored = read_ignored(config.bids_dir)
    layout = open_layout(config) if config.database_dir and _is_kept(config) else None
    if layout is None:
        there = list_files(config.bids_dir, participants, datatypes)
        places, selection.broken = there.images, there.unreadable
        _remark_elsewhere(config, there, ignored, datatypes, selection)
    else:
        places = _in_database(config, layout, participants, datatypes)
    places = _not_ignored(config.bids_dir, places, ignored, selection)
    if config.sessions:
        labels = sorted({label for place in places if (label := place.name.get('ses'))})
        _check_labels('session', config.sessions, labels, config.bids_dir)
    asked = [
        place
        for place in places
        if not config.sessions or place.name.get('ses') in config.sessions
    ]
    found = _well_named(asked, selection)
    _remark_spelling(found, selection)
    wanted = [place for place in found if place.name.suffix in config.modalities]
    if filters:
        passed = _filtered(layout, config, filters, found)
        if len(passed) < len(wanted):
            selection.remarks.append(
                f'left out by --bids-filter-file: {len(wanted) - len(passed)} images'
            )
        wanted = passed
    _choose(wanted, selection)
    if not selection.images and not selection.broken:
        raise UsageError(_nothing_found(config, found, selection.remarks))
    _remark_absent(participants, wanted, selection)
    _remark_unasked(config, found, selection)
    return selection


def _is_kept(config: RunConfig) -> bool:
    """Whether there is a database, or one will be made."""
    assert config.database_dir is not None
    return not config.dry_run or (config.database_dir / DATABASE).is_file()


def _in_database(
    config: RunConfig, layout: Any, participants: list[str], datatypes: Sequence[str]
) -> list[Place]:
    """List the NIfTI files in and below folders of participants that a database has."""
    wanted = set(participants)
    names = layout.get(return_type='filename', extension=list(ENDINGS))
    places = [place_of(Path(name), config.bids_dir) for name in names]
    kept = [
        place
        for place in places
        if lies_in(place, datatypes) and place.inside.parts[0].removeprefix('sub-') in wanted
    ]
    return sorted(kept, key=lambda place: place.inside.parts)


def _not_ignored(
    bids_dir: Path, places: list[Place], rules: Ignored, selection: Selection
) -> list[Place]:
    """Leave out what the data set's owner does not count as BIDS."""
    places, ignored = without_ignored(places, rules)
    selection.broken = {
        folder: why
        for folder, why in selection.broken.items()
        if not rules((folder.relative_to(bids_dir) / 'any').as_posix())
    }
    if ignored:
        names = ', '.join(shown(place.inside) for place in ignored[:MAX_NAMED])
        more = f' and {len(ignored) - MAX_NAMED} more' if len(ignored) > MAX_NAMED else ''
        selection.remarks.append(f'left out by .bidsignore: {names}{more}')
    return places


def _well_named(places: list[Place], selection: Selection) -> list[Place]:
    """Leave out files whose names are not BIDS names."""
    kept = []
    for place in places:
        if not place.name.is_bids or not place.inside.name.endswith(ENDINGS):
            selection.remarks.append(f'{shown(place.path)}: left out, its name is not a BIDS name')
        else:
            kept.append(place)
    return kept


def _remark_spelling(places: list[Place], selection: Selection) -> None:
    """Name files whose suffix is that of a known kind but for capital letters."""
    spelled = {suffix.lower(): suffix for suffix in MODALITIES}
    for place in places:
        suffix = place.name.suffix
        right = spelled.get(suffix.lower(), suffix)
        if right != suffix:
            selection.remarks.append(
                f'{shown(place.path)}: left out, its suffix is {suffix}, not {right}'
            )


def _filtered(
    layout: Any, config: RunConfig, filters: dict[str, dict[str, Any]], found: list[Place]
) -> list[Place]:
    """Images that pass the filters of their kind."""
    kept: list[Place] = []
    for suffix in config.modalities:
        by_name, by_sidecar = split(filters.get(suffix, {}))
        by_name = {'suffix': suffix} | by_name
        described = _described(layout, config, suffix, by_sidecar) if by_sidecar else None
        try:
            kept += [
                place
                for place in found
                if passes(place.name, image_suffix(place.inside), by_name)
                and (described is None or place.path in described)
            ]
        except re.error as error:
            raise UsageError(
                f'--bids-filter-file {config.filter_file}: {suffix}: is no regular expression '
                f'({error})'
            ) from None
    return sorted(set(kept), key=lambda place: place.inside.parts)


def _described(layout: Any, config: RunConfig, suffix: str, entities: dict[str, Any]) -> set[Path]:
    """Images whose sidecars fit, which only a database knows."""
    where = f'--bids-filter-file {config.filter_file}: {suffix}'
    if layout is None:
        raise UsageError(
            f'{where}: {", ".join(entities)} is no entity; values of sidecars can be asked for '
            'only with --bids-database-dir'
        )
    try:
        return set(map(Path, layout.get(return_type='filename', **as_query(entities))))
    except Exception as error:  # an unknown entity, a value of a kind it cannot have
        raise UsageError(f'{where}: {" ".join(str(error).split())}') from None


def _check_labels(kind: str, asked: Iterable[str], there: list[str], bids_dir: Path) -> None:
    unknown = [name for name in asked if name not in there]
    if not unknown:
        return
    shown = ', '.join(there[:10]) + (', ...' if len(there) > 10 else '')
    raise UsageError(
        f'--{kind}-label {" ".join(unknown)}: not in {bids_dir}; there '
        + (f'is {shown}' if there else f'are no {kind}s')
    )


def _choose(wanted: list[Place], selection: Selection) -> None:
    """Put images where they belong in a selection; leave out those that are not magnitudes.

    Of files that mean the same image none is taken: nothing says which is the right one.
    """
    same: dict[object, list[Place]] = defaultdict(list)
    for place in wanted:
        same[meaning(place.name)].append(place)
    for place in wanted:
        others = [one for one in same[meaning(place.name)] if one != place]
        reasons = [place.contradiction] if place.contradiction else []
        if others:
            reasons.append(
                f'means the same image as {", ".join(shown(one.inside) for one in others)}'
            )
        if place.name.get('part') in NOT_MAGNITUDE:
            selection.remarks.append(
                f'{place.inside.name}: left out, only magnitude images are stripped'
            )
        elif reasons:
            taken = 'none of them is' if others else 'it is not'
            selection.broken[place.path] = (
                f'{", and ".join(reasons)}; {taken} stripped: remove or rename what is wrong, or '
                'name it in .bidsignore'
            )
        elif unusable := _unusable(place.path):
            selection.broken[place.path] = unusable
        else:
            selection.images.append(place.path)


def _unusable(path: Path) -> str:
    """Why a path cannot be read as an image; empty for a file that is there."""
    try:
        if path.is_file():
            return ''
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if path.exists():
        return 'is a folder or a special file, not an image'
    if path.is_symlink():
        return 'a link to a file that is not here; fetch it first (git-annex, DataLad)'
    return (
        'is in the database and no longer in the folder; remove --bids-database-dir to have the '
        'database made anew'
    )


def _nothing_found(config: RunConfig, found: list[Place], remarks: list[str]) -> str:
    """Say what was looked for, and all that was left out: it may be what was meant."""
    there = sorted({place.name.suffix for place in found})
    *others, last = datatypes_of(config.modalities)
    where = f'{", ".join(others)} and {last}' if others else last
    said = (
        f'bids_dir {config.bids_dir}: no image to strip; looked for {", ".join(config.modalities)}'
        f' in {where} folders'
        + (f', there is {", ".join(there)}' if there else ', which hold none')
    )
    more = [f'and {len(remarks) - MAX_NAMED} more'] if len(remarks) > MAX_NAMED else []
    return '; '.join([said, *remarks[:MAX_NAMED], *more])


def _remark_absent(participants: list[str], wanted: list[Place], selection: Selection) -> None:
    present = {place.name.get('sub') for place in wanted}
    absent = [f'sub-{name}' for name in participants if name not in present]
    if absent:
        more = f' and {len(absent) - MAX_NAMED} more' if len(absent) > MAX_NAMED else ''
        selection.remarks.append(f'no image to strip: {", ".join(absent[:MAX_NAMED])}{more}')


def _remark_elsewhere(
    config: RunConfig,
    there: Listing,
    ignored: Ignored,
    datatypes: Sequence[str],
    selection: Selection,
) -> None:
    """Name images of the kinds asked for where none is looked for, and links not followed."""
    stray, _ = without_ignored(there.stray, ignored)
    kinds = {suffix.lower() for suffix in config.modalities}
    missed = [shown(place.inside) for place in stray if place.name.suffix.lower() in kinds]
    where = ' or '.join(datatypes)
    for names, why in (
        (missed, f'lies in no {where} folder of its participant or session'),
        (
            [shown(path.relative_to(config.bids_dir)) for path in there.links],
            'links are not followed',
        ),
    ):
        selection.remarks += [f'{name}: left out, {why}' for name in names[:MAX_NAMED]]
        if len(names) > MAX_NAMED:
            selection.remarks.append(f'{len(names) - MAX_NAMED} more left out: {why}')


def _remark_unasked(config: RunConfig, found: list[Place], selection: Selection) -> None:
    suffixes = Counter(place.name.suffix for place in found)
    unasked = [name for name in suffixes if name in MODALITIES and name not in config.modalities]
    if unasked:
        counts = ', '.join(f'{suffixes[name]} {name}' for name in sorted(unasked))
        selection.remarks.append(f'also there, not asked for (--modalities): {counts}')
