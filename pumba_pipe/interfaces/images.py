"""Small steps around skull stripping as Nipype nodes: conform, clip, mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import BaseInterface, BaseInterfaceInputSpec, File, TraitedSpec, traits

from pumba_pipe.interfaces.folder import in_folder, stem


class _OneFile(BaseInterface):
    """A node that makes one image of another."""

    _suffix = ''

    def _list_outputs(self) -> dict[str, Any]:
        name = f'{stem(self.inputs.in_file)}_{self._suffix}.nii.gz'
        return {'out_file': in_folder(name)}


class ImageOutputSpec(TraitedSpec):
    """Output of the nodes of this module."""

    out_file = File(exists=True, desc='the image that was made')


class ConformInputSpec(BaseInterfaceInputSpec):
    """Inputs of `Conform`."""

    in_file = File(exists=True, mandatory=True, desc='image in any format that nibabel reads')


class Conform(_OneFile):
    """Make a 3D NIfTI image of finite values that every tool reads alike.

    The voxel grid stays as it is: nothing is cropped, turned or resampled. Of a 4D image the
    mean is taken as `pumba_pipe.load_volume` does. Both orientations in the header are set to
    the affine that nibabel uses.

    Examples
    --------
    >>> found = Conform(in_file='head.nii.gz').run()
    >>> Path(found.outputs.out_file).name
    'head_conformed.nii.gz'
    """

    input_spec = ConformInputSpec
    output_spec = ImageOutputSpec
    _suffix = 'conformed'

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.conform import conform_file

        conform_file(Path(self.inputs.in_file), Path(self._list_outputs()['out_file']))
        return runtime


class ClipIntensitiesInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ClipIntensities`."""

    in_file = File(exists=True, mandatory=True, desc='image')
    lower = traits.Range(
        0.0, 100.0, 10.0, usedefault=True, desc='lower limit, a percentile of non-zero voxels'
    )
    upper = traits.Range(
        0.0, 100.0, 99.9, usedefault=True, desc='upper limit, a percentile of non-zero voxels'
    )


class ClipIntensities(_OneFile):
    """Limit an image's values to percentiles of its non-zero voxels.

    Examples
    --------
    >>> found = ClipIntensities(in_file='head.nii.gz', upper=99.0).run()
    >>> Path(found.outputs.out_file).name
    'head_clipped.nii.gz'
    """

    input_spec = ClipIntensitiesInputSpec
    output_spec = ImageOutputSpec
    _suffix = 'clipped'

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.conform import clip_file

        inputs = self.inputs
        target = Path(self._list_outputs()['out_file'])
        clip_file(Path(inputs.in_file), target, inputs.lower, inputs.upper)
        return runtime


class ApplyMaskInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ApplyMask`."""

    in_file = File(exists=True, mandatory=True, desc='image, 3D or 4D')
    in_mask = File(exists=True, mandatory=True, desc='mask on the same grid')


class ApplyMask(_OneFile):
    """Set everything outside a mask to zero; data type and header stay as they are.

    Examples
    --------
    >>> found = ApplyMask(in_file='head.nii.gz', in_mask='mask.nii.gz').run()
    >>> Path(found.outputs.out_file).name
    'head_masked.nii.gz'
    """

    input_spec = ApplyMaskInputSpec
    output_spec = ImageOutputSpec
    _suffix = 'masked'

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.preprocessing.conform import mask_file

        inputs = self.inputs
        target = Path(self._list_outputs()['out_file'])
        mask_file(Path(inputs.in_file), Path(inputs.in_mask), target)
        return runtime
