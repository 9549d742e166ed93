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
    traits,
)

from pumba_pipe.interfaces.folder import in_folder, stem


class MakeReferenceInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MakeReference`."""

    in_file = File(exists=True, mandatory=True, desc='series, or a single volume')
    bval_file = File(exists=True, desc='b-values of a diffusion series: only b0 volumes are used')
    diffusion = traits.Bool(
        False, usedefault=True, desc='it is a diffusion series, which needs its b-values'
    )
    context_file = File(
        exists=True, desc='aslcontext.tsv: M0 volumes are used, else control volumes'
    )
    m0_file = File(exists=True, desc='M0 image of an ASL series, which is used in its place')
    sidecar_files = traits.List(
        File(exists=True), desc='JSON files that said what to read; refused if damaged'
    )
    frame_files = traits.List(
        File(exists=True), desc='JSON files of a PET series: durations weight its frames'
    )


class MakeReferenceOutputSpec(TraitedSpec):
    """Outputs of `MakeReference`."""

    out_file = File(exists=True, desc='mean of the volumes that are like the others')
    record = File(exists=True, desc='which volumes were used and which dropped, JSON')


class MakeReference(BaseInterface):
    """Average the volumes of a series, leaving out those unlike the others.

    Volumes between which the head moved are aligned to the best one first.

    Examples
    --------
    >>> make = MakeReference(in_file='head.nii.gz')
    >>> Path(make._list_outputs()['out_file']).name
    'head_reference.nii.gz'
    """

    input_spec = MakeReferenceInputSpec
    output_spec = MakeReferenceOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.series_reference import Beside, make_reference_file

        inputs, outputs = self.inputs, self._list_outputs()
        frames, sidecars = inputs.frame_files, inputs.sidecar_files
        beside = Beside(
            b_values=self._given('bval_file'),
            context=self._given('context_file'),
            m0=self._given('m0_file'),
            frames=tuple(map(Path, frames)) if isdefined(frames) else None,
            diffusion=inputs.diffusion,
            sidecars=tuple(map(Path, sidecars)) if isdefined(sidecars) else (),
        )
        make_reference_file(
            Path(inputs.in_file), Path(outputs['out_file']), Path(outputs['record']), beside
        )
        return runtime

    def _given(self, field: str) -> Path | None:
        value = getattr(self.inputs, field)
        return Path(value) if isdefined(value) else None

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        return {
            'out_file': in_folder(f'{name}_reference.nii.gz'),
            'record': in_folder(f'{name}_reference.json'),
        }
