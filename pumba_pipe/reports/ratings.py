"""What a person thinks of masks: tables that pages export, and that the group level reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pumba_pipe.common.documents import brief
from pumba_pipe.common.tables import MISSING, read_table
from pumba_pipe.reports.findings import Finding

RATINGS = {
    'keep': 'the mask is good enough',
    'correct': 'the mask is to be corrected',
    'exclude': 'the image is not to be used',
}
NAME, RATING, NOTE, MASK = 'bids_name', 'rating', 'note', 'mask'
DIGITS = 16  # of a mask's checksum that say which mask was rated


@dataclass(frozen=True)
class Rating:
    """What a person thinks of a mask.

    Attributes
    ----------
    rating : str
        One of `RATINGS`, or empty where there is a note only.
    note : str
    mask : str
        First digits of the checksum of the mask that was rated; empty when unknown.
    """

    rating: str = ''
    note: str = ''
    mask: str = ''


class ReadRatings(NamedTuple):
    """What tables of ratings say.

    Attributes
    ----------
    ratings : dict of str to Rating
        By the name of the image.
    problems : list of str
        One line for each row that cannot be used.
    outdated : list of str
        One line for each rating of a mask that has changed since; these are left out.
    """

    ratings: dict[str, Rating]
    problems: list[str]
    outdated: list[str]


def read_ratings(paths: Sequence[Path], found: Sequence[Finding]) -> ReadRatings:
    """Read tables of ratings.

    Parameters
    ----------
    paths : sequence of Path
        An image may be in several of them, with the same rating.
    found : sequence of Finding
        All images of the data set.

    Raises
    ------
    InputError
        A file is no such table.
    """
    images = {image.name: image for image in found}
    example = f', such as {min(images)}' if images else ''
    read = ReadRatings({}, [], [])
    where: dict[str, Path] = {}
    for path in paths:
        table = read_table(path, (NAME, RATING), 'a table of ratings, as the pages export it')
        for row in table:
            name, rating = row[NAME], _rating(row)
            said = f'{path}: {brief(name)}'
            if name not in images:
                read.problems.append(
                    f'{said}: there is no mask of such an image; take names from the column '
                    f'{NAME} of a group table{example}'
                )
            elif rating.rating and rating.rating not in RATINGS:
                read.problems.append(
                    f'{said}: the rating {brief(rating.rating)} is none of {", ".join(RATINGS)}'
                )
            elif rating.mask and rating.mask != images[name].mask_digest(DIGITS):
                read.outdated.append(f'{said}: rated before its mask was changed; left out')
            elif name in where and read.ratings[name].rating != rating.rating:
                other = read.ratings[name].rating or MISSING
                read.problems.append(
                    f'{said}: is rated {rating.rating or MISSING} here and {other} in '
                    f'{where[name]}; keep one of both'
                )
            else:
                read.ratings[name] = _with_notes_of(rating, read.ratings.get(name))
                where[name] = path
    return read


def _with_notes_of(rating: Rating, other: Rating | None) -> Rating:
    """Keep the note of the same rating in another row, too."""
    notes = [one.note for one in (other, rating) if one is not None and one.note]
    return replace(rating, note='; '.join(dict.fromkeys(notes)))


def _rating(row: Mapping[str, str]) -> Rating:
    rating, note, mask = (row.get(key, '').strip() for key in (RATING, NOTE, MASK))
    return Rating(*('' if text == MISSING else text for text in (rating.lower(), note, mask)))


def count_ratings(ratings: Sequence[Rating]) -> str:
    """Say how many images have which rating.

    Examples
    --------
    >>> count_ratings([Rating('keep'), Rating('keep'), Rating('exclude'), Rating()])
    '2 keep, 0 correct, 1 exclude, 1 not rated'
    """
    given = [one.rating for one in ratings]
    counts = [f'{given.count(rating)} {rating}' for rating in RATINGS]
    return ', '.join([*counts, f'{given.count("")} not rated'])
