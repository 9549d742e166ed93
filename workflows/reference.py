"""References of BOLD, ASL and diffusion series, and their brain masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.companions import m0_sidecar
from pumba_pipe.workflows.modalities import modality_of
from pumba_pipe.workflows.outputs import BrainOutputs

from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.interfaces.memory import reference_mem_gb, strip_mem_gb
from pumba_pipe.interfaces.reference import MakeReference
from pumba_pipe.interfaces.strip import SkullStrip


def reference_node(outputs: BrainOutputs, shape: Sequence[int] | None = None) -> pe.Node:
    """Make the node that makes one volume of an image of the BIDS-App.

    Parameters
    ----------
    outputs : BrainOutputs
        The image, of a kind that may be a series.
    shape : sequence of int, optional
        Of the image, for the memory to reserve.
    """
    found, volumes = outputs.companions, modality_of(outputs.name.suffix).volumes
    make = MakeReference(diffusion=volumes == 'b0')
    given = {'bval_file': found.b_values, 'context_file': found.context, 'm0_file': found.m0}
    make.inputs.trait_set(**{field: str(path) for field, path in given.items() if path})
    if volumes == 'asl':  # by these the M0 image was found, or none
        m0_files = [m0_sidecar(found.m0)] if found.m0 else []
        read = [*found.sidecars, *(path for path in m0_files if path.exists())]
        make.inputs.sidecar_files = [str(path) for path in read]
    if volumes == 'frames':
        make.inputs.frame_files = [str(path) for path in found.sidecars]
    return pe.Node(make, name='reference', mem_gb=reference_mem_gb(shape))


def init_reference_wf(
    *,
    diffusion: bool = False,
    weights: Path | None = None,
    border_mm: float = ExtractionOptions.border_mm,
    use_gpu: bool = False,
    num_threads: int = 1,
    shape: Sequence[int] | None = None,
    name: str = 'reference_wf',
) -> pe.Workflow:
    """Make one volume of a series, and find the brain in it.

    The reference of a BOLD or ASL series is the mean of its volumes without outliers, that of a
    diffusion series the mean of its b0 volumes. Where the head moved between them, they are
    aligned to the best one first.

    Parameters
    ----------
    diffusion : bool
        The series is a diffusion series; `bval_file` has to be given.
    weights : Path, optional
        Default: the shipped ones.
    border_mm : float
        Grow the mask by so many mm, shrink it when negative.
    use_gpu : bool
        Run the network on a GPU, and have Nipype reserve one.
    num_threads : int
    shape : sequence of int, optional
        Of the series, for the memory to reserve.
    name : str

    Inputs
    ------
    in_file
        Series, or a single volume
    bval_file
        b-values; only of a diffusion series

    Outputs
    -------
    reference
        Mean of the volumes that were used
    record
        Which volumes were used and which dropped, JSON
    out_mask
        Brain mask
    out_file
        ``reference`` with everything outside the mask set to zero
    quality
        Quality record of the mask, JSON

    Examples
    --------
    >>> wf = init_reference_wf(diffusion=True)
    >>> sorted(wf.get_node('inputnode').outputs.get())
    ['bval_file', 'in_file']
    """
    workflow = pe.Workflow(name=name)
    fields = ['in_file', *(['bval_file'] if diffusion else [])]
    inputnode = pe.Node(IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(
        IdentityInterface(fields=['reference', 'record', 'out_mask', 'out_file', 'quality']),
        name='outputnode',
    )
    reference = pe.Node(MakeReference(), name='reference', mem_gb=reference_mem_gb(shape))
    strip = pe.Node(
        SkullStrip(border_mm=border_mm, use_gpu=use_gpu, num_threads=num_threads),
        name='strip',
        mem_gb=strip_mem_gb(shape[:3] if shape else None),
        n_procs=num_threads,
    )
    if weights is not None:
        strip.inputs.model = str(weights)
    workflow.connect(
        [
            (inputnode, reference, [(field, field) for field in fields]),
            (reference, strip, [('out_file', 'in_file')]),
            (reference, outputnode, [('out_file', 'reference'), ('record', 'record')]),
            (
                strip,
                outputnode,
                [(field, field) for field in ('out_mask', 'out_file', 'quality')],
            ),
        ]
    )
    return workflow
