"""The page of all images of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pumba_pipe.reports.findings import Finding
from pumba_pipe.reports.naming import index_path, report_path
from pumba_pipe.reports.outliers import LIMIT, MIN_GROUP
from pumba_pipe.reports.pages import write_page
from pumba_pipe.reports.plots import HEIGHT, WIDTH, dot_plot
from pumba_pipe.reports.ratings import Rating, count_ratings
from pumba_pipe.reports.reasons import Flag, flags_of
from pumba_pipe.reports.subject import anchor_of
from pumba_pipe.reports.words import COMPARED, MEASURES, PLACES, in_words, is_manual, number


@dataclass(frozen=True)
class Row:
    """One image in the table of a group page.

    Attributes
    ----------
    name : str
    address : str
        Its place on the page of its participant; empty when there is no such page.
    kind : str
        Its species, empty when nothing is said of it.
    cells : list of (text, sort key, whether it is outlying)
        One for each compared measure.
    flags : list of Flag
        What to look at, and why.
    outlying : str
        How it differs from the others, in words.
    rating : Rating
        What a person thinks of it.
    manual : bool
        Whether its mask is a manual one.
    """

    name: str
    address: str
    kind: str
    cells: list[tuple[str, float | None, bool]]
    flags: list[Flag]
    outlying: str
    rating: Rating
    manual: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether a person should look at this image."""
        return bool(self.flags or self.outlying)


def write_group_report(
    path: Path,
    suffix: str,
    found: Sequence[Finding],
    outliers: Sequence[dict[str, float]],
    kinds: Sequence[str] | None = None,
    ratings: Mapping[str, Rating] | None = None,
) -> None:
    """Write the page of all images with one suffix.

    Parameters
    ----------
    path : Path
        The page, in the derivative data set; it links to the pages of participants beside it.
    suffix : str
        Such as ``T1w``.
    found : sequence of Finding
    outliers : sequence of dict
        From `find_outliers`.
    kinds : sequence of str, optional
        The species of each image, empty when unknown.
    ratings : mapping of str to Rating, optional
        By the name of the image; without it, nothing is said of ratings.

    Raises
    ------
    OutputError
    """
    from pumba_pipe._version import __version__

    species = kinds or [''] * len(found)
    rows = [
        row_of(path.parent, image, strange, kind, (ratings or {}).get(image.name, Rating()))
        for image, strange, kind in zip(found, outliers, species, strict=True)
    ]
    write_page(
        path,
        'group.html',
        ('table.js',),
        suffix=suffix,
        rows=rows,
        plots=plots_of(rows),
        measures=COMPARED,
        with_kinds=any(species),
        meanings=[(one.label, one.meaning) for one in MEASURES],
        participants=len({image.subject for image in found}),
        limit=LIMIT,
        least=MIN_GROUP,
        size=(WIDTH, HEIGHT),
        version=__version__,
        index=index_path(path.parent).name,
        counts=None if ratings is None else count_ratings([row.rating for row in rows]),
    )


def row_of(
    output_dir: Path, image: Finding, strange: dict[str, float], kind: str, rating: Rating
) -> Row:
    """Gather what the table shows of one image."""
    page = report_path(output_dir, image.subject)
    address = f'{quote(page.name)}#{anchor_of(image.name)}' if page.is_file() else ''
    cells = []
    for one in COMPARED:
        value = image.quality.get(one.key)
        cells.append((in_words(value, one.units, PLACES), number(value), one.key in strange))
    return Row(
        image.name,
        address,
        kind,
        cells,
        flags_of(image.quality),
        describe(strange),
        rating,
        is_manual(image.quality),
    )


def describe(strange: dict[str, float]) -> str:
    """Say in words how an image differs from the others.

    Examples
    --------
    >>> describe({'volume_ml': -4.21})
    'volume low (z = -4.2)'
    """
    labels = {one.key: one.label.lower() for one in COMPARED}
    return '; '.join(
        f'{labels[key]} {"low" if z < 0 else "high"} (z = {z:.1f})' for key, z in strange.items()
    )


def plots_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Lay out the distribution of each measure that has numbers."""
    plots = []
    for column, measure in enumerate(COMPARED):
        known = [
            (row, value) for row in rows if (value := row.cells[column][1]) is not None
        ]  # fmt: skip
        if not known:
            continue
        plot = dot_plot([value for _, value in known])
        dots = [
            {
                'x': x,
                'y': y,
                'title': f'{row.name}: {row.cells[column][0]}',
                'address': row.address,
                'outlying': row.cells[column][2],
            }
            for (row, _), (x, y) in zip(known, plot.places, strict=True)
        ]
        plots.append({'measure': measure, 'plot': plot, 'dots': dots})
    return plots
