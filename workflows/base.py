"""The workflow of one participant, or of one session of a participant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe
from pumba_pipe.workflows.naming import node_name, parse_name
from pumba_pipe.workflows.outputs import BrainOutputs, init_ds_brain_wf
from pumba_pipe.workflows.templates import Template

from pumba_pipe.interfaces.strip import SkullStrip, strip_mem_gb


@dataclass(frozen=True)
class StripSettings:
    """How images are stripped.

    Attributes
    ----------
    weights : Path
    sha256 : str
        Of the weights.
    border_mm : float
    device : str
        A device known to be there: ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.
    num_threads : int
        CPU threads for each image.
    bias_correction : bool
        Correct the image's intensity non-uniformity (N4) before and after stripping.
    spaces : tuple of Template
        Standard spaces to align each image to.
    deformable : bool
        Align with a deformation field too, not an affine alone; needs the extra ``ants``.
    probability : bool
        Write the probability of being brain.
    reports : bool
        Make the pictures of the report.
    sloppy : bool
        Align quickly and roughly, for tests.
    seed : int
        Of what is random in an alignment.
    """

    weights: Path
    sha256: str
    border_mm: float = 0.0
    device: str = 'cpu'
    num_threads: int = 1
    bias_correction: bool = True
    spaces: tuple[Template, ...] = ()
    deformable: bool = False
    probability: bool = False
    reports: bool = True
    sloppy: bool = False
    seed: int = 1

    @property
    def use_gpu(self) -> bool:
        """Whether Nipype has to reserve a GPU."""
        return self.device != 'cpu'

    def parameters(self) -> dict[str, Any]:
        """What the masks depend on, for their sidecars."""
        return {'WeightsSHA256': self.sha256, 'BorderMm': self.border_mm}


def init_participant_wf(
    *,
    images: Sequence[BrainOutputs],
    settings: StripSettings,
    crash_dir: Path,
    name: str = 'participant_wf',
) -> pe.Workflow:
    """Strip all images of a participant, or of one session, and write the derivatives.

    Images do not depend on each other: one that fails leaves the others alone.

    Parameters
    ----------
    images : sequence of BrainOutputs
        The images and where their results go.
    settings : StripSettings
    crash_dir : Path
        Where Nipype writes a file about each node that fails.
    name : str
    """
    workflow = pe.Workflow(name=name)
    workflow.config['execution'] = {'crashdump_dir': str(crash_dir)}
    for outputs in images:
        token = node_name(parse_name(outputs.source))
        strip = pe.Node(
            SkullStrip(
                in_file=str(outputs.source),
                model=str(settings.weights),
                border_mm=settings.border_mm,
                use_gpu=settings.use_gpu,
                device=settings.device,
                num_threads=settings.num_threads,
            ),
            name=f'strip_{token}',
            mem_gb=strip_mem_gb(image_shape(outputs.source)),
            n_procs=settings.num_threads,
        )
        ds_brain_wf = init_ds_brain_wf(outputs=outputs, name=f'ds_{token}_wf')
        workflow.connect(
            [
                (
                    strip,
                    ds_brain_wf,
                    [
                        ('out_mask', 'inputnode.out_mask'),
                        ('out_file', 'inputnode.out_file'),
                        ('quality', 'inputnode.quality'),
                    ],
                )
            ]
        )
    for node_path in workflow.list_node_names():
        # a node would else take the folder of the workflow that this one is put into
        node = workflow.get_node(node_path)
        node.config = {'execution': {'crashdump_dir': str(crash_dir)}}
    return workflow


def image_shape(path: Path) -> tuple[int, ...] | None:
    """Shape in an image's header; None for an image that cannot be read, its node will say why."""
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        return tuple(int(side) for side in image.shape)
    except Exception:  # nibabel's readers raise many kinds on broken files
        return None
