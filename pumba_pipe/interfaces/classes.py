"""Voxels of a brain sorted by intensity, as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    OutputMultiPath,
    TraitedSpec,
    traits,
)

from pumba_pipe.interfaces.folder import in_folder, stem


class ClassifyIntensitiesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ClassifyIntensities`."""

    in_file = File(exists=True, mandatory=True, desc='image, corrected for non-uniformity')
    in_mask = File(exists=True, mandatory=True, desc='brain mask on the same grid')
    classes = traits.Range(2, 9, 3, usedefault=True, desc='number of classes')


class ClassifyIntensitiesOutputSpec(TraitedSpec):
    """Outputs of `ClassifyIntensities`."""

    out_segm = File(exists=True, desc='classes, 1 the darkest; 0 outside the mask')
    out_tpms = OutputMultiPath(File(exists=True), desc='probability of each class, darkest first')


class ClassifyIntensities(BaseInterface):
    """Sort the voxels of a brain by intensity.

    A mixture of Gaussians is fitted to the histogram. In a T1w image the classes are roughly
    CSF, grey and white matter; nothing is known of anatomy or of neighbouring voxels.

    Examples
    --------
    >>> classify = ClassifyIntensities(in_file='head.nii.gz', in_mask='mask.nii.gz')
    >>> [Path(path).name for path in classify._list_outputs()['out_tpms']]
    ['head_class1.nii.gz', 'head_class2.nii.gz', 'head_class3.nii.gz']
    """

    input_spec = ClassifyIntensitiesInputSpec
    output_spec = ClassifyIntensitiesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.tissue_classes import classify_files

        outputs = self._list_outputs()
        classify_files(
            Path(self.inputs.in_file),
            Path(self.inputs.in_mask),
            Path(outputs['out_segm']),
            [Path(path) for path in outputs['out_tpms']],
        )
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        return {
            'out_segm': in_folder(f'{name}_classes.nii.gz'),
            'out_tpms': [
                in_folder(f'{name}_class{number}.nii.gz')
                for number in range(1, self.inputs.classes + 1)
            ],
        }
