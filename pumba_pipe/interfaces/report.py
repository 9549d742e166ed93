"""The figures of a report as a Nipype node."""

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

from pumba_pipe.reports.naming import figure_names


class QualityReportInputSpec(BaseInterfaceInputSpec):
    """Inputs of `QualityReport`."""

    in_file = File(exists=True, mandatory=True, desc='image of a head; names the outputs')
    in_mask = File(exists=True, mandatory=True, desc="brain mask, on the image's own grid")
    network_mask = File(exists=True, desc="the network's own mask, where in_mask is a manual one")
    quality = File(exists=True, desc='quality record, JSON; its figures stand on the mosaic')


class QualityReportOutputSpec(TraitedSpec):
    """Outputs of `QualityReport`."""

    mosaic = File(desc='slices in three planes with the outline of the mask, PNG')
    before_after = File(desc='the image above, without skull below, PNG')
    thumbnail = File(desc='a slice in each plane with the outline of the mask, JPEG')
    viewer = File(desc='image and mask for the slice viewer, JSON')


class QualityReport(BaseInterface):
    """Draw what a person needs to judge a mask.

    The files are called as in `pumba_pipe.reports.naming.figure_names` and lie in the node's
    folder.

    Examples
    --------
    >>> sorted(QualityReport().output_spec().get().keys() & {'mosaic', 'thumbnail', 'viewer'})
    ['mosaic', 'thumbnail', 'viewer']
    """

    input_spec = QualityReportInputSpec
    output_spec = QualityReportOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.reports.figures import write_figures

        quality = Path(self.inputs.quality) if isdefined(self.inputs.quality) else None
        network = Path(self.inputs.network_mask) if isdefined(self.inputs.network_mask) else None
        write_figures(
            Path(self.inputs.in_file), Path(self.inputs.in_mask), self._paths(), quality, network
        )
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {name: str(path) for name, path in self._paths().items()}

    def _paths(self) -> dict[str, Path]:
        names = figure_names(Path(self.inputs.in_file))
        return {figure: Path.cwd() / name for figure, name in names.items()}
