"""The reference of a BOLD, ASL or diffusion series as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
)

from pumba_pipe.interfaces.folder import in_folder, stem


class MakeReferenceInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MakeReference`."""

    in_file = File(exists=True, mandatory=True, desc='series, or a single volume')
    bval_file = File(exists=True, desc='b-values of a diffusion series: only b0 volumes are used')


class MakeReferenceOutputSpec(TraitedSpec):
    """Outputs of `MakeReference`."""

    out_file = File(exists=True, desc='mean of the volumes that are like the others')
    record = File(exists=True, desc='which volumes were used and which dropped, JSON')


class MakeReference(BaseInterface):
    """Average the volumes of a series, leaving out those unlike the others."""

    input_spec = MakeReferenceInputSpec
    output_spec = MakeReferenceOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.series_reference import make_reference_file

        inputs, outputs = self.inputs, self._list_outputs()
        bval_file = Path(inputs.bval_file) if isdefined(inputs.bval_file) else None
        make_reference_file(
            Path(inputs.in_file), Path(outputs['out_file']), Path(outputs['record']), bval_file
        )
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        return {
            'out_file': in_folder(f'{name}_reference.nii.gz'),
            'record': in_folder(f'{name}_reference.json'),
        }
