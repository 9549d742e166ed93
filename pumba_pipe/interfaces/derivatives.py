"""Writing a result of a node to its place in a BIDS derivative data set.

The JSON file beside a result holds records (`pumba_pipe.common.file_records`): of the scan that
it was made from, and of the result itself. By them the next run knows whether the result is done,
and whether somebody has changed it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_lock import exclusive
from pumba_pipe.common.file_records import CHANGED, MODIFIED, is_record, is_same, record_of
from pumba_pipe.common.files import atomic_path, image_suffix, write_json

SOURCE_RECORD, FILE_RECORD = 'SourceRecord', 'FileRecord'
MARKS = (FILE_RECORD, 'BrainExtraction')  # keys that no other program writes
MASK = '_mask'
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
    """
    from pumba_pipe.images.reading import open_image

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


def check_replaceable(path: Path) -> None:
    """Refuse to replace what another program made, and a mask that was edited.

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
        edited = is_edited(path, sidecar)
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


def check_source(path: Path, record: Mapping[str, Any]) -> None:
    """Compare a scan with what it was when work on it began.

    Raises
    ------
    InputError
        It has changed, so that results of it are worth nothing.
    """
    try:
        same = is_same(path, record, MODIFIED, CHANGED)
    except OSError:
        same = False
    if not same:
        raise InputError(f'{path}: has changed while it was worked on; start the run again')


class SaveDerivativeInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SaveDerivative`."""

    in_file = File(exists=True, mandatory=True, desc='result of a node')
    out_path = traits.Str(mandatory=True, desc='where it goes, absolute')
    metadata = traits.Dict(desc='content of the JSON file beside it; without, there is none')
    quality = File(exists=True, desc='JSON file whose content becomes the key Quality')
    source_file = traits.Str(desc='scan that it was made from')
    source_record = traits.Dict(desc='of that scan, as RecordSource gives it')


class SaveDerivativeOutputSpec(TraitedSpec):
    """Outputs of `SaveDerivative`."""

    out_file = File(exists=True, desc='the file in its place')


class SaveDerivative(BaseInterface):
    """Copy a file to its place, with a JSON file beside it when there is something to describe.

    The file is renamed into place last: where it lies, it is complete and described. Processes
    that write the same file wait for each other, so that file and description belong together.
    A mask that was edited by hand, or made by another program, is not replaced; nor is anything
    when the scan has changed meanwhile.

    Examples
    --------
    >>> place = Path('out/sub-01/anat/sub-01_desc-brain_mask.nii.gz').absolute()
    >>> save = SaveDerivative(in_file='mask.nii.gz', out_path=str(place))
    >>> save.inputs.metadata = {'Type': 'Brain'}
    >>> Path(save.run().outputs.out_file).name
    'sub-01_desc-brain_mask.nii.gz'
    >>> content = read_sidecar(place)
    >>> content['Type'], content['FileRecord']['Size'] == place.stat().st_size
    ('Brain', True)
    """

    input_spec = SaveDerivativeInputSpec
    output_spec = SaveDerivativeOutputSpec
    # what an earlier run wrote may be gone by now
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        target = Path(self.inputs.out_path)
        with exclusive(target), atomic_path(target) as partial:
            shutil.copyfile(self.inputs.in_file, partial)
            if isdefined(self.inputs.source_record):
                check_source(Path(self.inputs.source_file), self.inputs.source_record)
            if isdefined(self.inputs.metadata):
                check_replaceable(target)
                self._describe(target, partial)
        return runtime

    def _describe(self, target: Path, partial: Path) -> None:
        metadata = dict(self.inputs.metadata)
        if isdefined(self.inputs.source_record):
            metadata[SOURCE_RECORD] = self.inputs.source_record
        metadata[FILE_RECORD] = written(partial)
        if isdefined(self.inputs.quality):
            metadata['Quality'] = read_json(Path(self.inputs.quality))
        if target.exists() or target.is_symlink():
            # never an old image beside a new description, should this run be killed
            remove(target)
        write_json(sidecar_of(target), metadata)

    def _list_outputs(self) -> dict[str, Any]:
        return {'out_file': self.inputs.out_path}


class SaveFiguresInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SaveFigures`."""

    mosaic = File(exists=True, mandatory=True, desc='as QualityReport gives it')
    before_after = File(exists=True, mandatory=True, desc='as QualityReport gives it')
    thumbnail = File(exists=True, mandatory=True, desc='as QualityReport gives it')
    viewer = File(exists=True, mandatory=True, desc='as QualityReport gives it')
    out_paths = traits.Dict(mandatory=True, desc='where each of them goes, absolute')
    record_path = traits.Str(mandatory=True, desc='JSON file for their records, absolute')
    metadata = traits.Dict(desc='further content of that file')
    source_file = traits.Str(desc='scan that they show')
    source_record = traits.Dict(desc='of that scan, as RecordSource gives it')


class SaveFiguresOutputSpec(TraitedSpec):
    """Outputs of `SaveFigures`."""

    record = File(exists=True, desc='JSON file with the records of the figures')


class SaveFigures(BaseInterface):
    """Copy the figures of an image to their places, with one JSON file of records for all.

    Examples
    --------
    >>> sorted(SaveFigures().input_spec().get().keys() & {'mosaic', 'thumbnail', 'viewer'})
    ['mosaic', 'thumbnail', 'viewer']
    """

    input_spec = SaveFiguresInputSpec
    output_spec = SaveFiguresOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        place = Path(self.inputs.record_path)
        paths = {figure: Path(path) for figure, path in self.inputs.out_paths.items()}
        content = dict(self.inputs.metadata) if isdefined(self.inputs.metadata) else {}
        with exclusive(place), contextlib.ExitStack() as stack:
            records = {}
            for figure, path in paths.items():
                partial = stack.enter_context(atomic_path(path))
                shutil.copyfile(getattr(self.inputs, figure), partial)
                records[path.name] = written(partial)
            if isdefined(self.inputs.source_record):
                check_source(Path(self.inputs.source_file), self.inputs.source_record)
                content[SOURCE_RECORD] = self.inputs.source_record
            # first of all: figures without a record would be taken for those of another program
            write_json(place, content | {FILE_RECORD: records})
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {'record': self.inputs.record_path}
