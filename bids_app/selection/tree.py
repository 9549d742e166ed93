"""Image files of a data set, found and judged by their paths below its folder.

Nothing above the folder of the data set says what a file is. A file counts as the image of its
name where it lies in a folder for its suffix (``anat``, ``func``, ...) of the participant and
session that its name says.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pumba_pipe.bids_app.selection.ignore import Ignored
from pumba_pipe.workflows.modalities import modality_of
from pumba_pipe.workflows.naming import ImageName, folder, parse_name

ENDINGS = ('.nii', '.nii.gz')
# Folders of a participant that BIDS knows; what lies in those not asked for is no image to strip.
DATATYPES = (
    'anat', 'func', 'dwi', 'fmap', 'perf', 'pet', 'eeg', 'meg', 'ieeg', 'beh', 'micr', 'motion',
    'mrs', 'nirs', 'emg',
)  # fmt: skip
INDEX = ('run', 'echo', 'flip', 'inv', 'chunk')  # entities whose labels are numbers
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

    @property
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


def list_images(
    bids_dir: Path, participants: Iterable[str], datatypes: Sequence[str]
) -> tuple[list[Place], dict[Path, str]]:
    """Find all NIfTI files in and below folders of participants, such as ``anat``.

    Returns
    -------
    list of Place
        In order.
    dict of Path to str
        Folders that cannot be read, and why.
    """
    found: list[Place] = []
    unreadable: dict[Path, str] = {}
    for label in participants:
        try:
            for place in _folders(bids_dir / f'sub-{label}', datatypes):
                if leads_nowhere(place):
                    unreadable[place] = NOT_HERE
                else:
                    found += [place_of(path, bids_dir) for path in _images(place)]
        except OSError as error:
            folder = Path(error.filename or bids_dir / f'sub-{label}')
            unreadable[folder] = f'cannot be read ({error.strerror})'
    return sorted(found, key=lambda place: place.inside.parts), unreadable


def list_elsewhere(
    bids_dir: Path, participants: Iterable[str], datatypes: Sequence[str]
) -> tuple[list[Place], list[Path]]:
    """Find what `list_images` does not look at, and somebody may miss.

    Returns
    -------
    list of Place
        NIfTI files of participants that lie in no folder of BIDS, such as ``anat``, in order.
    list of Path
        Links to folders, in and below folders of BIDS, which are not followed: they may lead back.
    """
    stray: list[Place] = []
    links: list[Path] = []
    for label in participants:
        with contextlib.suppress(OSError):  # named by `list_images`
            for own in _own_folders(bids_dir / f'sub-{label}'):
                stray += [place_of(path, bids_dir) for path in _outside(own)]
                for datatype in datatypes:
                    links += _links(own / datatype)
    return sorted(stray, key=lambda place: place.inside.parts), sorted(links)


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
        (key, label.lstrip('0') or '0') if key in INDEX and label.isdecimal() else (key, label)
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


def _folders(subject: Path, datatypes: Sequence[str]) -> Iterator[Path]:
    """Folders that may hold images; of links to nothing, these themselves."""
    for own in _own_folders(subject):
        if leads_nowhere(own):
            yield own
        else:
            yield from (own / datatype for datatype in datatypes)


def _own_folders(subject: Path) -> Iterator[Path]:
    """Folder of a participant, and of each session."""
    yield subject
    for entry in _entries(subject):
        path = Path(entry.path)
        if entry.name.startswith('ses-') and (leads_nowhere(path) or entry.is_dir()):
            yield path


def _outside(folder: Path) -> Iterator[Path]:
    """NIfTI files of a participant or session that are in no folder of BIDS."""
    in_session = folder.name.startswith('ses-')
    for entry in _entries(folder):
        if entry.name.startswith('.') or entry.name in DATATYPES:
            continue
        if entry.name.startswith('ses-') and not in_session:
            continue
        if entry.name.lower().endswith(ENDINGS):
            yield Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _images(Path(entry.path))


def _links(folder: Path, depth: int = 0) -> Iterator[Path]:
    for entry in _entries(folder):
        if entry.name.startswith('.') or entry.name.lower().endswith(ENDINGS):
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            if os.path.isdir(path):
                yield path
        elif depth < MAX_DEPTH and entry.is_dir():
            yield from _links(path, depth + 1)


def _images(folder: Path, depth: int = 0) -> Iterator[Path]:
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.name.startswith('.'):
            continue
        if entry.name.lower().endswith(ENDINGS):
            yield path  # a folder, too: it will be named
        elif depth < MAX_DEPTH and entry.is_dir(follow_symlinks=False):
            yield from _images(path, depth + 1)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
