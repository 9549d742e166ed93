"""Skull stripping as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype import logging
from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.common.file_records import checksum
from pumba_pipe.common.weights_file import default_weights
from pumba_pipe.extraction.border import CSF, FORMER_CSF
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.interfaces.folder import in_folder, stem


class SkullStripInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SkullStrip`."""

    in_file = File(exists=True, mandatory=True, desc='image of a head')
    use_gpu = traits.Bool(
        False, usedefault=True, nohash=True, desc='compute on the GPU; also reserves one'
    )
    device = traits.Str(
        ExtractionOptions.device,
        usedefault=True,
        nohash=True,
        desc='which GPU: auto, cuda, cuda:N or mps',
    )
    model = File(
        exists=True, desc='weights file; default: the shipped weights, or those of PUMBA_WEIGHTS'
    )
    border_mm = traits.Float(
        ExtractionOptions.border_mm,
        usedefault=True,
        desc='grow the mask by so many mm, shrink it when negative',
    )
    csf = traits.Enum(
        ExtractionOptions.csf,
        [*CSF, *FORMER_CSF],
        usedefault=True,
        desc='a rim of the CSF around the brain: part of the mask or not',
    )
    within_signal = traits.Bool(
        False,
        usedefault=True,
        desc='leave voxels without signal at the edge of the mask out, as of diffusion images',
    )
    species = traits.Str(
        desc='species of the head, such as rat: a volume that its brain cannot have is flagged'
    )
    mask_only = traits.Bool(
        False, usedefault=True, desc='do not write the masked image, where the mask is enough'
    )
    num_threads = traits.Int(nohash=True, desc='CPU threads')
    out_file = File(desc='name of the masked image')
    out_mask = File(desc='name of the mask')
    out_prob = File(desc='name of the probability map; not written unless given')
    out_sdt = File(desc='name of the distance map; not written unless given')
    out_tiv = File(desc='name of the mask of the intracranial space; not written unless given')


class SkullStripOutputSpec(TraitedSpec):
    """Outputs of `SkullStrip`."""

    out_file = File(desc='image with everything but the brain set to zero')
    out_mask = File(desc='brain mask, uint8')
    out_prob = File(desc='probability of being brain, 0..1')
    out_sdt = File(desc="distance to the mask's border in mm, negative inside")
    out_tiv = File(desc='intracranial space, uint8')
    quality = File(desc='quality record, JSON')


class SkullStrip(BaseInterface):
    """Find the brain in an image of any contrast and species.

    The fields are called as in the SynthStrip interface of NiPreps, so that one can stand in
    for the other. Outputs are written to the node's folder; names given for them must be plain
    file names. `out_prob`, `out_sdt` and `out_tiv` are written only when they are given a name,
    the masked image unless `mask_only` is set.
    Where a GPU fails or has too little memory, the CPU stands in, with a warning.

    Examples
    --------
    >>> strip = SkullStrip(border_mm=1.0)
    >>> strip.inputs.use_gpu
    False
    """

    input_spec = SkullStripInputSpec
    output_spec = SkullStripOutputSpec

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        weights = default_weights()
        if not isdefined(self.inputs.model) and weights.is_file():
            # as an input: a node whose default weights are others now must not keep its old mask
            self.inputs.model = str(weights)

    def _run_interface(self, runtime: Any) -> Any:
        # imported where the network runs, not where workflows are built
        from pumba_pipe.extraction.strip_file import strip_file

        inputs, outputs = self.inputs, self._list_outputs()
        result = strip_file(
            inputs.in_file,
            outputs.get('out_file'),
            outputs['out_mask'],
            outputs.get('out_prob'),
            outputs.get('out_sdt'),
            out_quality=outputs['quality'],
            out_tiv=outputs.get('out_tiv'),
            border_mm=inputs.border_mm,
            csf=inputs.csf,
            device=inputs.device if inputs.use_gpu else 'cpu',
            threads=inputs.num_threads if isdefined(inputs.num_threads) else None,
            within_signal=inputs.within_signal,
            species=inputs.species if isdefined(inputs.species) else '',
            weights=inputs.model if isdefined(inputs.model) else None,
        )
        for note in result.quality.notes:
            logging.getLogger('nipype.interface').warning('%s: %s', inputs.in_file, note)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        names = {
            'out_file': f'{name}_desc-brain.nii.gz',
            'out_mask': f'{name}_desc-brain_mask.nii.gz',
            'quality': f'{name}_desc-brain_quality.json',
        }
        for field in ('out_file', 'out_mask', 'out_prob', 'out_sdt', 'out_tiv'):
            given = getattr(self.inputs, field)
            if isdefined(given):
                names[field] = given
        if self.inputs.mask_only:
            del names['out_file']
        return {field: in_folder(file, field) for field, file in names.items()}


class StripWithManualMaskInputSpec(SkullStripInputSpec):
    """Inputs of `StripWithManualMask`."""

    manual_mask = File(exists=True, mandatory=True, desc="mask to use, on the image's grid")
    manual_sha256 = traits.Str(desc='checksum that it has to have')


class StripWithManualMaskOutputSpec(SkullStripOutputSpec):
    """Outputs of `StripWithManualMask`."""

    network_mask = File(desc="the network's own mask, empty when it found no brain")


class StripWithManualMask(SkullStrip):
    """Use a mask by a person or another tool; the network's own is kept for comparison.

    ``out_mask`` and ``out_file`` are of the manual mask, ``out_prob`` is the network's, and so
    are the figures of the quality record but for the volume and the Dice overlap of the two.

    Examples
    --------
    >>> strip = StripWithManualMask(in_file='head.nii.gz', manual_mask='mask.nii.gz')
    >>> Path(strip._list_outputs()['network_mask']).name
    'head_desc-network_mask.nii.gz'
    """

    input_spec = StripWithManualMaskInputSpec
    output_spec = StripWithManualMaskOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.extraction.manual_mask import put_manual_mask

        outputs = {field: Path(path) for field, path in self._list_outputs().items()}
        manual = Path(self.inputs.manual_mask)
        self._check_manual(manual)
        outputs['network_mask'].unlink(missing_ok=True)
        try:
            runtime = super()._run_interface(runtime)
            outputs['out_mask'].replace(outputs['network_mask'])
        except NothingFoundError as error:
            logging.getLogger('nipype.interface').warning('%s; the manual mask is used', error)
        put_manual_mask(
            Path(self.inputs.in_file),
            manual,
            outputs['network_mask'],
            outputs['quality'],
            outputs['out_mask'],
            outputs.get('out_file'),
            outputs.get('out_prob'),
            self.inputs.species if isdefined(self.inputs.species) else '',
        )
        self._check_manual(manual)
        return runtime

    def _check_manual(self, manual: Path) -> None:
        wanted = self.inputs.manual_sha256
        if isdefined(wanted) and checksum(manual) != wanted:
            raise InputError(f'{manual}: has changed while it was worked on; start the run again')

    def _list_outputs(self) -> dict[str, Any]:
        name = f'{stem(self.inputs.in_file)}_desc-network_mask.nii.gz'
        return {**super()._list_outputs(), 'network_mask': in_folder(name)}
