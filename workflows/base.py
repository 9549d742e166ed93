"""The workflow of one participant, or of one session of a participant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nipype.pipeline import engine as pe
from pumba_pipe.workflows.anat import connect_registration, init_image_preproc_wf
from pumba_pipe.workflows.modalities import datatype_of
from pumba_pipe.workflows.naming import node_name
from pumba_pipe.workflows.outputs import BrainOutputs, init_ds_brain_wf, init_ds_space_wf
from pumba_pipe.workflows.reference import reference_node
from pumba_pipe.workflows.registration import init_registration_wf
from pumba_pipe.workflows.settings import StripSettings

from pumba_pipe.interfaces.source import RecordSource

__all__ = ['StripSettings', 'init_participant_wf']

# Nodes that may read a scan.
READERS = ('inu_n4', 'inu_n4_final', 'strip', 'conform', 'report', 'reference')


def init_participant_wf(
    *,
    images: Sequence[BrainOutputs],
    settings: StripSettings,
    crash_dir: Path,
    name: str = 'participant_wf',
) -> pe.Workflow:
    """Strip all images of a participant, or of one session, and write the derivatives.

    Images do not depend on each other, nor does a mask on what is made of it: a step that fails
    leaves the others alone.

    Parameters
    ----------
    images : sequence of BrainOutputs
        The images and where their results go.
    settings : StripSettings
    crash_dir : Path
        Where Nipype writes a file about each node that fails.
    name : str

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...')
    >>> image = Path('bids/sub-01/anat/sub-01_T1w.nii.gz')
    >>> outputs = BrainOutputs(image, Path('bids'), Path('out'), settings)
    >>> wf = init_participant_wf(images=[outputs], settings=settings, crash_dir=Path('crash'))
    >>> [node for node in wf.list_node_names() if node.endswith('ds_mask')]
    ['ds_sub01_T1w_wf.ds_mask']
    """
    workflow = pe.Workflow(name=name)
    workflow.config['execution'] = {'crashdump_dir': str(crash_dir)}
    shapes = [image_shape(template.path) for template in settings.spaces]
    for outputs in images:
        _add_image(workflow, outputs, settings, shapes)
    for node_path in workflow.list_node_names():
        # a node would else take the folder of the workflow that this one is put into
        node = workflow.get_node(node_path)
        execution = {'crashdump_dir': str(crash_dir)}
        if node.name in READERS:
            # a scan may have been replaced by another of the same size and time
            execution['hash_method'] = 'content'
        node.config = {'execution': execution}
    return workflow


def _add_image(
    workflow: pe.Workflow,
    outputs: BrainOutputs,
    settings: StripSettings,
    template_shapes: Sequence[tuple[int, ...] | None],
) -> None:
    """Add the steps for one image and the sinks of its results."""
    image_id = node_name(outputs.name)
    shape = image_shape(outputs.source)
    volume_shape = shape[:3] if shape and outputs.has_reference else shape
    image_wf = init_image_preproc_wf(
        settings=settings,
        suffix=outputs.name.suffix,
        shape=volume_shape,
        manual=outputs.manual,
        within_signal=datatype_of(outputs.name) == 'dwi',
        species=outputs.species,
        name=f'{image_id}_wf',
    )
    record = pe.Node(
        RecordSource(
            in_file=str(outputs.source), companions=list(map(str, outputs.companions.files))
        ),
        name=f'record_{image_id}',
        mem_gb=0.05,
        # quicker than a job of a batch system; what is read here is at hand for the next step
        run_without_submitting=True,
        n_procs=0,
    )
    sinks = init_ds_brain_wf(outputs=outputs, name=f'ds_{image_id}_wf')
    if outputs.has_reference:
        # a workflow of its own, so that its name says which image the node works on
        reference_wf = pe.Workflow(name=f'reference_{image_id}_wf')
        reference_wf.add_nodes([reference_node(outputs, shape)])
        workflow.connect(
            [
                (record, reference_wf, [('out_file', 'reference.in_file')]),
                (reference_wf, image_wf, [('reference.out_file', 'inputnode.in_file')]),
                (reference_wf, sinks, [('reference.record', 'inputnode.reference')]),
            ]
        )
    else:
        workflow.connect(record, 'out_file', image_wf, 'inputnode.in_file')
    _sink(workflow, image_wf, sinks, record)
    for number, template in enumerate(settings.spaces):
        registration_wf = init_registration_wf(
            template=template,
            transform=settings.transform,
            sloppy=settings.sloppy,
            seed=settings.seed,
            num_threads=settings.num_threads,
            shape=volume_shape,
            template_shape=template_shapes[number],
            name=f'space{number}_{image_id}_wf',
        )
        connect_registration(workflow, image_wf, registration_wf)
        sinks = init_ds_space_wf(
            outputs=outputs, template=template, name=f'ds_space{number}_{image_id}_wf'
        )
        _sink(workflow, registration_wf, sinks, record)


def _sink(workflow: pe.Workflow, part: pe.Workflow, sinks: pe.Workflow, record: pe.Node) -> None:
    """Connect each input of the sinks with the output of the same name."""
    for field in sinks.get_node('inputnode').outputs.copyable_trait_names():
        if field == 'source_record':
            workflow.connect(record, 'record', sinks, 'inputnode.source_record')
        elif field != 'reference':
            workflow.connect(part, f'outputnode.{field}', sinks, f'inputnode.{field}')


def image_shape(path: Path) -> tuple[int, ...] | None:
    """Shape in an image's header; None for an image that cannot be read, its node will say why."""
    from pumba_pipe.common.errors import InputError
    from pumba_pipe.images.reading import open_source

    try:
        return tuple(int(side) for side in open_source(path).shape)
    except InputError:
        return None
