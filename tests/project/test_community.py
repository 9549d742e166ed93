"""What contributors find: workflows, templates, hooks, and what the package says of itself."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
MAKEFILE = (ROOT / 'Makefile').read_text('utf-8')
METADATA = distribution('pumba_pipe').metadata


def program(name: str) -> str | None:
    """Path of a program of this environment, or else of the machine."""
    path = os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH']])
    return shutil.which(name, path=path)


def jobs(name: str) -> dict:
    return yaml.safe_load((ROOT / '.github' / 'workflows' / name).read_text('utf-8'))['jobs']


def steps(file: Path) -> list[dict]:
    return [step for job in jobs(file.name).values() for step in job['steps']]


def test_workflows_call_make_targets_that_exist() -> None:
    targets = set(re.findall(r'^([\w-]+):', MAKEFILE, re.MULTILINE))
    run = [step['run'] for file in WORKFLOWS for step in steps(file) if 'run' in step]
    called = {match for line in run for match in re.findall(r'^make ([\w-]+)$', line)}
    assert {'lint', 'test', 'docs', 'image', 'image-sbom', 'links', 'release'} <= called
    assert called <= targets


def test_actions_are_named_by_commit_and_leave_no_credentials() -> None:
    """A tag can be moved to other code; dependabot tells of newer commits."""
    used = [step for file in WORKFLOWS for step in steps(file) if 'uses' in step]
    assert len(used) > 5
    for step in used:
        name = step['uses']
        assert name.startswith('docker://') or re.fullmatch(r'[\w/-]+@[0-9a-f]{40}', name), name
        if name.startswith('actions/checkout@'):
            assert step['with']['persist-credentials'] is False
    watched = yaml.safe_load((ROOT / '.github' / 'dependabot.yml').read_text('utf-8'))
    assert [one['package-ecosystem'] for one in watched['updates']] == ['github-actions']


def test_workflows_test_every_python_that_the_package_names() -> None:
    matrix = jobs('checks.yml')['test']['strategy']['matrix']
    named = METADATA.get_all('Classifier') or []
    versions = [re.fullmatch(r'Programming Language :: Python :: (3\.\d+)', one) for one in named]
    assert matrix['python'] == [found[1] for found in versions if found]
    assert METADATA['Requires-Python'] == f'>={matrix["python"][0]}'


def test_a_release_is_published_without_a_password() -> None:
    made = jobs('release.yml')
    assert made['publish']['needs'] == 'build'
    assert made['publish']['permissions'] == {'id-token': 'write'}
    assert 'secrets.' not in (ROOT / '.github' / 'workflows' / 'release.yml').read_text('utf-8')


def test_actionlint_finds_nothing() -> None:
    found = program('actionlint')
    if found is None:
        pytest.skip('actionlint is not installed')
    done = subprocess.run([found, '-no-color', *WORKFLOWS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '')


def test_templates_are_forms_and_ask_for_what_is_needed() -> None:
    for file in (ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml'):
        form = yaml.safe_load(file.read_text('utf-8'))
        if file.name == 'config.yml':
            continue
        assert {'name', 'description', 'body'} <= set(form), file.name
        ids = [field['id'] for field in form['body'] if 'id' in field]
        assert len(ids) == len(set(ids)) > 0
    form = yaml.safe_load((ROOT / '.github/ISSUE_TEMPLATE/bug.yml').read_text('utf-8'))
    needed = {
        field['id']: str(field['attributes'])
        for field in form['body']
        if field.get('validations', {}).get('required')
    }
    assert 'pumba --version' in needed['version']
    assert 'header' in needed


def test_hooks_are_programs_of_the_extra_dev() -> None:
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text('utf-8'))
    hooks = [hook for repo in config['repos'] for hook in repo['hooks']]
    assert {repo['repo'] for repo in config['repos']} == {'local'}
    needed = [line for line in distribution('pumba_pipe').requires or [] if 'extra' in line]
    packages = {
        re.split(r'[^\w-]', line)[0] for line in needed if "'dev'" in line or '"dev"' in line
    }
    for hook in hooks:
        words = hook['entry'].split()
        if words[0] == 'make':
            assert re.search(rf'^{words[1]}:', MAKEFILE, re.MULTILINE)
        elif words[0] == 'python':
            assert (ROOT / words[1]).is_file()
        else:
            assert words[0] in packages


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location('large', ROOT / '.ci' / 'large_files.py')
    assert spec is not None and spec.loader is not None
    large = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(large)
    monkeypatch.chdir(tmp_path)
    for name, size in {'small': 10, 'head.nii.gz': 600_000, 'tests/data/head': 600_000}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
    (line,) = large.too_large(['small', 'head.nii.gz', 'tests/data/head', 'deleted'])
    assert line.startswith('head.nii.gz: 600 kB')


def test_spelling() -> None:
    found = program('codespell')
    if found is None:
        pytest.skip("codespell belongs to the extra dev: pip install '.[dev]'")
    if not (ROOT / '.git').exists():
        pytest.skip('not a clone of the repository: Git cannot say which files belong to it')
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.split('\0') if (ROOT / name).is_file()]
    done = subprocess.run([found, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ''
