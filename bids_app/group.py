"""The group level: a table and a page for each kind of image, and a page that leads to all."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import RunConfig, UsageError
from pumba_pipe.bids_app.selection.species import of_species, read_species

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.common.tables import MISSING, read_table, write_table
from pumba_pipe.common.text import counted, one_line
from pumba_pipe.reports.findings import Finding, find_all
from pumba_pipe.reports.group import write_group_report
from pumba_pipe.reports.index import write_index
from pumba_pipe.reports.outliers import LIMIT, MIN_GROUP, find_outliers
from pumba_pipe.reports.ratings import RATINGS, Rating, count_ratings, read_ratings
from pumba_pipe.reports.words import MEASURES, is_manual

MAX_PROBLEMS = 20  # lines


def run_group(config: RunConfig, log: Callable[[str], None]) -> int:
    """Write ``group_<suffix>.tsv``, a JSON file that explains it, and pages.

    Raises
    ------
    UsageError
        There are no results of the participant level, or ratings cannot be used.
    """
    groups: dict[str, list[Finding]] = defaultdict(list)
    everything = find_all(config.output_dir, remark=log)
    for image in asked_for(config, everything):
        groups[image.suffix].append(image)
    if not groups:
        raise UsageError(
            f'output_dir {config.output_dir}: no results here; run the participant level first'
        )
    species = known_species(config, log)
    ratings = known_ratings(config, everything, log)
    for suffix, found in sorted(groups.items()):
        kinds = [species.get(image.subject, '') for image in found]
        outliers = find_outliers(found, kinds)
        path = config.output_dir / f'group_{suffix}.tsv'
        if ratings is None and has_ratings(path):
            log(f'warning: {path}: loses its ratings; to have them again, give --ratings')
        write_records(path, found, outliers, kinds, ratings)
        flagged = sum(bool(image.flags or odd) for image, odd in zip(found, outliers, strict=True))
        count = counted(len(found), 'image')
        manual = sum(is_manual(image.quality) for image in found)
        edited = f', {manual} with a manual mask' if manual else ''
        log(f'{path}: {count}, {flagged} to look at{edited}{rated(found, ratings)}')
        if config.reports:
            page = path.with_suffix('.html')
            write_group_report(page, suffix, found, outliers, kinds, ratings)
            log(f'{page}: the same, to look at')
    if config.reports:
        log(f'{write_index(config.output_dir, everything, ratings)}: leads to all pages')
    missing = without_result(config, {image.subject for image in everything})
    if missing:
        log(f'without a mask in the tables: {", ".join(missing)}; the participant level says why')
    return 0


def known_ratings(
    config: RunConfig, found: Sequence[Finding], log: Callable[[str], None]
) -> dict[str, Rating] | None:
    """Ratings by the names of images; None when no table of ratings was given.

    Raises
    ------
    UsageError
        A table is none, or rows of it cannot be used, each of which was printed.
    """
    if not config.ratings:
        return None
    try:
        read = read_ratings(config.ratings, found)
    except InputError as error:
        raise UsageError(f'--ratings {error}') from None
    for line in read.problems[:MAX_PROBLEMS]:
        tell(f'pumba: error: --ratings {one_line(line)}', sys.stderr)
    if read.problems:
        count = f'{len(read.problems)} row{"s" * (len(read.problems) != 1)}'
        raise UsageError(f'--ratings: {count} cannot be used; mend or remove them')
    for line in read.outdated:
        log(f'warning: --ratings {line}')
    return read.ratings


def has_ratings(path: Path) -> bool:
    """Whether a table of an earlier run has ratings."""
    try:
        return any(row.get('rating', MISSING) != MISSING for row in read_table(path))
    except InputError:  # none there yet, or none that can be read
        return False


def rated(found: Sequence[Finding], ratings: Mapping[str, Rating] | None) -> str:
    """Words about ratings for the end of a line; none without ratings."""
    if ratings is None:
        return ''
    return f'; ratings: {count_ratings([ratings.get(one.name, Rating()) for one in found])}'


def known_species(config: RunConfig, log: Callable[[str], None]) -> dict[str, str]:
    """Species of the participants; of none where participants.tsv cannot be read."""
    try:
        return read_species(config.bids_dir)
    except UsageError as error:
        log(f'warning: {error}; all images are compared as if of one species')
        return {}


def without_result(config: RunConfig, done: set[str]) -> list[str]:
    """Name the participants of the input data set who have no mask at all."""
    present = {path.name[4:] for path in config.bids_dir.glob('sub-*') if path.is_dir()}
    wanted = present & set(config.participants) if config.participants else present
    if config.species:
        wanted &= set(of_species(config.bids_dir, wanted | done, config.species))
    return [f'sub-{label}' for label in sorted(wanted - done)]


def asked_for(config: RunConfig, found: Sequence[Finding]) -> list[Finding]:
    """Keep the images that the command line names."""
    participants = set(config.participants or (image.subject for image in found))
    if config.species and participants:
        participants = set(of_species(config.bids_dir, sorted(participants), config.species))
    return [
        image
        for image in found
        if image.subject in participants
        and (not config.sessions or image.session in config.sessions)
        and image.suffix in config.modalities
    ]


def columns(with_ratings: bool = False) -> dict[str, dict[str, Any]]:
    """Columns of a table, explained the way BIDS wants it."""
    explained: dict[str, dict[str, Any]] = {
        'bids_name': {'Description': 'Name of the image, without extension'},
        'species': {'Description': 'From participants.tsv of the raw data set'},
    }
    for one in MEASURES:
        explained[one.key] = {'Description': one.meaning}
        if one.units:
            explained[one.key]['Units'] = one.units
    explained['outlying'] = {
        'Description': f'Measures that differ from the median of all images of this kind and '
        f'species by more than {LIMIT} robust standard deviations, for the worse, with that '
        f'difference; groups of fewer than {MIN_GROUP} images are not judged'
    }
    if with_ratings:
        explained['rating'] = {'Description': 'What a person thinks of it', 'Levels': RATINGS}
        explained['rating_note'] = {'Description': 'Remark of that person'}
    return explained


def write_records(
    path: Path,
    found: Sequence[Finding],
    outliers: Sequence[Mapping[str, float]],
    kinds: Sequence[str],
    ratings: Mapping[str, Rating] | None = None,
) -> None:
    """Write a table of quality records, and the JSON file that explains its columns."""
    explained = columns(with_ratings=ratings is not None)
    rows = []
    for image, strange, kind in zip(found, outliers, kinds, strict=True):
        rating = (ratings or {}).get(image.name, Rating())
        row = {
            **image.quality,
            'manual': is_manual(image.quality),
            'bids_name': image.name,
            'species': kind,
            'outlying': [f'{key}: {z:.1f}' for key, z in strange.items()],
            'rating': rating.rating,
            'rating_note': rating.note,
        }
        rows.append([row.get(column) for column in explained])
    write_json(path.with_suffix('.json'), explained)
    write_table(path, list(explained), rows)
