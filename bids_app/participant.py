"""The participant level: plan, build and run the workflows, and say what came of it."""

from __future__ import annotations

import gc
import json
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.bids_app.config import RunConfig, check_work_dir
from pumba_pipe.bids_app.dataset import select_images, validate
from pumba_pipe.bids_app.description import write_description
from pumba_pipe.bids_app.engine import prepare_engine
from pumba_pipe.bids_app.progress import Progress, crash_reason
from pumba_pipe.workflows.base import StripSettings, init_participant_wf
from pumba_pipe.workflows.naming import folder, node_name, parse_name
from pumba_pipe.workflows.outputs import BrainOutputs

from pumba_pipe.interfaces.derivatives import sidecar_of

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

WORKFLOW = 'pumba_wf'
MIN_BATCH, BATCH_ROUNDS = 64, 8  # images; images per place to work at
MAX_FLAGGED = 20  # lines at the end of a run
EXIT_FAILED, EXIT_NOT_BUILT = 1, 70
Say = Callable[[str], None]


def run_participants(config: RunConfig, say: Say) -> Callable[[], int]:
    """Check everything that can be checked, and return the work that is left to do.

    Parameters
    ----------
    config : RunConfig
    say : callable
        Takes a line for the user.

    Returns
    -------
    callable
        Does the work and returns the exit code.

    Raises
    ------
    PumbaError
        The run cannot be carried out as asked for.
    """
    warning = None if config.skip_bids_validation else validate(config)
    if warning:
        say(f'warning: {warning}')
    selection = select_images(config)
    for remark in selection.remarks:
        say(remark)
    engine = prepare_engine(config)
    write_description(config.bids_dir, config.output_dir)
    check_work_dir(config.work_dir)
    settings = StripSettings(
        weights=engine.weights,
        sha256=engine.sha256,
        border_mm=config.border_mm,
        device=engine.device,
        num_threads=config.omp_nthreads,
    )
    wanted = [
        BrainOutputs(path, config.bids_dir, config.output_dir, settings.parameters())
        for path in selection.images
    ]
    states = {outputs.source: outputs.state() for outputs in wanted}
    todo = [outputs for outputs in wanted if states[outputs.source] != 'done']
    counts = Counter(states.values())
    say(
        f'{len(wanted)} images: {len(todo)} to strip on {settings.device}, '
        f'{counts["done"]} done before'
        + (f', {len(selection.broken)} more cannot be read' if selection.broken else '')
        + (f', {counts["outdated"]} done before but out of date' if counts['outdated'] else '')
    )

    def work() -> int:
        failed = {path: f'{path}: {reason}' for path, reason in selection.broken.items()}
        if todo:
            try:
                workflows = build_workflows(config, settings, todo)
            except Exception as error:  # whatever went wrong, the user needs one line
                return _not_built(config, error)
            failed |= execute(config, workflows, todo, say)
        return _conclude(config, todo, failed, counts['done'], say)

    return work


def build_workflows(
    config: RunConfig, settings: StripSettings, todo: Sequence[BrainOutputs]
) -> list[Workflow]:
    """Build the workflows of a run, which are carried out one after the other.

    Nipype runs the nodes of one process in the order of the graph, all sinks at the end. So
    that results are there as soon as they can be, one process gets one participant, or session,
    at a time. Several processes get batches: Nipype looks at every node of a graph each time
    that one ends, which takes longer than the work itself when there are thousands.
    """
    from nipype.pipeline import engine as pe

    groups: dict[Path, list[BrainOutputs]] = defaultdict(list)
    for outputs in todo:
        groups[folder(parse_name(outputs.source))].append(outputs)
    size = 1
    if config.nprocs > 1:
        size = max(MIN_BATCH, BATCH_ROUNDS * config.nprocs // config.omp_nthreads)
    batches: list[pe.Workflow] = []
    room = 0
    for place, images in groups.items():
        participant_wf = init_participant_wf(
            images=images,
            settings=settings,
            crash_dir=_crash_dir(config, images[0]),
            name='_'.join(place.parts).replace('-', '_') + '_wf',
        )
        if room <= 0:
            batches.append(pe.Workflow(name=WORKFLOW, base_dir=str(config.work_dir)))
            room = size
        batches[-1].add_nodes([participant_wf])
        room -= len(images)
    return batches


def execute(
    config: RunConfig, workflows: Sequence[Workflow], todo: Sequence[BrainOutputs], say: Say
) -> dict[Path, str]:
    """Run workflows to their end, whatever fails on the way.

    Returns
    -------
    dict of Path to str
        Images that failed, with one line for each.
    """
    names = {node_name(name): name.stem for name in (parse_name(o.source) for o in todo)}
    progress = Progress(names, say)
    stopped = None
    # Nipype collects garbage at every step: spare it what is there to stay.
    gc.collect()
    gc.freeze()
    for workflow in workflows:
        try:
            workflow.run(plugin=_plugin(config, progress))
        except Exception as error:  # Nipype raises after all nodes have run, when one failed
            stopped = error
    gc.unfreeze()
    failed = {}
    for outputs in todo:
        token = node_name(parse_name(outputs.source))
        if token in progress.done:
            continue
        reason = crash_reason(_crash_dir(config, outputs), token)
        if reason is None:
            reason = str(stopped).strip().split('\n')[0] or type(stopped).__name__
        source = str(outputs.source)
        failed[outputs.source] = reason if source in reason else f'{source}: {reason}'
    return failed


def _plugin(config: RunConfig, progress: Progress) -> Any:
    if config.nprocs == 1:
        from nipype.pipeline.plugins.linear import LinearPlugin

        return LinearPlugin(plugin_args={'status_callback': progress})
    from pumba_pipe.bids_app.plugin import SturdyMultiProcPlugin

    return SturdyMultiProcPlugin(
        {
            'n_procs': config.nprocs,
            # a GPU node takes as many slots as it has CPU threads: one image at a time
            'n_gpu_procs': config.omp_nthreads,
            'memory_gb': config.mem_gb,
            'raise_insufficient': False,
            'status_callback': progress,
            'verbosity': config.verbosity,
        }
    )


def _crash_dir(config: RunConfig, outputs: BrainOutputs) -> Path:
    return config.output_dir / folder(parse_name(outputs.source)) / 'log' / config.run_id


def _not_built(config: RunConfig, error: Exception) -> int:
    if config.verbosity:
        traceback.print_exception(error)
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    print(f'pumba: error: the workflow could not be built ({reason})', file=sys.stderr)
    return EXIT_NOT_BUILT


def _conclude(
    config: RunConfig,
    todo: Sequence[BrainOutputs],
    failed: dict[Path, str],
    before: int,
    say: Say,
) -> int:
    """Name the images to look at and those that failed, and return the exit code."""
    done = [outputs for outputs in todo if outputs.source not in failed]
    flagged = [line for line in map(_flags, done) if line]
    for line in flagged[:MAX_FLAGGED]:
        say(line)
    if len(flagged) > MAX_FLAGGED:
        say(f'{len(flagged) - MAX_FLAGGED} more masks to look at; the group level lists them')
    for line in failed.values():
        print(f'pumba: error: {line}', file=sys.stderr, flush=True)
    say(
        f'{len(done)} images stripped, {before} done before, {len(failed)} failed; '
        f'results in {config.output_dir}'
    )
    return EXIT_FAILED if failed else 0


def _flags(outputs: BrainOutputs) -> str | None:
    """What a person should look at in a mask, None when there is nothing."""
    quality = json.loads(sidecar_of(outputs.mask).read_text('utf-8')).get('Quality', {})
    return f'{outputs.mask}: {"; ".join(quality["flags"])}' if quality.get('flags') else None
