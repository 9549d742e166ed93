"""Building the workflows of a run and carrying them out."""

from __future__ import annotations

import gc
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.bids_app.execution.batch_system import is_batch_system
from pumba_pipe.bids_app.execution.device_check import process_context
from pumba_pipe.bids_app.execution.nipype_settings import configure_nipype
from pumba_pipe.bids_app.execution.plan import Log, Plan
from pumba_pipe.bids_app.execution.plugin_file import plugin_class
from pumba_pipe.bids_app.execution.progress import ImageProgress, crash_of, node_image
from pumba_pipe.bids_app.execution.workdir import was_removed
from pumba_pipe.bids_app.options.config import RunConfig
from pumba_pipe.workflows.base import init_participant_wf
from pumba_pipe.workflows.done import judge_at_rest
from pumba_pipe.workflows.naming import folder, node_name, parse_name, place_name
from pumba_pipe.workflows.outputs import BrainOutputs

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.processes import shielded
from pumba_pipe.common.signals import raise_if_interrupted
from pumba_pipe.extraction.options import EXTRACTION_VERSION
from pumba_pipe.registration.options import REGISTRATION_VERSION
from pumba_pipe.reports.records import Failure
from pumba_pipe.results.judgement import OTHER_METHOD, OTHER_OPTIONS

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

# Its folder in the work folder has this name, too: Nipype takes over what a run that was stopped
# has left there, and does not know that another version of the method would find something else.
WORKFLOW = f'pumba_{EXTRACTION_VERSION}_{REGISTRATION_VERSION}_wf'
MIN_BATCH, BATCH_ROUNDS = 64, 8  # images; images for each slot
KILLED_HINT = 'run again with a lower --mem or --nprocs'
WORK_DIR_GONE = 'the work directory was removed while it was in use; start the run again'
NOT_REACHED = 'not done: the run stopped at the first failure (--stop-on-first-crash)'


@dataclass(frozen=True)
class Batch:
    """Images that one workflow strips.

    Attributes
    ----------
    workflow : Workflow
    images : list of BrainOutputs
    """

    workflow: Workflow
    images: list[BrainOutputs]


def log_dir(config: RunConfig, place: Path) -> Path:
    """Folder for what a run writes about a participant or session, at `place` of the data set."""
    return config.output_dir / place / 'log' / config.run_id


def build_batches(plan: Plan, base_dir: Path) -> list[Batch]:
    """Build the workflows of a run, which are carried out one after the other.

    Nipype runs the nodes of one process in the order of the graph, all sinks at the end. So
    that results are there as soon as they can be, one process gets one participant, or session,
    at a time. Several processes get batches: Nipype looks at every node of a graph each time
    that one ends, which takes longer than the work itself when there are thousands.
    """
    from nipype.pipeline import engine as pe

    config = plan.config
    groups: dict[Path, list[BrainOutputs]] = defaultdict(list)
    for outputs in plan.todo:
        groups[folder(parse_name(outputs.source))].append(outputs)
    size = 1
    if config.nprocs > 1 or plan.plugin:
        size = max(MIN_BATCH, BATCH_ROUNDS * config.nprocs // config.omp_nthreads)
    batches: list[Batch] = []
    for place, images in groups.items():
        participant_wf = init_participant_wf(
            images=images,
            settings=plan.settings,
            crash_dir=log_dir(config, place),
            name=f'{place_name(place)}_wf',
        )
        if config.write_graph:
            _write_graph(participant_wf, log_dir(config, place))
        if not batches or len(batches[-1].images) >= size:
            batches.append(Batch(pe.Workflow(name=WORKFLOW, base_dir=str(base_dir)), []))
        batches[-1].workflow.add_nodes([participant_wf])
        batches[-1].images.extend(images)
    return batches


def execute(
    plan: Plan,
    batches: Sequence[Batch],
    log: Log,
    after: Callable[[Sequence[BrainOutputs], dict[Path, Failure]], None],
) -> dict[Path, Failure]:
    """Run workflows to their end, whatever fails on the way.

    Parameters
    ----------
    plan : Plan
    batches : sequence of Batch
    log : callable
        Takes a line for the user.
    after : callable
        Called when a batch has ended, with its images and those of them that failed.

    Returns
    -------
    dict of Path to Failure
        Images that failed.
    """
    progress = ImageProgress(plan.todo, log)
    failed: dict[Path, Failure] = {}
    # Nipype collects garbage at every step: spare it what is there to stay.
    gc.collect()
    gc.freeze()
    stopped: Exception | None = None
    for batch in batches:
        if stopped is None or not plan.config.stop_on_first_crash:
            stopped = None
            try:
                batch.workflow.run(plugin=_plugin(plan, progress))
            except Exception as error:  # Nipype raises after all nodes have run, when one failed
                stopped = error
        now = _failures(plan.config, batch.images, progress, stopped)
        if was_removed(Path(batch.workflow.base_dir)):
            now = dict.fromkeys(now, Failure(f'{batch.workflow.base_dir}: {WORK_DIR_GONE}'))
        failed |= now
        after(batch.images, now)
    gc.unfreeze()
    return failed


def submit_jobs(plan: Plan, batches: Sequence[Batch]) -> None:
    """Give all jobs to a batch system, by a plugin that does not wait for them.

    Raises
    ------
    PumbaError
        It did not take all of them.
    """
    from pumba_pipe.bids_app.execution.batch_plugins import (
        reason_of,
        strict_bash,
        with_strict_commands,
    )

    assert plan.plugin is not None
    args = dict(plan.plugin.args)
    if plan.plugin.name == 'SLURMGraph':
        # what follows a failure would else stay in the queue for ever
        args['sbatch_args'] = f'--kill-on-invalid-dep=yes {args.get("sbatch_args", "")}'.strip()
    kind = with_strict_commands(plugin_class(plan.plugin.name))
    for number, batch in enumerate(batches):
        try:
            with strict_bash():
                batch.workflow.run(plugin=kind(plugin_args=args))
        except RuntimeError as error:
            part = 'not all jobs' if number else 'not all of the first jobs'
            raise PumbaError(
                f'{plan.plugin.name}: {part} were taken ({reason_of(error)}); when those '
                'that were have ended, start the same command again'
            ) from None


def _failures(
    config: RunConfig,
    images: Sequence[BrainOutputs],
    progress: ImageProgress,
    stopped: Exception | None,
) -> dict[Path, Failure]:
    """Images without results, and why."""
    failed = {}
    for outputs in images:
        place = folder(parse_name(outputs.source))
        image = node_name(parse_name(outputs.source))
        if progress.settle(image):
            continue
        failure = crash_of(log_dir(config, place), image) or progress.reasons.get(image)
        if not outputs.source.exists():
            failure = Failure('was removed while it was worked on')
        # another run may be replacing a result at this moment, so that it is not there
        found = judge_at_rest(outputs) if failure is None else None
        if found and progress.settle(image, found.state):
            continue
        if found and found.reason:
            others = found.reason in (OTHER_OPTIONS, OTHER_METHOD)
            replaced = others and image in progress.written
            by = ' by another run at the same time' if replaced else ''
            failure = Failure(f'{found.reason}{by}; start the run again')
        if failure is None and stopped is None:
            failure = Failure('no results, for a reason unknown; run again with -vv')
        if failure is None and config.stop_on_first_crash and image not in progress.failed:
            failure = Failure(NOT_REACHED)
        if failure is None:
            lines = str(stopped).strip().split('\n')
            failure = Failure(lines[-1] or type(stopped).__name__)
        failed[outputs.source] = failure
    return failed


def _plugin(plan: Plan, progress: ImageProgress) -> Any:
    config = plan.config
    name, args = 'MultiProc', {}
    if plan.plugin:
        name, args = plan.plugin.name, plan.plugin.args
    elif config.nprocs == 1:
        name = 'Linear'
    if name != 'MultiProc':
        kind = plugin_class(name)
        if is_batch_system(plan.plugin):
            from pumba_pipe.bids_app.execution.batch_plugins import tolerant

            kind = tolerant(kind)
        return kind(plugin_args={**args, 'status_callback': progress})
    from pumba_pipe.bids_app.execution.plugin import FaultTolerantMultiProcPlugin

    return FaultTolerantMultiProcPlugin(
        {
            'n_procs': config.nprocs,
            # a GPU node takes as many slots as it has CPU threads: one image at a time
            'n_gpu_procs': config.omp_nthreads,
            'memory_gb': config.mem_gb,
            'raise_insufficient': False,
            **args,
            'status_callback': progress,
            'failure_callback': progress.explain,
            'group_of': node_image,
            'killed_hint': KILLED_HINT,
            'starting': shielded,
            'check': raise_if_interrupted,  # a library may have caught it
            'mp_context': process_context().get_start_method(),
            'worker_init': partial(
                configure_nipype, config.verbosity, record=config.resource_record
            ),
        }
    )


def _write_graph(workflow: Workflow, place: Path) -> None:
    """Write a workflow for Graphviz, and its picture where Graphviz is installed."""
    place.mkdir(parents=True, exist_ok=True)
    picture = 'svg' if shutil.which('dot') else 'dot'
    workflow.write_graph(str(place / 'graph.dot'), graph2use='colored', format=picture)
