"""The page that leads to all others: every image of a data set, small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pumba_pipe.reports.dataset import dataset_key, dataset_name, group_links
from pumba_pipe.reports.findings import Finding
from pumba_pipe.reports.naming import figure_paths, index_path, report_path
from pumba_pipe.reports.pages import embedded_picture, write_page
from pumba_pipe.reports.ratings import DIGITS, RATINGS, Rating
from pumba_pipe.reports.reasons import Flag, flags_of
from pumba_pipe.reports.subject import anchor_of
from pumba_pipe.reports.words import ExpectedInterval, expected_quality, is_manual


@dataclass(frozen=True)
class Card:
    """What the index shows of one image.

    Attributes
    ----------
    name, suffix : str
    address : str
        Its place on the page of its participant; empty when there is no such page.
    thumbnail : str or None
        A picture, as an address that holds it.
    expected : ExpectedInterval or None
        How good its mask is expected to be.
    flags : list of Flag
    mask_digest : str
        First digits of the checksum of its mask.
    rating : Rating
        What a person thinks of it, as far as the group level was told.
    manual : bool
        Whether its mask is a manual one.
    """

    name: str
    suffix: str
    address: str
    thumbnail: str | None
    expected: ExpectedInterval | None
    flags: list[Flag]
    mask_digest: str
    rating: Rating
    manual: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether a person should look at this mask first."""
        return bool(self.flags)


def write_index(
    output_dir: Path, found: Sequence[Finding], ratings: Mapping[str, Rating] | None = None
) -> Path:
    """Write ``index.html``: all images of a data set, those of the lowest expected quality first.

    Parameters
    ----------
    output_dir : Path
        The derivative data set.
    found : sequence of Finding
        All of its images.
    ratings : mapping of str to Rating, optional
        By the name of the image.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    from pumba_pipe._version import __version__

    cards = [card_of(output_dir, image, (ratings or {}).get(image.name)) for image in found]
    cards.sort(key=by_expected_dice)
    shown = {image.subject for image in found}
    others = [path for path in sorted(output_dir.glob('sub-*.html')) if path.stem[4:] not in shown]
    return write_page(
        index_path(output_dir),
        'index.html',
        ('ratings.js', 'index.js'),
        cards=cards,
        dataset=dataset_key(output_dir),
        name=dataset_name(output_dir),
        participants=len(shown),
        groups=group_links(output_dir, (card.suffix for card in cards)),
        others=[(path.stem, quote(path.name)) for path in others],
        ratings=RATINGS,
        written=f'{datetime.now():%Y-%m-%d %H:%M}',
        version=__version__,
    )


def by_expected_dice(card: Card) -> tuple[bool, float, str]:
    """Sort the lowest expected Dice first; where nothing is known of it last."""
    unknown = card.expected is None
    return unknown, 0.0 if card.expected is None else card.expected.value, card.name


def card_of(output_dir: Path, found: Finding, rating: Rating | None) -> Card:
    """Gather what the index shows of one image."""
    page = report_path(output_dir, found.subject)
    return Card(
        name=found.name,
        suffix=found.suffix,
        address=f'{quote(page.name)}#{anchor_of(found.name)}' if page.is_file() else '',
        thumbnail=embedded_picture(figure_paths(output_dir, found.source)['thumbnail']),
        expected=expected_quality(found.quality),
        flags=flags_of(found.quality),
        mask_digest=found.mask_digest(DIGITS),
        rating=rating or Rating(),
        manual=is_manual(found.quality),
    )
