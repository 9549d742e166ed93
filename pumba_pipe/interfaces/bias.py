"""Correction of intensity non-uniformity as a Nipype node."""

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

from pumba_pipe.interfaces.folder import in_folder, stem


class N4BiasFieldCorrectionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `N4BiasFieldCorrection`."""

    in_file = File(exists=True, mandatory=True, desc='image')
    mask_file = File(exists=True, desc='voxels the field is estimated from')
    weight_file = File(exists=True, desc='weights, such as a brain mask; those above 0.5 count')
    clip = traits.Tuple(
        traits.Float,
        traits.Float,
        desc='percentiles of non-zero voxels that values are limited to for the estimate',
    )
    shrink_factor = traits.Range(
        1, 32, 4, usedefault=True, desc='the field is estimated on a grid coarser by this factor'
    )
    n_iterations = traits.List(
        traits.Range(low=1),
        [50, 50, 50, 50],
        minlen=1,
        usedefault=True,
        desc='most iterations at each level, coarse to fine',
    )
    num_threads = traits.Int(nohash=True, desc='CPU threads')


class N4BiasFieldCorrectionOutputSpec(TraitedSpec):
    """Outputs of `N4BiasFieldCorrection`."""

    out_file = File(exists=True, desc='corrected image, float32')
    bias_image = File(exists=True, desc='field that was divided out, float32')


class N4BiasFieldCorrection(BaseInterface):
    """Correct intensity non-uniformity with N4, as SimpleITK has it.

    Works in voxel order, so orientation and header do not matter, and both results keep them. An
    image without contrast is passed through, with a warning.

    Examples
    --------
    >>> n4 = N4BiasFieldCorrection(in_file='head.nii.gz', shrink_factor=8, n_iterations=[5, 5])
    >>> found = n4.run()
    >>> Path(found.outputs.out_file).name, Path(found.outputs.bias_image).name
    ('head_corrected.nii.gz', 'head_bias.nii.gz')
    """

    input_spec = N4BiasFieldCorrectionInputSpec
    output_spec = N4BiasFieldCorrectionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.bias import correct_bias_file

        inputs, outputs = self.inputs, self._list_outputs()
        result = correct_bias_file(
            Path(inputs.in_file),
            Path(outputs['out_file']),
            Path(outputs['bias_image']),
            mask_file=Path(inputs.mask_file) if isdefined(inputs.mask_file) else None,
            weight_file=Path(inputs.weight_file) if isdefined(inputs.weight_file) else None,
            clip=tuple(inputs.clip) if isdefined(inputs.clip) else None,
            shrink_factor=inputs.shrink_factor,
            n_iterations=inputs.n_iterations,
            threads=inputs.num_threads if isdefined(inputs.num_threads) else None,
        )
        for note in result.notes:
            logging.getLogger('nipype.interface').warning('%s: %s', inputs.in_file, note)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        return {
            'out_file': in_folder(f'{name}_corrected.nii.gz'),
            'bias_image': in_folder(f'{name}_bias.nii.gz'),
        }
