"""Synthetic heads as a Nipype node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    Directory,
    File,
    OutputMultiPath,
    TraitedSpec,
    traits,
)

from pumba_pipe.interfaces.folder import in_folder
from pumba_pipe.synthesis.dataset_names import MAX_HEADS, MAX_VOXEL_MM, MIN_VOXEL_MM
from pumba_pipe.synthesis.dataset_options import LEAST_SIZE, MOST_SIZE, SynthesisOptions

DEFAULTS = SynthesisOptions()


class SynthesizeHeadsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SynthesizeHeads`."""

    recipe = traits.Str('default', usedefault=True, desc='name of a recipe, or a TOML file')
    count = traits.Range(1, MAX_HEADS, DEFAULTS.count, usedefault=True, desc='number of heads')
    seed = traits.Range(low=0, value=DEFAULTS.seed, usedefault=True, desc='of the whole data set')
    size = traits.Range(
        LEAST_SIZE, MOST_SIZE, DEFAULTS.size, usedefault=True,
        desc='side in voxels of the cube heads are made in',
    )  # fmt: skip
    voxel_mm = traits.Range(
        MIN_VOXEL_MM, MAX_VOXEL_MM, DEFAULTS.voxel_mm, usedefault=True, desc='voxel size'
    )
    suffixes = traits.List(
        traits.Str, list(DEFAULTS.suffixes), minlen=1, usedefault=True,
        desc='given to the images in turn',
    )  # fmt: skip
    out_dir = traits.Str('heads', usedefault=True, desc='name of the folder that is made')


class SynthesizeHeadsOutputSpec(TraitedSpec):
    """Outputs of `SynthesizeHeads`."""

    out_dir = Directory(exists=True, desc='BIDS data set of the heads')
    images = OutputMultiPath(File(exists=True), desc='images')
    labels = OutputMultiPath(File(exists=True), desc='brain masks, in the order of the images')


class SynthesizeHeads(BaseInterface):
    """Write heads made of random shapes, with brain masks, as a BIDS data set.

    Examples
    --------
    >>> found = SynthesizeHeads(count=1, size=16, suffixes=['T1w']).run()
    >>> Path(found.outputs.images).name
    'sub-001_T1w.nii.gz'
    """

    input_spec = SynthesizeHeadsInputSpec
    output_spec = SynthesizeHeadsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.synthesis.dataset import write_heads
        from pumba_pipe.synthesis.recipe import load_recipe

        inputs = self.inputs
        write_heads(
            Path(in_folder(inputs.out_dir, 'out_dir')),
            load_recipe(inputs.recipe),
            SynthesisOptions(
                count=inputs.count,
                seed=inputs.seed,
                size=inputs.size,
                suffixes=inputs.suffixes,
                voxel_mm=inputs.voxel_mm,
            ),
        )
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        from pumba_pipe.synthesis.dataset_names import head_files

        inputs = self.inputs
        folder = Path(in_folder(inputs.out_dir, 'out_dir'))
        files = head_files(inputs.count, inputs.suffixes)
        return {
            'out_dir': str(folder),
            'images': [str(folder / image) for image, _ in files],
            'labels': [str(folder / mask) for _, mask in files],
        }
