"""Registration to a template as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from pumba_pipe.interfaces.folder import in_folder, stem
from pumba_pipe.registration.options import RegistrationOptions, Transform


class RegisterToTemplateInputSpec(BaseInterfaceInputSpec):
    """Inputs of `RegisterToTemplate`."""

    in_file = File(exists=True, mandatory=True, desc='image')
    in_mask = File(exists=True, desc='brain mask of the image')
    template = File(exists=True, mandatory=True, desc='template')
    template_mask = File(exists=True, desc='brain mask of the template')
    transform = traits.Enum(
        RegistrationOptions.transform,
        get_args(Transform),
        usedefault=True,
        desc='syn adds a deformation and needs antspyx',
    )
    sloppy = traits.Bool(
        RegistrationOptions.sloppy, usedefault=True, desc='quick and rough, for tests'
    )
    seed = traits.Range(
        low=1,
        value=RegistrationOptions.seed,
        usedefault=True,
        desc='of the voxels that are compared',
    )
    num_threads = traits.Int(nohash=True, desc='CPU threads')


class RegisterToTemplateOutputSpec(TraitedSpec):
    """Outputs of `RegisterToTemplate`."""

    forward_xfm = File(exists=True, desc='ITK transform that resamples in_file onto the template')
    inverse_xfm = File(exists=True, desc='ITK transform that resamples the template onto in_file')
    warped_file = File(exists=True, desc='in_file on the grid of the template')
    warped_mask = File(desc='in_mask on the grid of the template; only with in_mask')


class RegisterToTemplate(BaseInterface):
    """Find the transform between an image and a template.

    Transforms are ITK's: points of the template's space to points of the image's, in LPS mm. They
    are text files for ``affine`` and composite HDF5 files for ``syn``.

    Examples
    --------
    >>> register = RegisterToTemplate(in_file='head.nii.gz', template='head.nii.gz', sloppy=True)
    >>> found = register.run()
    >>> Path(found.outputs.forward_xfm).name, Path(found.outputs.warped_file).name
    ('head_to-template_xfm.txt', 'head_space-template.nii.gz')
    """

    input_spec = RegisterToTemplateInputSpec
    output_spec = RegisterToTemplateOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.registration.register import register_files

        inputs = self.inputs
        outputs = {name: Path(path) for name, path in self._list_outputs().items()}
        register_files(
            Path(inputs.in_file),
            Path(inputs.template),
            in_mask=Path(inputs.in_mask) if isdefined(inputs.in_mask) else None,
            template_mask=(
                Path(inputs.template_mask) if isdefined(inputs.template_mask) else None
            ),
            transform=inputs.transform,
            sloppy=inputs.sloppy,
            seed=inputs.seed,
            threads=inputs.num_threads if isdefined(inputs.num_threads) else None,
            **outputs,
        )
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        name = stem(self.inputs.in_file)
        suffix = '.txt' if self.inputs.transform == 'affine' else '.h5'
        names = {
            'forward_xfm': f'{name}_to-template_xfm{suffix}',
            'inverse_xfm': f'{name}_from-template_xfm{suffix}',
            'warped_file': f'{name}_space-template.nii.gz',
        }
        if isdefined(self.inputs.in_mask):
            names['warped_mask'] = f'{name}_space-template_mask.nii.gz'
        return {field: in_folder(file) for field, file in names.items()}
