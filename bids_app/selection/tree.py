"""Image files of a data set, found and judged by their paths below its folder.

Nothing above the folder of the data set says what a file is. A file counts as the image of its
name where it lies in a folder for its suffix (``anat``, ``func``, ...) of the participant and
session that its name says.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from pumba_pipe.bids_app.selection.ignore import Ignored
from pumba_pipe.workflows.modalities import modality_of
from pumba_pipe.workflows.naming import ImageName, folder, parse_name

from pumba_pipe.common.bids_names import NUMBERED

ENDINGS = ('.nii', '.nii.gz')
# Folders of a participant that BIDS knows; what lies in those not asked for is no image to strip.
DATATYPES = (
    'anat', 'func', 'dwi', 'fmap', 'perf', 'pet', 'eeg', 'meg', 'ieeg', 'beh', 'micr', 'motion',
    'mrs', 'nirs', 'emg',
)  # fmt: skip
MAX_DEPTH = 8  # folders below `anat` and the like that are looked through
NOT_HERE = 'a link to a folder that is not here; fetch it first, or remove the link'


@dataclass(frozen=True)
class Place:
    """Where a file lies.

    Attributes
    ----------
    path : Path
    inside : PurePosixPath
        Relative to the data set.
    """

    path: Path
    inside: PurePosixPath

    @cached_property
    def name(self) -> ImageName:
        """Name of the file, taken apart."""
        return parse_name(self.inside)

    @property
    def contradiction(self) -> str:
        """Why this is not the place of a file of this name; empty where it is."""
        parts = self.inside.parts
        below = _depth(self.inside) + 1
        if len(parts) > below + 1:
            return f'lies deeper than {"/".join(parts[:below])}, where the image of this name goes'
        datatypes = modality_of(self.name.suffix).datatypes
        expected = [(folder(self.name) / datatype).as_posix() for datatype in datatypes]
        if self.inside.parent.as_posix() not in expected:
            return f'lies in {self.inside.parent}, but its name belongs to {" or ".join(expected)}'
        return ''


@dataclass
class Listing:
    """What lies in the folders of participants.

    Attributes
    ----------
    images : list of Place
        NIfTI files in and below folders for those asked for, such as ``anat``, in order.
    unreadable : dict of Path to str
        Folders that cannot be read, and why.
    stray : list of Place
        NIfTI files that lie in no folder of BIDS, such as ``anat``, in order: somebody may miss
        them.
    links : list of Path
        Links to folders, below those of `images`, which are not followed: they may lead back.
    """

    images: list[Place] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    stray: list[Place] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)


def list_files(bids_dir: Path, participants: Iterable[str], datatypes: Sequence[str]) -> Listing:
    """Look through the folders of participants, each of which is read once."""
    found = Listing()
    for label in participants:
        try:
            _look_through(bids_dir / f'sub-{label}', bids_dir, datatypes, found)
        except OSError as error:
            folder = Path(error.filename or bids_dir / f'sub-{label}')
            found.unreadable[folder] = f'cannot be read ({error.strerror})'
    for places in (found.images, found.stray):
        places.sort(key=lambda place: place.inside.parts)
    found.links.sort()
    return found


def _look_through(
    own: Path, bids_dir: Path, datatypes: Sequence[str], found: Listing, in_session: bool = False
) -> None:
    """Look through the folder of a participant, and of each session."""
    if leads_nowhere(own):
        found.unreadable[own] = NOT_HERE
        return
    entries = _entries(own)
    for datatype in datatypes:
        if leads_nowhere(own / datatype):
            found.unreadable[own / datatype] = NOT_HERE
            continue
        links: list[Path] = []
        images = list(_images(own / datatype, links))
        found.images += [place_of(path, bids_dir) for path in images]
        found.links += links
    others = []
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith('ses-') and not in_session:
            if leads_nowhere(path) or entry.is_dir():
                _look_through(path, bids_dir, datatypes, found, in_session=True)
        elif not entry.name.startswith('.') and entry.name not in DATATYPES:
            others.append(entry)
    with contextlib.suppress(OSError):  # no image is looked for there
        found.stray += [place_of(path, bids_dir) for path in _outside(others)]


def leads_nowhere(path: Path) -> bool:
    """Whether a path is a link to nothing, or in a circle."""
    return path.is_symlink() and not os.path.exists(path)


def place_of(path: Path, bids_dir: Path) -> Place:
    """Take a path of a file of the data set."""
    return Place(path, PurePosixPath(path.relative_to(bids_dir).as_posix()))


def lies_in(place: Place, datatypes: Sequence[str]) -> bool:
    """Whether a file lies in or below such a folder of a participant or session."""
    parts, deep = place.inside.parts, _depth(place.inside)
    return len(parts) > deep + 1 and parts[0].startswith('sub-') and parts[deep] in datatypes


def meaning(name: ImageName) -> tuple[object, str]:
    """What a name means: its entities in any order, numbers without leading zeros, its suffix.

    Examples
    --------
    >>> from pathlib import PurePath
    >>> names = ('sub-01_acq-a_run-01_T1w.nii', 'sub-01_run-1_acq-a_T1w.nii.gz')
    >>> len({meaning(parse_name(PurePath(name))) for name in names})
    1
    """
    entities = frozenset(
        (key, label.lstrip('0') or '0') if key in NUMBERED and label.isdecimal() else (key, label)
        for key, label in name.entities
    )
    return entities, name.suffix


def without_ignored(places: list[Place], ignored: Ignored) -> tuple[list[Place], list[Place]]:
    """Split files into those that count and those that ``.bidsignore`` leaves out."""
    out = [place for place in places if ignored(place.inside.as_posix())]
    left = set(out)
    return [place for place in places if place not in left], out


def shown(path: object) -> str:
    r"""Write a path for people: bytes that are not UTF-8, and control characters, are escaped.

    Examples
    --------
    >>> shown('sub-01/m\udcfcller\n.nii')
    'sub-01/m\\xfcller\\n.nii'
    """
    text = os.fsencode(str(path)).decode('utf-8', 'backslashreplace')
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode()
        for letter in text
    )


def _depth(inside: PurePosixPath) -> int:
    """How many folders there are above the one with the name of a datatype."""
    parts = inside.parts
    return 2 if len(parts) > 2 and parts[1].startswith('ses-') else 1


def _outside(entries: Iterable[os.DirEntry[str]]) -> Iterator[Path]:
    """NIfTI files among and below entries that are no folders of BIDS."""
    for entry in entries:
        if entry.name.lower().endswith(ENDINGS):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _images(Path(entry.path), [])


def _images(folder: Path, links: list[Path], depth: int = 0) -> Iterator[Path]:
    """NIfTI files in and below a folder; links to other folders are noted in `links`."""
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.name.startswith('.'):
            continue
        if entry.name.lower().endswith(ENDINGS):
            yield path  # a folder, too: it will be named
        elif entry.is_symlink():
            if os.path.isdir(path):
                links.append(path)
        elif depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
            yield from _images(path, links, depth + 1)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
