"""Writing a result of a node to its place in a BIDS derivative data set."""

from __future__ import annotations

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
from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.files import atomic_path, image_suffix, write_json


def sidecar_of(image: Path) -> Path:
    """Path of the JSON file that describes an image.

    Examples
    --------
    >>> sidecar_of(Path('sub-01_T1w.nii.gz')).name
    'sub-01_T1w.json'
    """
    return image.with_name(image.name[: len(image.name) - len(image_suffix(image))] + '.json')


def remove(path: Path) -> None:
    """Remove a file.

    Raises
    ------
    OutputError
    """
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f'{path}: cannot replace this file ({error.strerror})') from None


class SaveDerivativeInputSpec(BaseInterfaceInputSpec):
    """Inputs of `SaveDerivative`."""

    in_file = File(exists=True, mandatory=True, desc='result of a node')
    out_path = traits.Str(mandatory=True, desc='where it goes, absolute')
    metadata = traits.Dict(desc='content of the JSON file beside it; without, there is none')
    quality = File(exists=True, desc='JSON file whose content becomes the key Quality')


class SaveDerivativeOutputSpec(TraitedSpec):
    """Outputs of `SaveDerivative`."""

    out_file = File(exists=True, desc='the file in its place')


class SaveDerivative(BaseInterface):
    """Copy a file to its place, with a JSON file beside it when there is something to describe.

    The file is renamed into place last: where it lies, it is complete and described.

    Examples
    --------
    >>> place = Path('out/sub-01/anat/sub-01_desc-brain_mask.nii.gz').absolute()
    >>> save = SaveDerivative(in_file='mask.nii.gz', out_path=str(place))
    >>> save.inputs.metadata = {'Type': 'Brain'}
    >>> Path(save.run().outputs.out_file).name
    'sub-01_desc-brain_mask.nii.gz'
    >>> json.loads(sidecar_of(place).read_text())
    {'Type': 'Brain'}
    """

    input_spec = SaveDerivativeInputSpec
    output_spec = SaveDerivativeOutputSpec
    # what an earlier run wrote may be gone by now
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        target = Path(self.inputs.out_path)
        if isdefined(self.inputs.metadata):
            self._describe(target)
        with atomic_path(target) as partial:
            shutil.copyfile(self.inputs.in_file, partial)
        return runtime

    def _describe(self, target: Path) -> None:
        metadata = dict(self.inputs.metadata)
        if isdefined(self.inputs.quality):
            metadata['Quality'] = read_json(Path(self.inputs.quality))
        if target.exists():
            # never an old image beside a new description, should this run be killed
            remove(target)
        write_json(sidecar_of(target), metadata)

    def _list_outputs(self) -> dict[str, Any]:
        return {'out_file': self.inputs.out_path}
