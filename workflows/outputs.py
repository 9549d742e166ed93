"""Sinks: what is written for an image, where, and when it counts as done.

The quality record of an image lies in its mask's sidecar, under ``Quality``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.naming import brain_path, mask_path, node_name, parse_name

from pumba_pipe.interfaces.derivatives import SaveDerivative, sidecar_of

SINKS = ('ds_mask', 'ds_brain')


@dataclass(frozen=True)
class BrainOutputs:
    """The files written for one image.

    Attributes
    ----------
    source : Path
        The image.
    bids_dir, output_dir : Path
    parameters : dict
        What the results depend on besides the image; kept in their sidecars.
    """

    source: Path
    bids_dir: Path
    output_dir: Path
    parameters: dict[str, Any]

    @property
    def mask(self) -> Path:
        """Path of the mask."""
        return self.output_dir / mask_path(parse_name(self.source))

    @property
    def brain(self) -> Path:
        """Path of the masked image."""
        return self.output_dir / brain_path(parse_name(self.source))

    @property
    def source_uri(self) -> str:
        """BIDS URI of the image; ``raw`` is a link of dataset_description.json."""
        return f'bids:raw:{self.source.relative_to(self.bids_dir).as_posix()}'

    def mask_metadata(self) -> dict[str, Any]:
        """Content of the mask's sidecar."""
        return {
            'Type': 'Brain',
            'Description': 'Mask of the brain, on the grid of the image it was made from',
            'Sources': [self.source_uri],
            'SpatialReference': self.source_uri,
            'Manual': False,
            'BrainExtraction': self.parameters,
        }

    def brain_metadata(self) -> dict[str, Any]:
        """Content of the masked image's sidecar."""
        mask_uri = f'bids::{self.mask.relative_to(self.output_dir).as_posix()}'
        return {
            'SkullStripped': True,
            'Description': 'Image with everything outside the brain mask set to zero',
            'Sources': [self.source_uri, mask_uri],
            'BrainExtraction': self.parameters,
        }

    def state(self) -> str:
        """Say what an earlier run left.

        Returns
        -------
        str
            ``'done'``, ``'missing'`` (some or all files), or ``'outdated'``: the image changed
            since, or the mask was made with other weights or options.
        """
        images = (self.mask, self.brain)
        try:
            if min(image.stat().st_size for image in images) == 0:
                return 'missing'
            sidecars = [json.loads(sidecar_of(image).read_text('utf-8')) for image in images]
        except (OSError, ValueError):
            return 'missing'
        if any(sidecar.get('BrainExtraction') != self.parameters for sidecar in sidecars):
            return 'outdated'
        made = min(image.stat().st_mtime for image in images)
        return 'outdated' if self.source.stat().st_mtime > made else 'done'


def init_ds_brain_wf(*, outputs: BrainOutputs, name: str = 'ds_brain_wf') -> pe.Workflow:
    """Write a mask, the masked image and their sidecars to their places.

    Parameters
    ----------
    outputs : BrainOutputs
    name : str

    Inputs
    ------
    out_mask
        Brain mask
    out_file
        Masked image
    quality
        Quality record, JSON
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        IdentityInterface(fields=['out_mask', 'out_file', 'quality']), name='inputnode'
    )
    token = node_name(parse_name(outputs.source))
    targets = (
        ('out_mask', outputs.mask, outputs.mask_metadata()),
        ('out_file', outputs.brain, outputs.brain_metadata()),
    )
    for sink, (field, path, metadata) in zip(SINKS, targets, strict=True):
        node = pe.Node(
            SaveDerivative(out_path=str(path), metadata=metadata),
            name=f'{sink}_{token}',
            mem_gb=0.05,
            # Copying costs less than handing the work to another process, and must not wait
            # for a CPU: else nothing is written until all images are stripped.
            run_without_submitting=True,
            n_procs=0,
        )
        workflow.connect(inputnode, field, node, 'in_file')
        if field == 'out_mask':
            workflow.connect(inputnode, 'quality', node, 'quality')
    return workflow
