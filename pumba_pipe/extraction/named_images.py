"""Image files among what a user names: files, folders, patterns, and a list of paths."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from pumba_pipe.common.documents import MIB, read_text
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import COMPRESSIONS, files_of, image_suffix
from pumba_pipe.images.mistakes import dcm2niix, holds_dicom, what_folder_is
from pumba_pipe.results.sidecars import is_result

LIST_BYTES = 64 * MIB
PATTERN = '*?['
# Of an image of two files the one with the data: the other is found by its name.
FORMATS = ('.nii', '.mgh', '.mnc', '.img', '.brik', '.rec')
ENDINGS = (*(form + end for form in FORMATS for end in COMPRESSIONS), '.mgz')
STANDARD_INPUT = '-'


class Found(NamedTuple):
    """An image file, and where its results go.

    Attributes
    ----------
    path : Path
    place : PurePath
        Relative to the folder of the results; the beginning of their names.
    """

    path: Path
    place: PurePath


class SearchResult(NamedTuple):
    """What was found.

    Attributes
    ----------
    images : list of Found
        Each file once, in the order in which they were named; those of a folder sorted.
    failures : list of (Path, str)
        What was named and is no image or holds none, and why, in plain words.
    remarks : list of str
        What was left out, in plain words.
    """

    images: list[Found]
    failures: list[tuple[Path, str]]
    remarks: list[str]


def find_images(
    names: Iterable[str], relative_to: Path | None = None, results: Path | None = None
) -> SearchResult:
    """Find the images that a user names.

    Parameters
    ----------
    names : iterable of str
        Files, whatever they are called; folders, which are looked through for files whose names
        end as those of images do, results of this program left out; and patterns of files and
        folders (``*``, ``**``, ``?``).
    relative_to : Path, optional
        The folders below it are kept in the places of results. Default: those of files that were
        named are not kept, those of files in a folder that was named are kept from there on.
    results : Path, optional
        Folder of the results: not looked into where it lies in a folder that was named.

    Raises
    ------
    InputError
        A pattern matches nothing, or an image does not lie below `relative_to`.
    """
    images: dict[str, Found] = {}  # by their paths, spelt in one way
    failures: list[tuple[Path, str]] = []
    remarks: list[str] = []
    for path in _expanded(names):
        if not path.is_dir():
            if not any(os.path.abspath(other) in images for other in files_of(path)):
                images[os.path.abspath(path)] = Found(path, _place(path, relative_to, path.parent))
            continue
        files, folders, links = _in_folder(path, results)
        made = {file for file in files if is_result(file)}
        for file in files:
            if file not in made:
                place = _place(file, relative_to, path)
                images.setdefault(os.path.abspath(file), Found(file, place))
        if made:
            remarks.append(f'{path}: {len(made)} results of earlier runs left out')
        remarks += [f'{link}: left out, links to folders are not followed' for link in links]
        if not files:
            failures.append((path, what_folder_is(path) or _nothing_in(path)))
        elif folders:
            remarks.append(_left_out(folders))
    return SearchResult(list(images.values()), failures, remarks)


def read_list(path: str) -> list[str]:
    """Read paths from a text file, one a line; ``-`` is the standard input.

    Empty lines are passed over, and lines that begin with ``#``.

    Raises
    ------
    InputError
        The file cannot be read, or names nothing.
    """
    if path == STANDARD_INPUT:
        text = _standard_input()
    else:
        text = read_text(Path(path), LIST_BYTES, 'list of images')
    if '\0' in text:
        raise InputError(f'{path}: holds NUL characters; give one path a line (no find -print0)')
    # not splitlines(): a name may hold what is the end of a line elsewhere
    text = text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    lines = [line.strip() for line in text.split('\n')]
    found = [line for line in lines if line and not line.startswith('#')]
    if not found:
        raise InputError(f'{path}: this list names no image')
    return found


def _standard_input() -> str:
    """All of standard input, where names of files may be of any bytes."""
    stream = getattr(sys.stdin, 'buffer', None)
    return sys.stdin.read() if stream is None else os.fsdecode(stream.read())


def _expanded(names: Iterable[str]) -> Iterator[Path]:
    """Paths of names, patterns among them; a file may be called like a pattern."""
    for name in names:
        if os.path.lexists(name) or not any(char in name for char in PATTERN):
            yield Path(name)
            continue
        matching = sorted(glob.glob(name, recursive=True))
        if not matching:
            raise InputError(f'{name}: no file has a name of this pattern')
        yield from map(Path, matching)


def _place(path: Path, relative_to: Path | None, folder: Path) -> PurePath:
    """Where the results of a file go: its path below a folder, without its ending."""
    try:
        inside = Path(os.path.abspath(path)).relative_to(os.path.abspath(relative_to or folder))
    except ValueError:
        raise InputError(
            f'{path}: does not lie in {relative_to}, the folder of --relative-to'
        ) from None
    return inside.with_name(_stem(inside))


def _stem(path: PurePath) -> str:
    """Name without its ending, that of a compressed file as a whole."""
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), '')
    ending = ending or image_suffix(path)
    return path.name[: -len(ending)] if ending else path.name


def _in_folder(folder: Path, results: Path | None) -> tuple[list[Path], list[Path], list[Path]]:
    """Images in and below a folder, folders there that hold DICOM files and no image, and links.

    Links to folders are not followed: they may lead back. Names that begin with a dot are passed
    over.
    """
    images: list[Path] = []
    dicom: list[Path] = []
    links: list[Path] = []
    for at, folders, names in os.walk(folder):
        here = Path(at)
        folders[:] = sorted(
            name for name in folders if name[0] != '.' and not _is_same(here / name, results)
        )
        links += [here / name for name in folders if os.path.islink(here / name)]
        files = [here / name for name in sorted(names) if name[0] != '.']
        found = [file for file in files if file.name.lower().endswith(ENDINGS)]
        images += found
        if not found and holds_dicom(iter(files)):
            dicom.append(here)
    return images, dicom, links


def _is_same(folder: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and folder.samefile(other)


def _nothing_in(folder: Path) -> str:
    return f'no image in this folder; names of images end in {", ".join(FORMATS)} or .mgz'


def _left_out(folders: Sequence[Path]) -> str:
    more = f' and {len(folders) - 1} more folders' if len(folders) > 1 else ''
    return f'{folders[0]}{more}: left out, DICOM files; to convert them: {dcm2niix(folders[0])}'
