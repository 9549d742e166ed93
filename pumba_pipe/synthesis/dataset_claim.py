"""Making room for a data set of synthetic heads: only what an earlier one wrote is removed.

The sidecar of each mask holds the checksums of mask and image. A file that is not the one written,
or that is in no sidecar, belongs to somebody: then the folder is refused and nothing is touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_records import checksum
from pumba_pipe.common.folder_lock import LOCK
from pumba_pipe.common.partial_files import is_partial
from pumba_pipe.synthesis.dataset_names import MASKS

GENERATOR = 'pumba-synth'
CHECKSUMS = 'Checksums'  # key of a mask's sidecar: name of a file to SHA-256


def check_claimable(folder: Path) -> None:
    """Refuse a folder that does not hold an earlier data set and nothing else; touch nothing.

    Raises
    ------
    OutputError
        It is a file, holds something else, or holds what was changed since it was written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f'{folder}: is a file; give a folder for the data set')
    if _is_empty(folder):
        return
    if not _is_ours(folder / MASKS / 'dataset_description.json'):
        raise OutputError(
            f'{folder}: is not empty and holds no data set of {GENERATOR}; '
            'give an empty or new folder'
        )
    files = [path for head in _heads(folder) for path in _files(head)]
    known = _known(folder, files)
    readme = folder / 'README'
    foreign = [path for path in files if not _is_as_written(path, known)]
    if readme.is_file() and GENERATOR not in readme.read_text('utf-8', errors='replace'):
        foreign.append(readme)
    if foreign:
        raise OutputError(
            f'{foreign[0]}: was not made by {GENERATOR}, or was changed since; nothing was '
            'removed: give an empty or new folder'
        )


def make_room(folder: Path) -> None:
    """Remove the heads of an earlier data set from a folder, or refuse the folder.

    Raises
    ------
    OutputError
        As `check_claimable`.
    """
    check_claimable(folder)
    if _is_empty(folder):
        return
    (folder / 'dataset_description.json').unlink(missing_ok=True)
    for head in _heads(folder):
        for path in [*_files(head)]:
            path.unlink()
        for place, _, _ in os.walk(head, topdown=False):
            Path(place).rmdir()


def _heads(folder: Path) -> list[Path]:
    return [*folder.glob('sub-*'), *(folder / MASKS).glob('sub-*')]


def _is_empty(folder: Path) -> bool:
    """Whether a folder is not there, or holds nothing but the lock of a run."""
    return not folder.exists() or all(path.name == LOCK for path in folder.iterdir())


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is no folder itself, links among them."""
    if folder.is_symlink() or not folder.is_dir():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        yield from _files(path)


def _known(folder: Path, files: list[Path]) -> dict[Path, str]:
    """Files of the data set, with their checksums; sidecars, which hold them, without."""
    known: dict[Path, str] = {}
    for sidecar in files:
        if sidecar.suffix != '.json' or sidecar.is_symlink():
            continue
        try:
            content: Any = read_json(sidecar)[CHECKSUMS]
            sums = {folder / name: str(sum_) for name, sum_ in content.items()}
        except (InputError, KeyError, TypeError, AttributeError):
            continue
        known |= {sidecar: '', **sums}
    return known


def _is_as_written(path: Path, known: dict[Path, str]) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if path in known:
        return not known[path] or checksum(path) == known[path]
    return is_partial(path)


def _is_ours(description: Path) -> bool:
    try:
        made_by = read_json(description)['GeneratedBy']
        return any(entry['Name'] == GENERATOR for entry in made_by)
    except (InputError, KeyError, TypeError):
        return False
