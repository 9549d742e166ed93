"""The page of one participant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pumba_pipe.reports.dataset import dataset_key, group_links
from pumba_pipe.reports.drawing import LETTERS, PLANE_NAMES, PLANES
from pumba_pipe.reports.findings import Finding, find_all
from pumba_pipe.reports.naming import figure_paths, index_path, report_path
from pumba_pipe.reports.pages import embedded_picture, write_page
from pumba_pipe.reports.ratings import DIGITS, RATINGS
from pumba_pipe.reports.reasons import Flag, flags_of
from pumba_pipe.reports.records import Failure, RunSummary
from pumba_pipe.reports.viewer import read_viewer_data
from pumba_pipe.reports.words import (
    FORMER,
    MEASURES,
    OF_THE_MASK,
    PLACES,
    ExpectedInterval,
    QualityMeasure,
    expected_quality,
    in_words,
    is_manual,
    minutes,
    number,
)

SCRIPTS = ('pictures.js', 'viewer.js', 'commands.js', 'ratings.js')
# IMAGE and MASK stand for the files, which are on one grid.
COMMANDS = (
    'freeview -v IMAGE MASK:colormap=lut:outline=1',
    'fsleyes IMAGE MASK -ot mask -o -mc 1 1 0',
    'itksnap -g IMAGE -s MASK',
    'mrview -mode 2 IMAGE -roi.load MASK -roi.colour 1,1,0 -roi.opacity 0.4',
)


class Picture(NamedTuple):
    """A picture, as an address that holds it, and the address of its file."""

    content: str
    address: str


@dataclass(frozen=True)
class ImageView:
    """What a page shows of one image.

    Attributes
    ----------
    anchor : str
        Where on the page it is.
    name, suffix : str
    session : str or None
    mask_digest : str
        First digits of the checksum of its mask, by which a rating knows the mask it is of.
    flags : list of Flag
    expected : ExpectedInterval or None
        How good the mask is expected to be.
    measures : list of (label, value, meaning)
    provenance : list of (key, value)
    files : list of (name, address)
    mosaic, before_after : Picture or None
    viewer : dict or None
        What the slice viewer shows.
    pair : (str, str) or None
        Paths of an image and its mask on one grid, as seen from the page.
    manual : bool
        Whether the mask is a manual one, shown beside the network's.
    network_dice : float or None
        Dice overlap of the two.
    """

    anchor: str
    name: str
    suffix: str
    session: str | None
    mask_digest: str
    flags: list[Flag]
    expected: ExpectedInterval | None
    measures: list[tuple[str, str, str]]
    provenance: list[tuple[str, str]]
    files: list[tuple[str, str]]
    mosaic: Picture | None
    before_after: Picture | None
    viewer: dict[str, Any] | None
    pair: tuple[str, str] | None
    manual: bool = False
    network_dice: float | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a person should look at this mask first."""
        return bool(self.flags)


def write_subject_report(
    output_dir: Path,
    subject: str,
    failures: Mapping[str, Failure],
    run: RunSummary,
    remark: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write ``sub-<label>.html`` from what lies in the derivative data set.

    Images of earlier runs are shown too. Figures that are missing are said to be missing.

    Parameters
    ----------
    output_dir : Path
        The derivative data set.
    subject : str
        Label without ``sub-``.
    failures : mapping of str to Failure
        The participant's images without results, each named as the user should read it.
    run : RunSummary
    remark : callable
        Takes a line about each file that is left out because it cannot be used.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    views = [view_of(output_dir, found) for found in find_all(output_dir, subject, remark)]
    return write_page(
        report_path(output_dir, subject),
        'subject.html',
        SCRIPTS,
        subject=subject,
        dataset=dataset_key(output_dir),
        index=index_path(output_dir).name,
        groups=group_links(output_dir, (view.suffix for view in views)),
        ratings=RATINGS,
        commands=COMMANDS,
        planes=[
            {
                'axis': axis,
                'name': PLANE_NAMES[axis],
                'across': across,
                'up': up,
                'letters': ''.join(LETTERS[across] + LETTERS[up]),
            }
            for axis, (across, up) in PLANES.items()
        ],
        sessions=[(name, list(group)) for name, group in groupby(views, lambda v: v.session)],
        views=views,
        errors=[
            (image, failure.message, crash_link(output_dir, failure))
            for image, failure in failures.items()
        ],
        run=run,
        run_rows=run_rows(run),
        option_rows=[(key, in_words(value)) for key, value in run.options.items()],
        boilerplate=[part for part in re.split(r'\n\s*\n', run.boilerplate) if part.strip()],
        meanings=[(one.label, one.meaning) for one in MEASURES],
    )


def view_of(output_dir: Path, found: Finding) -> ImageView:
    """Gather what a page shows of one image."""
    figures = figure_paths(output_dir, found.source)
    return ImageView(
        anchor=anchor_of(found.name),
        name=found.name,
        suffix=found.suffix,
        session=found.session,
        mask_digest=found.mask_digest(DIGITS),
        flags=flags_of(found.quality),
        expected=expected_quality(found.quality),
        measures=measure_rows(found.quality),
        provenance=flat_rows(found.metadata),
        files=[link_to(output_dir, file) for file in found.files],
        mosaic=picture_of(output_dir, figures['mosaic']),
        before_after=picture_of(output_dir, figures['before_after']),
        viewer=read_viewer_data(figures['viewer']),
        pair=pair_of(output_dir, found),
        manual=is_manual(found.quality),
        network_dice=number(found.quality.get('network_dice')),
    )


def pair_of(output_dir: Path, found: Finding) -> tuple[str, str] | None:
    """Paths of an image and its mask as seen from the page; None without such an image."""
    image = found.whole_image
    if image is None:
        return None
    first, second = (path.relative_to(output_dir).as_posix() for path in (image, found.mask))
    return first, second


def picture_of(output_dir: Path, path: Path) -> Picture | None:
    """Read a figure; None when there is none."""
    content = embedded_picture(path)
    return None if content is None else Picture(content, link_to(output_dir, path)[1])


def anchor_of(name: str) -> str:
    """Place of an image on a page."""
    return 'image-' + re.sub(r'[^\w-]', '', name)


def measure_rows(quality: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Label, value and meaning of everything in a quality record but the flags."""
    manual = is_manual(quality)

    def label(one: QualityMeasure) -> str:
        return one.label + (" (network's mask)" if manual and one.key not in OF_THE_MASK else '')

    known = [
        (label(one), in_words(quality[one.key], one.units, PLACES), one.meaning)
        for one in MEASURES
        if one.key in quality and one.key != 'flags'
    ]
    names = {one.key for one in MEASURES}
    if 'expected_dice' in quality:
        names |= set(FORMER)
    return known + [
        (str(key), in_words(value), '') for key, value in quality.items() if key not in names
    ]


def flat_rows(content: dict[str, Any], before: str = '') -> list[tuple[str, str]]:
    """Keys and values of nested JSON objects."""
    rows = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            rows += flat_rows(value, f'{before}{key} / ')
        else:
            rows.append((f'{before}{key}', in_words(value)))
    return rows


def link_to(output_dir: Path, file: Path) -> tuple[str, str]:
    """Name of a file, and its address as seen from the page; none for one outside the data set."""
    try:
        return file.name, quote(file.relative_to(output_dir).as_posix())
    except ValueError:
        return str(file), ''


def crash_link(output_dir: Path, failure: Failure) -> tuple[str, str] | None:
    """Name and address of the crash file, None without one."""
    return link_to(output_dir, failure.crash_file) if failure.crash_file else None


def run_rows(run: RunSummary) -> list[tuple[str, str]]:
    """Say what ran, when and with what."""
    took = '' if run.seconds is None else f', {minutes(run.seconds)} up to this page'
    rows: Iterable[tuple[str, str]] = (
        ('pumba_pipe', run.version),
        ('Command', run.command_line),
        ('Started', f'{run.started:%Y-%m-%d %H:%M:%S}{took}'),
        ('Device', run.device),
        ('Weights', run.weights),
        ('SHA-256 of the weights', run.weights_sha256),
    )
    return [(key, value) for key, value in rows if value]
