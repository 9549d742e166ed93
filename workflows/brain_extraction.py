"""Brain extraction in place of the function of the same name in niworkflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.anat import final_n4, first_n4

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.resources import available_cpus
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.interfaces.classes import ClassifyIntensities
from pumba_pipe.interfaces.images import ApplyMask
from pumba_pipe.interfaces.memory import bias_mem_gb, image_mem_gb, strip_mem_gb
from pumba_pipe.interfaces.strip import SkullStrip

# What the function in niworkflows takes and this one has no use for: no template, no ANTs.
TOLERATED = (
    'in_template', 'template_spec', 'use_float', 'mem_gb', 'bids_suffix',
    'atropos_refine', 'atropos_use_random_seed', 'atropos_model',
    'use_laplacian', 'bspline_fitting_distance',
)  # fmt: skip
OUTPUTS = ('out_file', 'out_mask', 'bias_corrected', 'bias_image', 'out_segm', 'out_tpms')


def init_brain_extraction_wf(
    *,
    omp_nthreads: int | None = None,
    normalization_quality: str = 'precise',
    weights: Path | None = None,
    border_mm: float = ExtractionOptions.border_mm,
    use_gpu: bool = False,
    n4: Literal['mask', 'both'] = 'mask',
    name: str = 'brain_extraction_wf',
    **tolerated: Any,
) -> pe.Workflow:
    """Extract the brain, with the fields of `niworkflows.anat.ants.init_brain_extraction_wf`.

    Strip, clip, N4 weighted by the brain mask, apply the mask. Where that function is imported by
    name, as in sMRIPrep, this one can be put in its place.

    Parameters
    ----------
    omp_nthreads : int, optional
        CPU threads of a node; default: the CPUs that this process may use.
    normalization_quality : str
        ``'testing'`` corrects intensities quickly and roughly.
    weights : Path, optional
        Default: the shipped ones.
    border_mm : float
        Grow the mask by so many mm, shrink it when negative.
    use_gpu : bool
        Run the network on a GPU, and have Nipype reserve one.
    n4 : str
        ``'both'`` corrects the first image before it is stripped, too.
    name : str
    **tolerated
        Arguments of the original that have to do with templates and ANTs; they change nothing.

    Inputs
    ------
    in_files : list
        Images on one grid. The brain is found in the first.
    in_mask
        Taken and not used: the original limits its registration to it

    Outputs
    -------
    out_file : list
        ``bias_corrected`` with everything outside the mask set to zero
    out_mask
        Brain mask
    bias_corrected : list
        Images corrected for intensity non-uniformity
    bias_image : list
        Fields that were divided out
    out_segm
        Classes of intensity in the first image: 1 dark, 2 between, 3 bright. In a T1w image
        these are roughly CSF, grey and white matter, the order of the original's classes;
        sMRIPrep lets FreeSurfer's mask grow into class 2. Not a segmentation by anatomy.
    out_tpms : list
        Probability of each of these classes

    Raises
    ------
    TypeError
        An argument that the original does not have either.
    InputError
        `n4` is something else.

    Examples
    --------
    >>> wf = init_brain_extraction_wf(omp_nthreads=1, normalization_quality='testing')
    >>> sorted(wf.get_node('outputnode').outputs.get())
    ['bias_corrected', 'bias_image', 'out_file', 'out_mask', 'out_segm', 'out_tpms']
    """
    unknown = sorted(set(tolerated) - set(TOLERATED))
    if unknown:
        raise TypeError(f'init_brain_extraction_wf has no argument {", ".join(unknown)}')
    if n4 not in ('mask', 'both'):
        raise InputError(f'n4 {n4!r}: must be mask or both')
    threads = omp_nthreads if omp_nthreads and omp_nthreads > 0 else available_cpus()
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=['in_files', 'in_mask']), name='inputnode')
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name='outputnode')
    nodes: dict[str, Any] = {'mem_gb': bias_mem_gb(), 'n_procs': threads}
    sloppy = normalization_quality == 'testing'
    inu_n4_final = pe.MapNode(
        final_n4(threads, sloppy), iterfield=['in_file'], name='inu_n4_final', **nodes
    )
    strip = pe.Node(
        SkullStrip(border_mm=border_mm, use_gpu=use_gpu, num_threads=threads, mask_only=True),
        name='strip',
        mem_gb=strip_mem_gb(),
        n_procs=threads,
    )
    if weights is not None:
        strip.inputs.model = str(weights)
    if n4 == 'both':
        inu_n4 = pe.Node(first_n4(threads, sloppy), name='inu_n4', **nodes)
        workflow.connect(
            [
                (inputnode, inu_n4, [(('in_files', first), 'in_file')]),
                (inu_n4, strip, [('out_file', 'in_file')]),
            ]
        )
    else:
        workflow.connect([(inputnode, strip, [(('in_files', first), 'in_file')])])
    apply_mask = pe.MapNode(
        ApplyMask(), iterfield=['in_file'], name='apply_mask', mem_gb=image_mem_gb()
    )
    classify = pe.Node(ClassifyIntensities(), name='classify', mem_gb=image_mem_gb())
    workflow.connect(
        [
            (inputnode, inu_n4_final, [('in_files', 'in_file')]),
            (strip, inu_n4_final, [('out_mask', 'weight_file')]),
            (inu_n4_final, apply_mask, [('out_file', 'in_file')]),
            (strip, apply_mask, [('out_mask', 'in_mask')]),
            (inu_n4_final, classify, [(('out_file', first), 'in_file')]),
            (strip, classify, [('out_mask', 'in_mask')]),
            (strip, outputnode, [('out_mask', 'out_mask')]),
            (
                inu_n4_final,
                outputnode,
                [('out_file', 'bias_corrected'), ('bias_image', 'bias_image')],
            ),
            (apply_mask, outputnode, [('out_file', 'out_file')]),
            (classify, outputnode, [('out_segm', 'out_segm'), ('out_tpms', 'out_tpms')]),
        ]
    )
    return workflow


def first(files: list[str] | str) -> str:
    """First of several files; a file that stands alone."""
    return files if isinstance(files, str) else files[0]
