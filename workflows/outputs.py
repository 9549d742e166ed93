"""Sinks: what is written for an image, and where. `done` says when it counts as done.

The quality record of an image lies in its mask's sidecar, under ``Quality``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe
from pumba_pipe.workflows.companions import Companions, find_companions
from pumba_pipe.workflows.done import REGISTRATION, judge
from pumba_pipe.workflows.manual_masks import ManualMask
from pumba_pipe.workflows.modalities import modality_of
from pumba_pipe.workflows.naming import (
    ImageName,
    brain_path,
    mask_path,
    network_mask_path,
    parse_name,
    preproc_path,
    probability_path,
    transform_paths,
)
from pumba_pipe.workflows.settings import StripSettings
from pumba_pipe.workflows.templates import Template

from pumba_pipe.interfaces.derivatives import SaveDerivative, SaveFigures
from pumba_pipe.reports.naming import figure_paths, figure_record_path
from pumba_pipe.results.sidecars import EXTRACTION, GENERATED_BY, MANUAL_MASK, made_by

DESCRIBED = ('out_mask', 'bias_corrected')  # results that say which volumes of a series they show
# What stands for a series, by the volumes it is made of.
REFERENCES: dict[str, str] = {
    'all': 'Mean of the volumes without outliers, head motion between them undone',
    'b0': 'Mean of the b0 volumes, head motion between them undone',
    'asl': 'M0 image, or without one the mean of the control volumes, head motion undone',
    'frames': 'Mean of the frames by their duration, head motion between them undone',
}


@dataclass(frozen=True)
class Target:
    """A file that is written.

    Attributes
    ----------
    field : str
        The output of the workflow that it comes from.
    path : Path
    metadata : dict
        Content of its sidecar.
    """

    field: str
    path: Path
    metadata: dict[str, Any]


def raw_uri(path: Path, bids_dir: Path) -> str:
    """BIDS URI of a file of the input data set."""
    return f'bids:raw:{path.relative_to(bids_dir).as_posix()}'


@dataclass(frozen=True)
class BrainOutputs:
    """The files written for one image.

    Attributes
    ----------
    source : Path
        The image.
    bids_dir, output_dir : Path
    settings : StripSettings
        What is asked for. What the results depend on is kept in their sidecars.
    manual : ManualMask or None
        A mask by a person or another tool, which takes the place of the network's.
    replaceable : mapping of Path to str
        Manual masks of an earlier run that may be replaced, with their checksums.
    species : str
        As somebody has named it; empty where nobody has.
    """

    source: Path
    bids_dir: Path
    output_dir: Path
    settings: StripSettings
    manual: ManualMask | None = None
    replaceable: Mapping[Path, str] = field(default_factory=dict, hash=False)
    species: str = ''

    @cached_property
    def name(self) -> ImageName:
        """Name of the image, taken apart."""
        return parse_name(self.source)

    @cached_property
    def companions(self) -> Companions:
        """Files beside the image that are read with it."""
        return find_companions(self.source, self.bids_dir)

    @property
    def has_reference(self) -> bool:
        """Whether one volume is made of the image, which may be a series."""
        return bool(modality_of(self.name.suffix).volumes)

    @property
    def raw_uris(self) -> list[str]:
        """BIDS URIs of the image and of what is read with it."""
        beside = [raw_uri(path, self.bids_dir) for path in self.companions.files]
        return [self.source_uri, *beside]

    @cached_property
    def mask(self) -> Path:
        """Path of the mask."""
        return self.output_dir / mask_path(self.name)

    @property
    def network_mask(self) -> Path:
        """Path of the network's own mask, where the mask is a manual one."""
        return self.output_dir / network_mask_path(self.name)

    @property
    def kept_mask(self) -> ManualMask | None:
        """The manual mask that lies where the mask goes, and stays as it is."""
        return self.manual if self.manual and self.manual.in_place else None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the results depend on, for their sidecars."""
        return self.settings.parameters(self.name.suffix) | (
            self.manual.parameters if self.manual else {}
        )

    @property
    def brain(self) -> Path:
        """Path of the masked image."""
        return self.output_dir / brain_path(self.name)

    @cached_property
    def preproc(self) -> Path:
        """Path of the whole image as it was prepared."""
        return self.output_dir / preproc_path(self.name)

    @cached_property
    def source_uri(self) -> str:
        """BIDS URI of the image; ``raw`` is a link of dataset_description.json."""
        return raw_uri(self.source, self.bids_dir)

    def uri(self, path: Path) -> str:
        """BIDS URI of a file that is written."""
        return f'bids::{path.relative_to(self.output_dir).as_posix()}'

    def targets(self) -> tuple[Target, ...]:
        """All files in the image's own space, but for figures."""
        corrected = self.settings.n4_applies(self.name.suffix)
        depends = {EXTRACTION: self.parameters}
        mask = {
            'Type': 'Brain',
            'Description': 'Mask of the brain, on the grid of the image it was made from',
            'Sources': self.raw_uris,
            'SpatialReference': self.source_uri,
            'Manual': False,
            **made_by(),
            **depends,
        }
        network = mask | {EXTRACTION: self.settings.parameters(self.name.suffix)}
        preproc = {
            'SkullStripped': False,
            'Description': self._description(corrected),
            'Sources': [*self.raw_uris, *([self.uri(self.mask)] if corrected else [])],
            'SpatialReference': self.source_uri,
            **depends,
        }
        brain = {
            'SkullStripped': True,
            'Description': 'Image with everything outside the brain mask set to zero'
            + (', corrected for intensity non-uniformity (N4)' if corrected else ''),
            'Sources': [
                self.uri(self.preproc) if corrected or self.has_reference else self.source_uri,
                self.uri(self.mask),
            ],
            **depends,
        }
        if self.manual:
            mask = mask | {'Manual': True, MANUAL_MASK: self.manual.note}
            del mask[GENERATED_BY]  # a person or another tool made it
        targets = [
            Target('out_mask', self.mask, mask),
            Target('bias_corrected', self.preproc, preproc),
            Target('out_file', self.brain, brain),
        ]
        if self.manual:
            words = "The network's own mask, in whose place a manual one is used"
            targets.append(
                Target('network_mask', self.network_mask, network | {'Description': words})
            )
        if self.settings.probability:
            described = network | depends | {'Description': 'Probability of being brain, 0 to 1'}
            path = self.output_dir / probability_path(self.name)
            targets.append(Target('out_prob', path, described))
        return tuple(targets)

    def _description(self, corrected: bool) -> str:
        """What the whole image is, in words."""
        if self.has_reference:
            return f'{REFERENCES[modality_of(self.name.suffix).volumes]}, nothing masked'
        if corrected:
            return (
                'Image corrected for intensity non-uniformity (N4, weighted by the brain mask), '
                'nothing masked'
            )
        return 'Image as one volume of finite values, nothing masked'

    def registered(self, template: Template) -> tuple[Target, ...]:
        """All files that have to do with a standard space."""
        space = template.space
        extension = '.h5' if self.settings.deformable else '.txt'
        forward, inverse = (
            self.output_dir / path for path in transform_paths(self.name, space, extension)
        )
        depends = {
            EXTRACTION: self.parameters,
            REGISTRATION: self.settings.registration_parameters() | {'Template': template.uri},
        }
        sources = [self.uri(self.preproc), self.uri(self.mask), template.uri]
        there = {
            'Sources': [self.uri(self.preproc), self.uri(forward)],
            'SpatialReference': template.uri,
            **depends,
        }
        if space.resolution is not None:
            there['Resolution'] = f'The grid of {template.path.name}'
        return (
            Target('forward_xfm', forward, {'Sources': sources, **depends}),
            Target('inverse_xfm', inverse, {'Sources': sources, **depends}),
            Target(
                'warped_file',
                self.output_dir / preproc_path(self.name, space),
                {'SkullStripped': False, 'Description': f'Image registered to {space}', **there},
            ),
            Target(
                'warped_mask',
                self.output_dir / mask_path(self.name, space),
                {
                    'Type': 'Brain',
                    'Description': f'Mask of the brain, registered to {space}',
                    'Manual': False,
                    **made_by(),
                    **there,
                },
            ),
        )

    def everything(self) -> tuple[Target, ...]:
        """All files that are asked for, but for figures."""
        registered = [self.registered(template) for template in self.settings.spaces]
        return sum(registered, self.targets())

    @property
    def figures(self) -> dict[str, Path]:
        """Paths of the figures, empty when none are asked for."""
        return figure_paths(self.output_dir, self.source) if self.settings.reports else {}

    @property
    def figure_record(self) -> Path:
        """Path of the JSON file that says what the figures are."""
        return figure_record_path(self.output_dir, self.source)

    def state(self) -> str:
        """State of what an earlier run left: that of `judge`."""
        return judge(self).state


def init_ds_brain_wf(*, outputs: BrainOutputs, name: str = 'ds_brain_wf') -> pe.Workflow:
    """Write what was found in an image, its sidecars and its figures to their places.

    Parameters
    ----------
    outputs : BrainOutputs
    name : str

    Inputs
    ------
    out_mask
        Brain mask
    bias_corrected
        Whole image
    out_file
        Masked image
    out_prob
        Probability of being brain, when it was asked for
    network_mask
        The network's own mask, where the mask is a manual one
    quality
        Quality record, JSON
    source_record
        What the scan was when work on it began, as `RecordSource` gives it
    reference
        Which volumes of a series were used, JSON; only where it may be one
    mosaic, before_after, thumbnail, viewer
        Figures, when they were asked for

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...', reports=False)
    >>> image = Path('bids/sub-01/anat/sub-01_T1w.nii.gz')
    >>> outputs = BrainOutputs(image, Path('bids'), Path('out'), settings)
    >>> wf = init_ds_brain_wf(outputs=outputs)
    >>> Path(wf.get_node('ds_mask').inputs.out_path).as_posix()
    'out/sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    """
    return _sinks(outputs, outputs.targets(), name)


def init_ds_space_wf(
    *, outputs: BrainOutputs, template: Template, name: str = 'ds_space_wf'
) -> pe.Workflow:
    """Write an image and its mask in a standard space, and the transforms, to their places.

    Parameters
    ----------
    outputs : BrainOutputs
    template : Template
    name : str

    Inputs
    ------
    forward_xfm, inverse_xfm
        Transforms to the standard space and back
    warped_file, warped_mask
        Image and brain mask in the standard space
    source_record
        What the scan was when work on it began, as `RecordSource` gives it

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...', reports=False)
    >>> image = Path('bids/sub-01/anat/sub-01_T1w.nii.gz')
    >>> outputs = BrainOutputs(image, Path('bids'), Path('out'), settings)
    >>> from pumba_pipe.workflows.templates import find_template, parse_space
    >>> template = find_template(parse_space('MNI152NLin2009cAsym:res-2'))
    >>> wf = init_ds_space_wf(outputs=outputs, template=template)
    >>> Path(wf.get_node('ds_forward_xfm').inputs.out_path).suffix
    '.txt'
    """
    return _sinks(outputs, outputs.registered(template), name)


def _sinks(outputs: BrainOutputs, targets: Sequence[Target], name: str) -> pe.Workflow:
    workflow = pe.Workflow(name=name)
    fields = [*(target.field for target in targets), 'source_record']
    own_space = 'out_mask' in fields
    figures = outputs.figures if own_space else {}
    series = own_space and outputs.has_reference
    more = [name for name, there in (('quality', own_space), ('reference', series)) if there]
    inputnode = pe.Node(IdentityInterface(fields=[*fields, *more, *figures]), name='inputnode')
    for target in targets:
        save = SaveDerivative(
            out_path=str(target.path), metadata=target.metadata, source_file=str(outputs.source)
        )
        if target.path in outputs.replaceable:
            save.inputs.replaces = outputs.replaceable[target.path]
        if target.path == outputs.mask and outputs.kept_mask:
            save.inputs.keeps = outputs.kept_mask.sha256
        node = _sink(save, f'ds_{target.field.removeprefix("out_")}')
        workflow.connect(
            [(inputnode, node, [(target.field, 'in_file'), ('source_record', 'source_record')])]
        )
        if target.field == 'out_mask':
            workflow.connect(inputnode, 'quality', node, 'quality')
        if series and target.field in DESCRIBED:
            workflow.connect(inputnode, 'reference', node, 'reference')
    if figures:
        save = SaveFigures(
            out_paths={figure: str(path) for figure, path in figures.items()},
            record_path=str(outputs.figure_record),
            metadata={
                'Sources': [outputs.source_uri, outputs.uri(outputs.mask)],
                EXTRACTION: outputs.parameters,
            },
            source_file=str(outputs.source),
        )
        node = _sink(save, 'ds_figures')
        inputs = [(field, field) for field in (*figures, 'source_record')]
        workflow.connect([(inputnode, node, inputs)])
    return workflow


def _sink(interface: Any, name: str) -> pe.Node:
    return pe.Node(
        interface,
        name=name,
        mem_gb=0.05,
        # Copying costs less than handing the work to another process, and must not wait
        # for a CPU: else nothing is written until all images are stripped.
        run_without_submitting=True,
        n_procs=0,
    )
