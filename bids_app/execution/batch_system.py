"""Batch systems that Nipype submits jobs to: checks beforehand, and settings it needs."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.execution.plugin_file import PluginChoice, plugin_class
from pumba_pipe.bids_app.options.config import UsageError

from pumba_pipe.common.documents import brief, read_text
from pumba_pipe.common.errors import InputError

# Command with which each plugin submits a job.
SUBMIT = {
    'SLURM': 'sbatch',
    'SLURMGraph': 'sbatch',
    'PBS': 'qsub',
    'PBSGraph': 'qsub',
    'SGE': 'qsub',
    'SGEGraph': 'qsub',
    'LSF': 'bsub',
    'OAR': 'oarsub',
    'Condor': 'condor_qsub',
    'CondorDAGMan': 'condor_submit_dag',
}
# The state of each job is asked for by a command of its own: not ten times a second. And a shared
# file system may show a result up to a minute after it was written.
SETTINGS = {'poll_sleep_duration': '2', 'job_finished_timeout': '60'}
CHECK_SECONDS = 60


def is_batch_system(choice: PluginChoice | None) -> bool:
    """Whether a plugin submits jobs to a batch system."""
    return choice is not None and choice.name in SUBMIT


def submits_and_returns(choice: PluginChoice | None) -> bool:
    """Whether a plugin submits all jobs at once and does not wait for them."""
    if not is_batch_system(choice):
        return False
    assert choice is not None
    from nipype.pipeline.plugins.base import GraphPluginBase

    return issubclass(plugin_class(choice.name), GraphPluginBase)


def prepare_batch_system(choice: PluginChoice, work_dir: Path) -> None:
    """Check that jobs can be submitted, and set what Nipype relies on.

    Raises
    ------
    UsageError
        The batch system is not here, or does not take such jobs.
    """
    command = SUBMIT[choice.name]
    _check_texts(choice.args)
    if shutil.which(command) is None:
        raise UsageError(
            f'--use-plugin: {choice.name} submits jobs with {command}, which is not installed '
            'here; start pumba where jobs can be submitted'
        )
    if len(str(work_dir).split()) != 1:
        raise UsageError(
            f'work dir {work_dir}: Nipype cannot submit jobs from a folder with a blank in its '
            'name; choose another with -w'
        )
    if command == 'sbatch':
        _check_slurm(choice.args)
    # the names of jobs are made of it, and a container or a bare shell may not have it
    os.environ.setdefault('LOGNAME', _user())
    from nipype import config

    config.update_config({'execution': SETTINGS})


def _check_texts(args: dict[str, Any]) -> None:
    """Refuse options and a template that are none; put the template's content in its place."""
    for name, text in args.items():
        if name != 'template' and not name.endswith('_args'):
            continue
        if not isinstance(text, str):
            raise UsageError(f'--use-plugin: plugin_args: {name}: {brief(text)} is no text')
        try:
            shlex.split(text if name != 'template' else '')
        except ValueError as error:
            reason = str(error).lower()
            raise UsageError(
                f'--use-plugin: plugin_args: {name}: {brief(text)}: {reason}'
            ) from None
    template = args.get('template', '#!')
    if template.startswith('#') or '\n' in template:
        return
    try:
        args['template'] = read_text(Path(template), what='template')
    except InputError as error:
        raise UsageError(
            f'--use-plugin: plugin_args: {error}; give a file, or lines that begin with #!'
        ) from None


def _check_slurm(args: dict[str, Any]) -> None:
    """Ask SLURM whether it would take a job: a refusal would else come back for every step."""
    template = args.get('template', '#!/bin/bash')
    options = shlex.split(args.get('sbatch_args', ''))
    try:
        tried = subprocess.run(
            ['sbatch', '--test-only', *options],
            input=f'{template.rstrip()}\ntrue\n',
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f'--use-plugin: SLURM did not reply within {CHECK_SECONDS} s; try again'
        ) from None
    if tried.returncode:
        raise UsageError(f'--use-plugin: SLURM does not take such jobs ({_reason(tried.stderr)})')


def _reason(printed: str) -> str:
    """Reason of a refusal, from the error output of sbatch.

    Examples
    --------
    >>> _reason('sbatch: error: invalid partition specified: a')
    'invalid partition specified: a'
    """
    lines = [line for line in printed.splitlines() if line.strip() and not line.startswith('Try ')]
    last = lines[-1] if lines else 'no reason given'
    return re.sub(r'^(?:sbatch: |error: |fatal: |allocation failure: )+', '', last)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return str(os.getuid())
