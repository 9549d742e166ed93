"""Defaults are written once: parser, help, workflow, nodes and documents say the same."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from pumba_pipe.bids_app.options import definitions
from pumba_pipe.bids_app.options.config import MAX_DEFAULT_THREADS, RunConfig
from pumba_pipe.bids_app.options.parser import build_parser, parse
from pumba_pipe.workflows.settings import StripSettings

from pumba_pipe.commands import strip
from pumba_pipe.common.resources import MEMORY_SHARE
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.extraction.pipeline import extract
from pumba_pipe.extraction.strip_file import strip_file
from pumba_pipe.interfaces import RegisterToTemplate, SkullStrip
from pumba_pipe.registration.options import RegistrationOptions
from pumba_pipe.registration.register import register_files

PAGE = Path(__file__).parents[2] / 'docs' / 'bids-app.md'
# What is different in each run, or only says how the command was given.
NOT_DEFAULTS = ('run_id', 'command', 'options')
SHARED = {'border_mm', 'csf', 'deformable', 'probability', 'reports', 'sloppy', 'seed'}


def stated() -> dict[str, str]:
    """Option to the default that its row of the page states."""
    rows = re.findall(r'^\| (`-.*?) \| (.*) \|$', PAGE.read_text('utf-8'), re.MULTILINE)
    found = {}
    for options, meaning in rows:
        default = re.search(r'Default: (.+?)(?:\. |\.?$)', meaning)
        if default:
            (name, *_) = re.findall(r'--[a-z][\w-]*', options)
            found[name] = default[1]
    return found


def test_a_command_without_options_is_a_configuration_without_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = dataclasses.asdict(parse(['in', 'out', 'participant']))
    plain = RunConfig(tmp_path / 'in', tmp_path / 'out', 'participant')
    expected = dataclasses.asdict(plain) | {'work_dir': tmp_path / RunConfig.work_dir}
    for name in NOT_DEFAULTS:
        del given[name], expected[name]
    assert given == expected


def test_the_options_write_no_default_of_their_own() -> None:
    defaults = [
        keyword.value
        for call in ast.walk(ast.parse(inspect.getsource(definitions)))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == 'default'
    ]
    written = [ast.unparse(value) for value in defaults if isinstance(value, ast.Constant)]
    assert len(defaults) >= 10
    assert written == []


def test_help_states_the_defaults() -> None:
    text = ' '.join(build_parser().format_help().split())
    for default in (f'{RunConfig.border_mm:g}', RunConfig.csf, RunConfig.device, RunConfig.seed,
                    f'./{RunConfig.work_dir}', f'{MAX_DEFAULT_THREADS}, or --nprocs if less',
                    f'{MEMORY_SHARE:.0%} of what', ' '.join(RunConfig.modalities)):  # fmt: skip
        assert f'default: {default}' in text


def test_the_page_states_the_defaults() -> None:
    assert stated() == {
        '--modalities': f'`{" ".join(RunConfig.modalities)}`',
        '--border-mm': f'{RunConfig.border_mm:g}',
        '--csf': f'`{RunConfig.csf}`',
        '--device': f'`{RunConfig.device}`',
        '--weights': 'the file in the environment variable `PUMBA_WEIGHTS`, or the shipped '
        'weights',
        '--n4': f'`{RunConfig.n4}`',
        '--random-seed': f'{RunConfig.seed}',
        '--work-dir': f'`{RunConfig.work_dir}` in the current folder',
        '--nprocs': 'all that are available to this process',
        '--omp-nthreads': f'{MAX_DEFAULT_THREADS}, or `--nprocs` if less',
        '--mem': f'{MEMORY_SHARE:.0%} of what is available to this process',
    }


def test_a_run_and_its_workflow_have_the_same_defaults() -> None:
    run, workflow = (
        {field.name: field.default for field in dataclasses.fields(kind)}
        for kind in (RunConfig, StripSettings)
    )
    assert {name: run[name] for name in SHARED} == {name: workflow[name] for name in SHARED}


def test_functions_commands_and_nodes_have_the_defaults_of_extraction() -> None:
    default = dataclasses.asdict(ExtractionOptions())
    for function in (extract, strip_file):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in default} == default
    given = strip.build_parser().parse_args(['-i', 'x'])
    assert (given.border, given.csf) == (default['border_mm'], default['csf'])
    assert (given.device, given.threads) == (default['device'], default['threads'])
    inputs = SkullStrip().inputs
    assert {name: getattr(inputs, name) for name in ('border_mm', 'csf', 'device')} == {
        name: default[name] for name in ('border_mm', 'csf', 'device')
    }


def test_functions_and_nodes_have_the_defaults_of_registration() -> None:
    default = dataclasses.asdict(RegistrationOptions())
    parameters = inspect.signature(register_files).parameters
    assert {name: parameters[name].default for name in default} == default
    inputs = RegisterToTemplate().inputs
    for name in ('transform', 'sloppy', 'seed'):
        assert getattr(inputs, name) == default[name]


@pytest.mark.parametrize(('nprocs', 'threads'), [(1, 1), (3, 3), (16, MAX_DEFAULT_THREADS)])
def test_threads_of_an_image_follow_the_number_of_cpus(nprocs: int, threads: int) -> None:
    config = parse(['in', 'out', 'participant', '--nprocs', str(nprocs)])
    assert config.omp_nthreads == threads
    assert RunConfig(Path('in'), Path('out'), 'group', nprocs=nprocs).omp_nthreads == threads


def test_a_job_of_a_cluster_uses_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '1')
    monkeypatch.setenv('SLURM_MEM_PER_NODE', '100')
    config = parse(['in', 'out', 'participant'])
    assert (config.nprocs, config.omp_nthreads) == (1, 1)
    assert config.mem_gb == pytest.approx(0.9 * 100 * 2**20 / 1e9)
