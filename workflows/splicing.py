"""Brain extraction in place of a part that other workflows have tagged for it, as in NiBabies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.anat import final_n4

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import available_cpus
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.interfaces.images import ApplyMask
from pumba_pipe.interfaces.memory import bias_mem_gb, image_mem_gb, strip_mem_gb
from pumba_pipe.interfaces.strip import SkullStrip

TAG = 'anat.brain-extraction'
# What the function in NiBabies takes and this one has no use for: no age, no template, no ANTs.
TOLERATED = (
    'age_months', 'ants_affine_init', 'bspline_fitting_distance', 'skull_strip_template',
    'template_specs', 'mem_gb', 'debug',
)  # fmt: skip
INPUT = 't2w_preproc'
OUTPUTS = ('t2w_preproc', 't2w_brain', 'out_mask', 'out_probmap')
PROBABILITY = 'probability.nii.gz'


def init_infant_brain_extraction_wf(
    *,
    omp_nthreads: int | None = None,
    sloppy: bool = False,
    weights: Path | None = None,
    border_mm: float = ExtractionOptions.border_mm,
    use_gpu: bool = False,
    name: str = 'infant_brain_extraction_wf',
    **tolerated: Any,
) -> pe.Workflow:
    """Extract the brain, with the fields of the function of the same name in NiBabies.

    Strip, clip, N4 weighted by the brain mask, apply the mask. `splice_brain_extraction` puts it
    into a workflow that is built already.

    Parameters
    ----------
    omp_nthreads : int, optional
        CPU threads of a node; default: the CPUs that this process may use.
    sloppy : bool
        Correct intensities quickly and roughly.
    weights : Path, optional
        Default: the shipped ones.
    border_mm : float
        Grow the mask by so many mm, shrink it when negative.
    use_gpu : bool
        Run the network on a GPU, and have Nipype reserve one.
    name : str
    **tolerated
        Arguments of the original that have to do with age, templates and ANTs; they change
        nothing.

    Inputs
    ------
    t2w_preproc
        The image, T2w or any other: the original calls it so for T1w images too

    Outputs
    -------
    t2w_preproc
        The image corrected for intensity non-uniformity
    t2w_brain
        The same with everything outside the mask set to zero
    out_mask
        Brain mask
    out_probmap
        Probability of being brain, 0..1

    Raises
    ------
    TypeError
        An argument that the original does not have either.

    Examples
    --------
    >>> wf = init_infant_brain_extraction_wf(omp_nthreads=1, age_months=2)
    >>> sorted(wf.get_node('outputnode').outputs.get())
    ['out_mask', 'out_probmap', 't2w_brain', 't2w_preproc']
    """
    unknown = sorted(set(tolerated) - set(TOLERATED))
    if unknown:
        raise TypeError(f'init_infant_brain_extraction_wf has no argument {", ".join(unknown)}')
    threads = omp_nthreads if omp_nthreads and omp_nthreads > 0 else available_cpus()
    workflow = pe.Workflow(name=name)
    workflow._tag = TAG
    inputnode = pe.Node(IdentityInterface(fields=[INPUT]), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name='outputnode')
    strip = pe.Node(
        SkullStrip(
            border_mm=border_mm,
            use_gpu=use_gpu,
            num_threads=threads,
            mask_only=True,
            out_prob=PROBABILITY,
        ),
        name='strip',
        mem_gb=strip_mem_gb(),
        n_procs=threads,
    )
    if weights is not None:
        strip.inputs.model = str(weights)
    inu_n4_final = pe.Node(
        final_n4(threads, sloppy), name='inu_n4_final', mem_gb=bias_mem_gb(), n_procs=threads
    )
    apply_mask = pe.Node(ApplyMask(), name='apply_mask', mem_gb=image_mem_gb())
    workflow.connect(
        [
            (inputnode, strip, [(INPUT, 'in_file')]),
            (inputnode, inu_n4_final, [(INPUT, 'in_file')]),
            (strip, inu_n4_final, [('out_mask', 'weight_file')]),
            (strip, apply_mask, [('out_mask', 'in_mask')]),
            (inu_n4_final, apply_mask, [('out_file', 'in_file')]),
            (strip, outputnode, [('out_mask', 'out_mask'), ('out_prob', 'out_probmap')]),
            (inu_n4_final, outputnode, [('out_file', 't2w_preproc')]),
            (apply_mask, outputnode, [('out_file', 't2w_brain')]),
        ]
    )
    return workflow


def splice_brain_extraction(workflow: pe.Workflow, **settings: Any) -> pe.Workflow:
    """Put our brain extraction in place of every part tagged ``anat.brain-extraction``.

    The work is done by `niworkflows.engine.splicer.splice_workflow`. That passes over parts it
    does not reach and says nothing: this function finds all of them, or raises.

    Parameters
    ----------
    workflow : Workflow
        Is changed. Ours takes the name of the part it replaces.
    **settings
        Of `init_infant_brain_extraction_wf`, but for the name.

    Returns
    -------
    Workflow
        The same workflow.

    Raises
    ------
    InputError
        There is no such part, or it is connected by fields that ours does not have, or
        niworkflows is not installed.

    Examples
    --------
    >>> whole = pe.Workflow(name='whole')
    >>> whole.add_nodes([init_infant_brain_extraction_wf(omp_nthreads=1, name='skull_strip')])
    >>> splice_brain_extraction(whole, omp_nthreads=2).list_node_names()[1]
    'skull_strip.inputnode'
    """
    try:
        from niworkflows.engine.splicer import splice_workflow
    except ImportError:
        raise InputError(
            'niworkflows 1.13 or later is not installed: pip install niworkflows'
        ) from None
    found = list(_tagged_parts(workflow))
    if not found:
        raise InputError(
            f'workflow {workflow.name}: no part of it is tagged {TAG}; where a function makes '
            'that part, put init_brain_extraction_wf in its place'
        )
    for parent, part in found:
        _check_connections(parent, part)
    for parent, part in found:
        # One part at a time, from the workflow it is in: of several with one tag niworkflows
        # replaces the last, and into workflows without connections it does not look.
        part._tag = f'{TAG} {part.fullname}'
        ours = init_infant_brain_extraction_wf(name=part.name, **settings)
        splice_workflow(parent, {part._tag: ours})
    return workflow


def _tagged_parts(workflow: pe.Workflow) -> Iterator[tuple[pe.Workflow, Any]]:
    """Give the tagged parts, each with the workflow it is in."""
    for part in workflow._graph.nodes:
        if getattr(part, '_tag', None) == TAG:
            yield workflow, part
        elif isinstance(part, pe.Workflow):
            yield from _tagged_parts(part)


def _check_connections(parent: pe.Workflow, part: Any) -> None:
    """Refuse a part whose connections lead to fields that ours does not have."""
    incoming = parent._graph.in_edges(part, data='connect')
    outgoing = parent._graph.out_edges(part, data='connect')
    used = {target for *_, pairs in incoming for _, target in pairs}
    for *_, pairs in outgoing:
        used |= {source[0] if isinstance(source, tuple) else source for source, _ in pairs}
    known = {f'inputnode.{INPUT}', *(f'outputnode.{name}' for name in OUTPUTS)}
    if used - known:
        raise InputError(
            f'{part.fullname}: is connected by {", ".join(sorted(used - known))}; ours has '
            f'{", ".join(sorted(known))}'
        )
