"""The participant level: plan, run, pages, summary."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from pumba_pipe.bids_app.execution.batch_system import (
    is_batch_system,
    prepare_batch_system,
    submits_and_returns,
)
from pumba_pipe.bids_app.execution.concurrent_runs import announced
from pumba_pipe.bids_app.execution.plan import Log, Plan, make_plan
from pumba_pipe.bids_app.execution.plan_words import (
    listing,
    manual_in_words,
    remarks,
    summary,
    weights_name,
)
from pumba_pipe.bids_app.execution.runner import (
    WORKFLOW,
    Batch,
    build_batches,
    execute,
    log_dir,
    submit_jobs,
)
from pumba_pipe.bids_app.execution.workdir import (
    check_work_dir,
    current_folder,
    own_folder,
    remove_damaged,
    remove_leftovers,
)
from pumba_pipe.bids_app.options.config import OptionValue, RunConfig, UsageError
from pumba_pipe.bids_app.options.config_file import OPTIONS, write_config
from pumba_pipe.bids_app.outputs.boilerplate import (
    CITATION,
    Methods,
    compose,
    read_citation,
    write_citation,
)
from pumba_pipe.bids_app.outputs.description import write_description
from pumba_pipe.bids_app.outputs.pages import Pages
from pumba_pipe.workflows.done import refresh
from pumba_pipe.workflows.manual_masks import remove_network_mask
from pumba_pipe.workflows.naming import folder, parse_name, place_name, subject_of
from pumba_pipe.workflows.outputs import BrainOutputs

from pumba_pipe.common.resources import available_cpus
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.common.text import counted
from pumba_pipe.reports.records import Failure
from pumba_pipe.results.sidecars import read_sidecar

MAX_FLAGGED = 20  # lines at the end of a run
EXIT_FAILED, EXIT_NOT_BUILT = 1, 70
CONFIG_NAME = 'pumba.toml'


def run_participants(config: RunConfig, log: Log) -> Callable[[], int]:
    """Check everything that can be checked, and return the function that does the work.

    Parameters
    ----------
    config : RunConfig
    log : callable
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
    if config.reports_only:
        return _write_pages_again(config)
    plan = make_plan(config, log)
    if config.dry_run:
        lines = [*listing(plan), *remarks(plan), summary(plan)]
        for line in [*lines, 'dry run: nothing was written']:
            log(line)
        return lambda: EXIT_FAILED if plan.broken else 0
    if plan.plugin and is_batch_system(plan.plugin) and plan.todo and not config.boilerplate_only:
        prepare_batch_system(plan.plugin, config.work_dir)
    write_description(config.bids_dir, config.output_dir, bool(config.spaces), log)
    text = boilerplate_of(plan)
    write_citation(config.output_dir, text)
    if config.boilerplate_only:
        log(f'{config.output_dir / "logs" / CITATION}.md, .bib and .html are written')
        return lambda: 0
    check_work_dir(config.work_dir)
    remove_leftovers(config.output_dir, plan.subjects)
    for line in [*remarks(plan), summary(plan)]:
        log(line)

    def work() -> int:
        with announced(plan, log):
            return _work(plan, text, log)

    return work


def boilerplate_of(plan: Plan) -> str:
    """Sentences for a paper about a run, with marks for references."""
    sources = [outputs.source for outputs in plan.images]
    methods = Methods(
        modalities=[parse_name(source).suffix for source in sources],
        participants=len({subject_of(source) for source in sources}),
        weights=weights_name(plan.settings.weights),
        sha256=plan.settings.sha256,
        device=plan.settings.device,
        manual=sum(plan.manual),
    )
    return compose(plan.config, methods)


def _work(plan: Plan, text: str, log: Log) -> int:
    config = plan.config
    pages = Pages(
        config, plan.subjects, text, weights_name(plan.settings.weights),
        plan.settings.sha256, plan.settings.device,
    )  # fmt: skip
    failed = {path: Failure(reason) for path, reason in plan.broken.items()}
    pages.note(failed)
    for outputs in plan.images:
        refresh(outputs, plan.found[outputs.source])
    for subject in sorted({subject_of(outputs.source) for outputs in plan.todo}):
        place = log_dir(config, Path(f'sub-{subject}'))
        write_config(place / CONFIG_NAME, describe_run(plan))
    if plan.todo:
        last = {subject_of(outputs.source): outputs.source for outputs in plan.todo}

        def after(images: Sequence[BrainOutputs], failures: dict[Path, Failure]) -> None:
            pages.note(failures)
            sources = {outputs.source for outputs in images}
            pages.write(subject for subject, source in last.items() if source in sources)

        with own_folder(config.work_dir, config.clean_workdir) as base_dir:
            for place in {folder(parse_name(outputs.source)) for outputs in plan.todo}:
                remove_damaged(base_dir / WORKFLOW / f'{place_name(place)}_wf')
            try:
                batches = build_batches(plan, base_dir)
            except Exception as error:  # whatever went wrong, the user needs one line
                return _not_built(config, error)
            # Nipype's monitor leaves its notes in the current folder of each process
            with current_folder(base_dir if config.resource_monitor else None):
                if submits_and_returns(plan.plugin):
                    return _submit_all(plan, batches, log)
                failed |= execute(plan, batches, log, after)
    for outputs in plan.images:
        if outputs.source not in failed:
            remove_network_mask(outputs)
    pages.write(pages.outstanding())
    pages.write_index()
    return _conclude(plan, failed, pages, log)


def _submit_all(plan: Plan, batches: Sequence[Batch], log: Log) -> int:
    """Submit all jobs to a batch system and return; the user is told how to go on."""
    assert plan.plugin is not None
    submit_jobs(plan, batches)
    for source, reason in plan.broken.items():
        tell(f'pumba: error: {source}: {reason}', sys.stderr)
    log(
        f'{counted(len(plan.todo), "image")} submitted ({plan.plugin.name}); when all jobs have '
        'ended, start the same command again: it writes the pages and does what is missing'
    )
    return EXIT_FAILED if plan.broken else 0


def describe_run(plan: Plan) -> dict[str, dict[str, OptionValue]]:
    """Tables of the configuration that is kept of a run; the options are read back."""
    from pumba_pipe._version import __version__

    config = plan.config
    return {
        'run': {
            'id': config.run_id,
            'command': config.command,
            'started': f'{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}',
            'version': __version__,
            'bids-dir': str(config.bids_dir),
            'output-dir': str(config.output_dir),
        },
        'environment': {
            'weights': str(plan.settings.weights),
            'weights-sha256': plan.settings.sha256,
            'device': plan.settings.device,
            'cpus': available_cpus(),
            'nprocs': config.nprocs,
            'omp-nthreads': config.omp_nthreads,
            'mem-gb': round(config.mem_gb, 2),
            'python': sys.version.split()[0],
        },
        OPTIONS: dict(config.options),
    }


def _write_pages_again(config: RunConfig) -> Callable[[], int]:
    """Check that there are results, and return the function that writes their pages."""
    if not config.reports:
        raise UsageError('--reports-only and --no-reports leave nothing to do')
    there = sorted(
        path.name.removeprefix('sub-') for path in config.output_dir.glob('sub-*') if path.is_dir()
    )
    subjects = [
        label for label in there if not config.participants or label in config.participants
    ]
    if not subjects:
        raise UsageError(
            f'output_dir {config.output_dir}: no results to report on; run without --reports-only'
        )

    def work() -> int:
        pages = Pages(config, subjects, read_citation(config.output_dir))
        pages.write(subjects, ran=False)
        count = len(subjects) - pages.failed
        pages.write_index()
        tell(f'pumba: {count} reports in {config.output_dir}')
        return EXIT_FAILED if pages.failed else 0

    return work


def _not_built(config: RunConfig, error: Exception) -> int:
    if config.verbosity:
        traceback.print_exception(error)
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    tell(f'pumba: error: the workflow could not be built ({reason})', sys.stderr)
    return EXIT_NOT_BUILT


def _conclude(plan: Plan, failed: dict[Path, Failure], pages: Pages, log: Log) -> int:
    """Name the images to look at and those that failed, and return the exit code."""
    done = [outputs for outputs in plan.todo if outputs.source not in failed]
    flagged = [line for line in map(_flags, done) if line]
    for line in flagged[:MAX_FLAGGED]:
        log(line)
    if len(flagged) > MAX_FLAGGED:
        log(f'{len(flagged) - MAX_FLAGGED} more masks to look at; the group level lists them')
    for source, failure in failed.items():
        where = '' if str(source) in failure.message else f'{source}: '
        tell(f'pumba: error: {where}{failure.message}', sys.stderr)
    counts = [
        f'{counted(len(done), "image")} stripped',
        f'{plan.count("done")} done before',
        *manual_in_words(plan),
        f'{len(failed)} failed',
    ]
    log(f'{", ".join(counts)}; results in {plan.config.output_dir}')
    return EXIT_FAILED if failed or pages.failed else 0


def _flags(outputs: BrainOutputs) -> str | None:
    """Line about the flags of a mask, None without flags."""
    quality = (read_sidecar(outputs.mask) or {}).get('Quality')
    flags = quality.get('flags') if isinstance(quality, dict) else None
    return (
        f'{outputs.mask}: {"; ".join(map(str, flags))}'
        if isinstance(flags, list | tuple) and flags
        else None
    )
