"""Writing a result of a node to its place in a BIDS derivative data set.

What its sidecar records, and when a result is replaced, is in `pumba_pipe.results.sidecars`.
"""

from __future__ import annotations

import contextlib
import shutil
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
from pumba_pipe.common.file_records import SHA256
from pumba_pipe.common.files import atomic_path, write_json
from pumba_pipe.results.sidecars import (
    FILE_RECORD,
    SOURCE_RECORD,
    check_replaceable,
    check_source,
    remove,
    sidecar_of,
    written,
)

FIGURES = ('mosaic', 'before_after', 'thumbnail', 'viewer')


def absolute(path: str, field: str) -> Path:
    """Path that is the same in every folder: a relative one would lead into the node's own.

    Raises
    ------
    OutputError
        It is none.
    """
    if not Path(path).is_absolute():
        raise OutputError(f'{field} {path!r}: is no absolute path; nothing was written')
    return Path(path)


class SaveDerivativeInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SaveDerivative`."""

    in_file = File(exists=True, mandatory=True, desc='result of a node')
    out_path = traits.Str(mandatory=True, desc='where it goes, absolute')
    metadata = traits.Dict(desc='content of the JSON file beside it; without, there is none')
    quality = File(exists=True, desc='JSON file whose content becomes the key Quality')
    reference = File(
        exists=True,
        desc='JSON file whose content becomes the key Reference: the volumes of a series that '
        'were used',
    )
    source_file = traits.Str(desc='scan that it was made from')
    source_record = traits.Dict(
        requires=['source_file'], desc='of that scan, as RecordSource gives it'
    )
    keeps = traits.Str(
        desc='checksum of the file that is in its place already: it stays, and is described'
    )
    replaces = traits.Str(desc='checksum of a manual mask in its place that may be replaced')


class SaveDerivativeOutputSpec(TraitedSpec):
    """Outputs of `SaveDerivative`."""

    # Not `exists=True`: Nipype looks after the file was written, when another run that writes the
    # same result may just be about to rename its own into place.
    out_file = File(desc='the file in its place')


class SaveDerivative(BaseInterface):
    """Copy a file to its place, with a JSON file beside it when there is something to describe.

    The file is renamed into place last: where it lies, it is complete and described. Processes
    that write the same file wait for each other, so that file and description belong together.
    A mask that was edited by hand, or made by another program, is not replaced, unless `replaces`
    names it; nor is anything when the scan has changed meanwhile.

    Examples
    --------
    >>> place = Path('out/sub-01/anat/sub-01_desc-brain_mask.nii.gz').absolute()
    >>> save = SaveDerivative(in_file='mask.nii.gz', out_path=str(place))
    >>> save.inputs.metadata = {'Type': 'Brain'}
    >>> Path(save.run().outputs.out_file).name
    'sub-01_desc-brain_mask.nii.gz'
    >>> from pumba_pipe.results.sidecars import read_sidecar
    >>> content = read_sidecar(place)
    >>> content['Type'], content['FileRecord']['Size'] == place.stat().st_size
    ('Brain', True)
    """

    input_spec = SaveDerivativeInputSpec
    output_spec = SaveDerivativeOutputSpec
    # what an earlier run wrote may be gone by now
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        target = absolute(self.inputs.out_path, 'out_path')
        if isdefined(self.inputs.keeps):
            self._describe_kept(target)
            return runtime
        replaces = self.inputs.replaces if isdefined(self.inputs.replaces) else ''
        with exclusive(target), atomic_path(target) as partial:
            shutil.copyfile(self.inputs.in_file, partial)
            self._check_source()
            if isdefined(self.inputs.metadata):
                check_replaceable(target, replaces)
                self._describe(target, partial)
        return runtime

    def _check_source(self) -> None:
        if isdefined(self.inputs.source_record):
            check_source(Path(self.inputs.source_file), self.inputs.source_record)

    def _describe_kept(self, target: Path) -> None:
        with exclusive(target):
            self._check_source()
            try:
                record = written(target)
            except OSError as error:
                raise InputError(f'{target}: cannot be kept ({error.strerror})') from None
            if record[SHA256] != self.inputs.keeps:
                raise InputError(
                    f'{target}: has changed while it was worked on; start the run again'
                )
            write_json(sidecar_of(target), self._description(record))

    def _description(self, record: dict[str, Any]) -> dict[str, Any]:
        metadata = dict(self.inputs.metadata)
        if isdefined(self.inputs.source_record):
            metadata[SOURCE_RECORD] = self.inputs.source_record
        metadata[FILE_RECORD] = record
        for key, field in (('Reference', 'reference'), ('Quality', 'quality')):
            file = getattr(self.inputs, field)
            if isdefined(file):
                metadata[key] = read_json(Path(file))
        return metadata

    def _describe(self, target: Path, partial: Path) -> None:
        metadata = self._description(written(partial))
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
    source_record = traits.Dict(
        requires=['source_file'], desc='of that scan, as RecordSource gives it'
    )


class SaveFiguresOutputSpec(TraitedSpec):
    """Outputs of `SaveFigures`."""

    record = File(desc='JSON file with the records of the figures')


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
        place = absolute(self.inputs.record_path, 'record_path')
        paths = {
            figure: absolute(path, f'out_paths {figure!r}')
            for figure, path in self.inputs.out_paths.items()
        }
        unknown = sorted(set(paths) - set(FIGURES))
        if unknown:
            raise InputError(f'out_paths: {unknown[0]!r} is none of {", ".join(FIGURES)}')
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
