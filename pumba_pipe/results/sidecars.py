"""What lies beside a result: a JSON file by which a later run knows it again.

It holds records (`pumba_pipe.common.file_records`) of the scan that the result was made from, and
of the result itself, and the options it depends on. By them a run knows whether the result is
done, and whether somebody has changed it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_records import (
    CHANGED,
    MODIFIED,
    SHA256,
    check_regular,
    checksum,
    is_record,
    is_same,
    record_of,
    stamp,
    untouched,
)
from pumba_pipe.common.files import image_suffix

SOURCE_RECORD, FILE_RECORD = 'SourceRecord', 'FileRecord'
EXTRACTION = 'BrainExtraction'  # key of the options that a result depends on
METHOD_VERSION = 'MethodVersion'  # key among these: raised when a method changes its results
MARKS = (FILE_RECORD, EXTRACTION)  # keys that no other program writes
OTHER_FILES = 'OtherFileRecords'  # key in a mask's sidecar: results that lie beside the mask
COMPANIONS = 'Companions'  # key of a scan's record: checksums of files that are read with it
GENERATED_BY = 'GeneratedBy'  # key: program and version that made a result
PIPELINE = 'pumba_pipe'
MANUAL_MASK = 'ManualMask'  # key: where a manual mask comes from, and its checksum there
MASK = '_mask'
NOT_HERE = 'is a link to a file that is not here; fetch it first (git-annex, DataLad)'
EDIT_SECONDS = 2.0  # of results without a record: a mask this much younger than its sidecar


def sidecar_of(image: Path) -> Path:
    """Path of the JSON file that describes an image.

    Examples
    --------
    >>> sidecar_of(Path('sub-01_T1w.nii.gz')).name
    'sub-01_T1w.json'
    """
    return image.with_name(image.name[: len(image.name) - len(image_suffix(image))] + '.json')


def read_sidecar(image: Path) -> dict[str, Any] | None:
    """Read what describes an image; None where there is nothing that can be read."""
    try:
        return read_json(sidecar_of(image))
    except InputError:
        return None


def made_by() -> dict[str, Any]:
    """Name and version of this program, as in a dataset_description.json, for a sidecar.

    A data set may hold results of several versions. Only `EXTRACTION` decides whether they are
    made again: it holds the version of the method.
    """
    from pumba_pipe._version import __version__

    return {GENERATED_BY: [{'Name': PIPELINE, 'Version': __version__}]}


def is_ours(sidecar: Mapping[str, Any] | None) -> bool:
    """Whether a sidecar was written by this program."""
    return sidecar is not None and any(key in sidecar for key in MARKS)


def is_mask(image: Path) -> bool:
    """Whether a file is a mask, by its name."""
    return sidecar_of(image).stem.endswith(MASK)


def is_edited(mask: Path, sidecar: Mapping[str, Any]) -> bool:
    """Whether somebody has changed a mask since it was written.

    A mask that is damaged was not edited. Of one without a record, its time has to tell.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if sidecar.get('Manual') is True:
        return True
    record = sidecar.get(FILE_RECORD)
    if is_record(record):
        return not is_same(mask, record, MODIFIED) and is_work(mask)
    written = sidecar_of(mask).stat().st_mtime
    return mask.stat().st_mtime > written + EDIT_SECONDS and is_work(mask)


def is_work(image: Path) -> bool:
    """Whether a file may be somebody's work, not what a full disk or a lost connection left.

    That is an empty file, one that begins with zeros, and a compressed one that is cut off or
    damaged. Whatever else a person put there is kept, also in a format that cannot be read.

    Raises
    ------
    OSError
        It cannot be read, or is no regular file.
    """
    from pumba_pipe.images.reading import open_image

    check_regular(image)
    with image.open('rb') as file:
        start = file.read(512)
    if not start.startswith(b'\x1f\x8b'):
        return any(start)
    try:
        open_image(image).values()
    except InputError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file.

    Raises
    ------
    OutputError
    """
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f'{path}: cannot replace this file ({error.strerror})') from None


def is_result(image: Path) -> bool:
    """Whether a file is a result of this program, by its sidecar or that of the mask beside it.

    Parameters
    ----------
    image : Path
    """
    if is_ours(read_sidecar(image)):
        return True
    stem, _, kind = sidecar_of(image).stem.rpartition('_')
    if f'_{kind}' == MASK or not stem:
        return False
    known = (read_sidecar(image.with_name(f'{stem}{MASK}.nii.gz')) or {}).get(OTHER_FILES)
    return isinstance(known, Mapping) and image.name in known


def check_replaceable(path: Path, replaces: str = '') -> None:
    """Refuse to replace what another program made, and a mask that was edited.

    Parameters
    ----------
    path : Path
    replaces : str
        Checksum of an edited mask that may be replaced.

    Raises
    ------
    OutputError
    """
    if not path.is_file():
        return
    sidecar = read_sidecar(path)
    if not is_ours(sidecar) and (is_mask(path) or sidecar is not None):
        raise OutputError(f'{path}: {not_ours(path)}')
    if sidecar is None or not is_mask(path):
        return
    try:
        edited = is_edited(path, sidecar) and not (replaces and checksum(path) == replaces)
    except OSError as error:
        raise OutputError(f'{path}: cannot read this file ({error.strerror})') from None
    if edited:
        raise OutputError(f'{path}: was edited by hand and is kept; move it away to have it made')


def not_ours(path: Path) -> str:
    """Say why a file is not replaced that lies where a result goes."""
    return (
        f'was not made by pumba_pipe (nothing in {sidecar_of(path).name} says so) and is kept; '
        'move it away, or choose another folder for the results'
    )


def written(path: Path) -> dict[str, Any]:
    """Record of a file that is to be renamed into its place, which changes its entry's time."""
    record = record_of(path)
    del record[CHANGED]
    return record


def companion_sums(source: Path, companions: Iterable[Path]) -> dict[str, str]:
    """Checksums of files that are read with a scan, by their paths as seen from its folder.

    Raises
    ------
    OSError
        One cannot be read.
    """
    return {
        Path(os.path.relpath(path, source.parent)).as_posix(): checksum(path)
        for path in companions
    }


def check_source(path: Path, record: Mapping[str, Any]) -> None:
    """Compare a scan, and the files read with it, with what they were when work on it began.

    Raises
    ------
    InputError
        One has changed, so that results of it are worth nothing.
    """
    try:
        same = is_same(path, record, MODIFIED, CHANGED)
        sums = record.get(COMPANIONS, {})
        for name in sums:
            if checksum(path.parent / name) != sums[name]:
                raise InputError(
                    f'{path.parent / name}: has changed while {path.name} was worked on; start '
                    'the run again'
                )
    except OSError:
        same = False
    if not same:
        raise InputError(f'{path}: has changed while it was worked on; start the run again')


def is_complete(path: Path, sidecar: Mapping[str, Any] | None) -> bool:
    """Whether a result is there as it was written, as far as there is a record.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return sidecar is not None and is_whole(path, sidecar.get(FILE_RECORD))


def is_whole(path: Path, record: object) -> bool:
    """Whether a file is there, and is that of its record where the record is one.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if not path.exists() or not path.stat().st_size:
        return False
    return not is_record(record) or is_same(path, record, MODIFIED)


def made_of(source: Path, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether results with these records of their scan were all made of the one there is now.

    Raises
    ------
    OSError
        The scan cannot be read.
    """
    now = stamp(source)
    sums = {record[SHA256] for record in records}
    if len(sums) > 1:
        return False
    if any(untouched(record, now, MODIFIED, CHANGED) for record in records):
        return True
    same_size = all(untouched(record, now) for record in records)
    return same_size and checksum(source) in sums
