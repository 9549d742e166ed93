"""What a scan was when work on it began, as a Nipype node."""

from __future__ import annotations

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

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import record_of
from pumba_pipe.results.sidecars import COMPANIONS, companion_sums


class RecordSourceInputSpec(BaseInterfaceInputSpec):
    """Inputs of `RecordSource`."""

    in_file = File(mandatory=True, desc='image')
    companions = traits.List(File(), desc='files that are read with it, such as b-values')


class RecordSourceOutputSpec(TraitedSpec):
    """Outputs of `RecordSource`."""

    out_file = File(desc='the same image')
    record = traits.Dict(desc='its size, times and checksum, and checksums of its companions')


class RecordSource(BaseInterface):
    """Note size, times and checksum of an image before anything reads it.

    `SaveDerivative` compares the image with that before it writes what was made of it. This is a
    read of its own, though others follow: several nodes read a scan, some of them through a map of
    the file that passes no stream, and the record has to be that of before the first of them.

    Examples
    --------
    >>> found = RecordSource(in_file='head.nii.gz').run().outputs
    >>> sorted(found.record)
    ['Changed', 'Modified', 'SHA256', 'Size']
    """

    input_spec = RecordSourceInputSpec
    output_spec = RecordSourceOutputSpec
    # what was noted by an earlier run says nothing about this one
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(self.inputs.in_file)
        given = self.inputs.companions
        try:
            self._record = record_of(path)
            if isdefined(given) and given:
                self._record[COMPANIONS] = companion_sums(path, map(Path, given))
        except OSError as error:
            where = error.filename or path
            raise InputError(f'{where}: cannot read this file: {error.strerror}') from None
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {'out_file': self.inputs.in_file, 'record': self._record}
