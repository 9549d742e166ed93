"""Batch systems that refuse jobs, lose them, or do not reply: one image fails, not the run."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from nipype.pipeline.plugins import SLURMGraphPlugin, SLURMPlugin
from pumba_pipe.bids_app.execution import batch_system
from pumba_pipe.bids_app.execution.batch_plugins import (
    strict_bash,
    tolerant,
    with_strict_commands,
)
from pumba_pipe.bids_app.execution.plugin_file import PluginChoice
from pumba_pipe.bids_app.options.config import UsageError

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='commands are scripts of bash')

QUICK = {'poll_sleep_duration': '0.1', 'job_finished_timeout': '0.1', 'crashfile_format': 'txt'}
ARGS = {'retry_timeout': 0, 'max_tries': 1}
RUN = 'bash "${@: -1}"'  # the script of the job
DONE = 'echo Submitted batch job $$'  # with a number of its own


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A function that puts commands of SLURM in place."""
    folder = tmp_path / 'commands'
    folder.mkdir()
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setenv('LOGNAME', 'someone')

    def make(**scripts: str) -> None:
        for name, text in scripts.items():
            (folder / name).write_text(f'#!/bin/bash\n{text}\n')
            (folder / name).chmod(stat.S_IRWXU)

    return make


def touch(name):
    from pathlib import Path

    Path(name).touch()


def two_nodes(folder: Path) -> pe.Workflow:
    workflow = pe.Workflow('two', base_dir=str(folder))
    for name in ('first', 'second'):
        node = pe.Node(Function(['name'], [], touch), name)
        node.inputs.name = str(folder / f'{name}.done')
        workflow.add_nodes([node])
    workflow.config['execution'] = QUICK | {'crashdump_dir': str(folder / 'crashes')}
    return workflow


def run(folder: Path) -> list[str]:
    """Run two nodes of which at least one fails; return the lines of errors in crash files."""
    with pytest.raises(Exception, match=r'Job|raised'):
        two_nodes(folder).run(plugin=tolerant(SLURMPlugin)(plugin_args=ARGS))
    texts = [file.read_text() for file in sorted((folder / 'crashes').glob('crash-*'))]
    return [line for text in texts for line in text.splitlines() if line.startswith('Job')]


def test_a_job_that_is_refused_is_one_of_many(tmp_path, commands):
    refuse = 'echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1'
    commands(sbatch=f'case "$*" in *first*) {refuse};; esac; {RUN}; {DONE}', squeue='exit 0')
    (line,) = run(tmp_path)
    assert line.endswith('did not take a job (QOSMaxSubmitJobPerUserLimit)')
    assert not (tmp_path / 'first.done').exists()
    assert (tmp_path / 'second.done').exists()


def test_a_reply_without_a_number(tmp_path, commands):
    commands(sbatch='echo hello', squeue='exit 0')
    assert [line.endswith('(it gave no job number)') for line in run(tmp_path)] == [True, True]


def test_a_job_that_vanishes_is_one_of_many(tmp_path, commands):
    commands(
        sbatch=f'case "$*" in *first*) ;; *) {RUN};; esac; {DONE}',
        squeue='echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1',
    )
    (line,) = run(tmp_path)
    assert re.match(r'JobLostError: job \d+ ended without a result', line)
    assert f'{tmp_path}/two/batch' in line
    assert (tmp_path / 'second.done').exists()


def test_a_controller_that_does_not_reply_is_asked_again(tmp_path, commands):
    """The job counted as ended, and as lost a minute later."""
    commands(
        sbatch=f'({RUN}) >/dev/null 2>&1 & sleep 0.1; {DONE}',
        squeue=f'[ -e {tmp_path}/second.done -a -e {tmp_path}/first.done ] && sleep 1 && exit 0;'
        'echo "slurm_load_jobs error: Socket timed out on send/recv operation" >&2; exit 1',
    )
    two_nodes(tmp_path).run(plugin=tolerant(SLURMPlugin)(plugin_args=ARGS))
    assert (tmp_path / 'second.done').exists()


def test_jobs_handed_over_at_once_are_all_taken_or_an_error_says_so(tmp_path, commands):
    commands(sbatch=f'echo "BASH_ENV=$BASH_ENV" > {tmp_path}/inherited; {DONE}')
    plugin = with_strict_commands(SLURMGraphPlugin)
    with strict_bash():
        two_nodes(tmp_path).run(plugin=plugin(plugin_args={'sbatch_args': ''}))
    assert (tmp_path / 'inherited').read_text() == 'BASH_ENV=\n'
    commands(sbatch='echo "sbatch: error: no more jobs" >&2; exit 1')
    with pytest.raises(RuntimeError, match='no more jobs'), strict_bash():
        two_nodes(tmp_path).run(plugin=plugin(plugin_args={'sbatch_args': ''}))
    assert 'BASH_ENV' not in os.environ


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        ({'sbatch_args': '--comment="a'}, 'no closing quotation'),
        ({'sbatch_args': ['-p', 'long']}, 'is no text'),
        ({'template': ['#!/bin/bash']}, 'is no text'),
        ({'template': 'nowhere.sh'}, 'No such file or directory; give a file'),
        ({'template': sys.executable}, 'template'),
    ],
)
def test_settings_that_no_job_can_have(tmp_path, commands, args, message):
    commands(sbatch='exit 0')
    with pytest.raises(UsageError, match=message) as caught:
        batch_system.prepare_batch_system(PluginChoice('SLURM', args), tmp_path)
    assert str(caught.value).startswith('--use-plugin: plugin_args: ')
