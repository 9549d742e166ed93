"""Preparation of anatomical images: brain extraction, intensity correction, standard spaces.

An image is stripped as it is, then clipped and corrected (N4) with the brain mask as weights, and
the mask is applied. On request it is corrected before it is stripped, too, as MRIQC does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.manual_masks import ManualMask
from pumba_pipe.workflows.naming import parse_name
from pumba_pipe.workflows.registration import FIELDS as REGISTERED
from pumba_pipe.workflows.registration import init_registration_wf
from pumba_pipe.workflows.settings import StripSettings

from pumba_pipe.interfaces.bias import N4BiasFieldCorrection
from pumba_pipe.interfaces.images import ApplyMask, Conform
from pumba_pipe.interfaces.memory import bias_mem_gb, image_mem_gb, report_mem_gb, strip_mem_gb
from pumba_pipe.interfaces.report import QualityReport
from pumba_pipe.interfaces.strip import SkullStrip, StripWithManualMask

CLIP = (10.0, 99.9)  # percentiles
FIRST_SHRINK = 8  # masks are as good as with 4, in less than a third of the time
SLOPPY_ITERATIONS = [5, 5]  # at each level
FOUND = ('bias_corrected', 'out_mask', 'out_file', 'quality')
NETWORK = ('network_mask',)  # with a manual mask
FIGURES = ('mosaic', 'before_after', 'thumbnail', 'viewer')


def init_anat_preproc_wf(
    *, images: Sequence[Path], settings: StripSettings, name: str = 'anat_preproc_wf'
) -> pe.Workflow:
    """Prepare several images of a person: any runs and modalities, each for itself.

    Parameters
    ----------
    images : sequence of Path
        Need not exist yet; their names say which are corrected for intensity non-uniformity.
    settings : StripSettings
    name : str

    Outputs
    -------
    bias_corrected, out_mask, out_file, quality, bias_image, out_prob
        Lists in the order of `images`; see `init_image_preproc_wf`. ``bias_image`` needs images
        that are all corrected, ``out_prob`` settings that ask for it.
    forward_xfm, inverse_xfm, warped_file, warped_mask
        Lists in the order of `images`, for each image in that of the spaces; only with spaces.

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...')
    >>> images = [Path('sub-01_T1w.nii.gz'), Path('sub-01_T2w.nii.gz')]
    >>> wf = init_anat_preproc_wf(images=images, settings=settings)
    >>> [part for part in wf.list_node_names() if part.endswith('.strip')]
    ['image0_wf.strip', 'image1_wf.strip']
    """
    workflow = pe.Workflow(name=name)
    suffixes = [parse_name(image).suffix for image in images]
    fields = found_fields(settings, all(map(settings.n4_applies, suffixes)))
    parts = []
    for number, (image, suffix) in enumerate(zip(images, suffixes, strict=True)):
        part = init_image_preproc_wf(settings=settings, suffix=suffix, name=f'image{number}_wf')
        part.inputs.inputnode.in_file = str(image)
        parts.append(part)
    outputnode = pe.Node(
        IdentityInterface(fields=[*fields, *(REGISTERED if settings.spaces else ())]),
        name='outputnode',
    )
    for field in fields:
        sources = [(part, f'outputnode.{field}') for part in parts]
        _collect(workflow, outputnode, field, sources)
    if settings.spaces:
        registrations = [
            _register(workflow, part, settings, index, f'image{number}_space{index}_wf')
            for number, part in enumerate(parts)
            for index in range(len(settings.spaces))
        ]
        for field in REGISTERED:
            _collect(
                workflow, outputnode, field, [(p, f'outputnode.{field}') for p in registrations]
            )
    return workflow


def init_image_preproc_wf(
    *,
    settings: StripSettings,
    suffix: str = 'T1w',
    shape: Sequence[int] | None = None,
    manual: ManualMask | None = None,
    within_signal: bool = False,
    species: str = '',
    name: str = 'image_preproc_wf',
) -> pe.Workflow:
    """Strip one image and correct it for intensity non-uniformity.

    Without correction, the masked image keeps the type of its values.

    Parameters
    ----------
    settings : StripSettings
    suffix : str
        BIDS suffix of the image: maps of physical values are not corrected.
    shape : sequence of int, optional
        Of the image, for the memory to reserve.
    manual : ManualMask, optional
        A mask that takes the place of the network's.
    within_signal : bool
        Leave voxels out of the network's mask that have no signal.
    species : str
        Flags a volume that a brain of it cannot have; empty: nothing is compared.
    name : str

    Inputs
    ------
    in_file
        Image in any format that nibabel reads, 3D or 4D

    Outputs
    -------
    bias_corrected
        Whole image after the correction; as one plain volume when it is not corrected
    bias_image
        Field that was divided out; only when the image is corrected
    out_mask
        Brain mask on the image's own grid
    network_mask
        The network's own mask, where a manual one takes its place
    out_file
        ``bias_corrected`` with everything outside the mask set to zero
    out_prob
        Probability of being brain, when it was asked for
    quality
        Quality record, JSON
    mosaic, before_after, thumbnail, viewer
        Figures, when they were asked for

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...', reports=False)
    >>> wf = init_image_preproc_wf(settings=settings)
    >>> sorted(wf.list_node_names())
    ['apply_mask', 'inputnode', 'inu_n4_final', 'outputnode', 'strip']
    """
    workflow = pe.Workflow(name=name)
    corrected = settings.n4_applies(suffix)
    fields = found_fields(settings, corrected)
    inputnode = pe.Node(IdentityInterface(fields=['in_file']), name='inputnode')
    outputnode = pe.Node(
        IdentityInterface(
            fields=[*fields, *NETWORK[: bool(manual)], *(FIGURES if settings.reports else ())]
        ),
        name='outputnode',
    )
    strip = strip_node(settings, shape, manual)
    strip.inputs.within_signal = within_signal
    if species:
        strip.inputs.species = species
    found = ['out_mask', 'quality', *(['out_prob'] if settings.probability else [])]
    found += NETWORK[: bool(manual)]
    workflow.connect([(strip, outputnode, [(field, field) for field in found])])
    if settings.n4_before(suffix):
        inu_n4 = pe.Node(
            first_n4(settings.num_threads, settings.sloppy),
            name='inu_n4',
            mem_gb=bias_mem_gb(shape),
            n_procs=settings.num_threads,
        )
        workflow.connect(
            [
                (inputnode, inu_n4, [('in_file', 'in_file')]),
                (inu_n4, strip, [('out_file', 'in_file')]),
            ]
        )
    else:
        workflow.connect(inputnode, 'in_file', strip, 'in_file')
    if corrected:
        # the masked image is made of the corrected one
        strip.inputs.mask_only = True
        _connect_corrected(workflow, inputnode, strip, outputnode, settings, shape)
    else:
        conform = pe.Node(Conform(), name='conform', mem_gb=image_mem_gb(shape))
        workflow.connect(
            [
                (inputnode, conform, [('in_file', 'in_file')]),
                (conform, outputnode, [('out_file', 'bias_corrected')]),
                (strip, outputnode, [('out_file', 'out_file')]),
            ]
        )
    if settings.reports:
        report = pe.Node(QualityReport(), name='report', mem_gb=report_mem_gb(shape))
        workflow.connect(
            [
                (inputnode, report, [('in_file', 'in_file')]),
                (strip, report, [('out_mask', 'in_mask'), ('quality', 'quality')]),
                (report, outputnode, [(figure, figure) for figure in FIGURES]),
            ]
        )
        if manual:
            workflow.connect(strip, 'network_mask', report, 'network_mask')
    return workflow


def found_fields(settings: StripSettings, corrected: bool) -> tuple[str, ...]:
    """Outputs of `init_image_preproc_wf`, but for figures."""
    bias = ('bias_image',) if corrected else ()
    probability = ('out_prob',) if settings.probability else ()
    return (*FOUND, *bias, *probability)


def strip_node(
    settings: StripSettings,
    shape: Sequence[int] | None = None,
    manual: ManualMask | None = None,
) -> pe.Node:
    """Make the node that finds the brain, or takes a manual mask for it."""
    interface = StripWithManualMask if manual else SkullStrip
    strip = pe.Node(
        interface(
            model=str(settings.weights),
            border_mm=settings.border_mm,
            csf=settings.csf,
            use_gpu=settings.use_gpu,
            device=settings.device,
            num_threads=settings.num_threads,
        ),
        name='strip',
        mem_gb=strip_mem_gb(shape),
        n_procs=settings.num_threads,
    )
    if settings.probability:
        strip.inputs.out_prob = 'probability.nii.gz'
    if manual:
        strip.inputs.trait_set(manual_mask=str(manual.path), manual_sha256=manual.sha256)
    return strip


def first_n4(num_threads: int, sloppy: bool = False) -> N4BiasFieldCorrection:
    """Make the correction before stripping, on a coarse grid: the whole image takes part."""
    return _n4(num_threads, sloppy, shrink_factor=FIRST_SHRINK)


def final_n4(num_threads: int, sloppy: bool = False) -> N4BiasFieldCorrection:
    """Make the correction after stripping, where the brain alone takes part."""
    return _n4(num_threads, sloppy)


def _n4(num_threads: int, sloppy: bool, **inputs: Any) -> N4BiasFieldCorrection:
    if sloppy:
        inputs['n_iterations'] = SLOPPY_ITERATIONS
    return N4BiasFieldCorrection(clip=CLIP, num_threads=num_threads, **inputs)


def _connect_corrected(
    workflow: pe.Workflow,
    inputnode: pe.Node,
    strip: pe.Node,
    outputnode: pe.Node,
    settings: StripSettings,
    shape: Sequence[int] | None,
) -> None:
    """Correct the image with the brain's mask as weights, and apply the mask."""
    inu_n4_final = pe.Node(
        final_n4(settings.num_threads, settings.sloppy),
        name='inu_n4_final',
        mem_gb=bias_mem_gb(shape),
        n_procs=settings.num_threads,
    )
    apply_mask = pe.Node(ApplyMask(), name='apply_mask', mem_gb=image_mem_gb(shape))
    workflow.connect(
        [
            (inputnode, inu_n4_final, [('in_file', 'in_file')]),
            (strip, inu_n4_final, [('out_mask', 'weight_file')]),
            (inu_n4_final, apply_mask, [('out_file', 'in_file')]),
            (strip, apply_mask, [('out_mask', 'in_mask')]),
            (
                inu_n4_final,
                outputnode,
                [('out_file', 'bias_corrected'), ('bias_image', 'bias_image')],
            ),
            (apply_mask, outputnode, [('out_file', 'out_file')]),
        ]
    )


def _register(
    workflow: pe.Workflow, part: pe.Workflow, settings: StripSettings, index: int, name: str
) -> pe.Workflow:
    """Register a prepared image to one of the spaces."""
    registration_wf = init_registration_wf(
        template=settings.spaces[index],
        transform=settings.transform,
        sloppy=settings.sloppy,
        seed=settings.seed,
        num_threads=settings.num_threads,
        name=name,
    )
    connect_registration(workflow, part, registration_wf)
    return registration_wf


def connect_registration(
    workflow: pe.Workflow, part: pe.Workflow, registration_wf: pe.Workflow
) -> None:
    """Connect the prepared image and its mask with a registration."""
    workflow.connect(
        [
            (
                part,
                registration_wf,
                [
                    ('outputnode.bias_corrected', 'inputnode.in_file'),
                    ('outputnode.out_mask', 'inputnode.in_mask'),
                ],
            )
        ]
    )


def _collect(
    workflow: pe.Workflow,
    outputnode: pe.Node,
    field: str,
    sources: Sequence[tuple[pe.Workflow, str]],
) -> None:
    """Make a list of one output of several workflows."""
    merge = pe.Node(Merge(len(sources)), name=f'merge_{field}', run_without_submitting=True)
    for number, (part, output) in enumerate(sources, 1):
        workflow.connect(part, output, merge, f'in{number}')
    workflow.connect(merge, 'out', outputnode, field)
