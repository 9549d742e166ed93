"""What is installed, under which names, and what importing it costs."""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest

import pumba_pipe

ROOT = Path(__file__).parents[2]
HEAVY = (
    'torch', 'numpy', 'nibabel', 'nipype', 'bids', 'matplotlib', 'scipy', 'pandas', 'SimpleITK',
    'templateflow', 'jinja2', 'PIL', 'yaml',
)  # fmt: skip
COMMANDS = (
    'pumba', 'pumba-strip', 'pumba-synthstrip', 'pumba-train', 'pumba-synth', 'pumba-evaluate',
    'pumba-weights',
)  # fmt: skip

# What a training machine may lack; whoever imports one of these fails.
NOT_IN_CORE = """
import sys
BLOCKED = ('PIL', 'SimpleITK', 'bids', 'jinja2', 'lightning', 'matplotlib', 'nibabel', 'nipype',
           'pandas', 'safetensors', 'scipy', 'templateflow', 'tensorboard', 'tqdm', 'yaml')
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in BLOCKED:
            raise ImportError(f'{name} is not there')
sys.meta_path.insert(0, Block())
"""


def run_python(code: str) -> str:
    """Run code in a new interpreter, away from the checkout, and return what it prints."""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(sys.prefix)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def entry_points() -> dict[str, EntryPoint]:
    found = distribution('pumba_pipe').entry_points
    return {point.name: point for point in found if point.group == 'console_scripts'}


def test_version_is_written_once() -> None:
    assert distribution('pumba_pipe').version == pumba_pipe.__version__
    for name in ('setup.py', 'pyproject.toml', 'CITATION.cff'):
        text = (ROOT / name).read_text(encoding='utf-8')
        assert not re.search(rf'\b{re.escape(pumba_pipe.__version__)}\b', text), name


def test_every_command_is_installed() -> None:
    assert set(entry_points()) == set(COMMANDS)


@pytest.mark.parametrize('command', COMMANDS)
def test_help_is_quick(command: str) -> None:
    """Help is printed by a process that imports nothing heavy."""
    module, _, function = entry_points()[command].value.partition(':')
    printed = run_python(
        'import sys\n'
        f'from {module} import {function} as main\n'
        'try:\n'
        "    main(['--help'])\n"
        'except SystemExit as end:\n'
        '    assert not end.code\n'
        f'print("heavy:", *(name for name in {HEAVY} if name in sys.modules))\n'
    )
    assert printed.startswith('usage: ' + command)
    assert printed.endswith('heavy:\n')


@pytest.mark.parametrize('command', COMMANDS)
def test_version_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        entry_points()[command].load()(['--version'])
    assert pumba_pipe.__version__ in capsys.readouterr().out


def test_importing_the_package_is_quick() -> None:
    code = f'import sys, pumba_pipe; print(*(name for name in {HEAVY} if name in sys.modules))'
    assert run_python(code).split() == []


def test_a_copy_of_the_repository_is_complete_without_an_editable_installation() -> None:
    """Python started in the root finds the copy there before an installed package."""
    code = (
        'import sys\n'
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
        f'sys.path.insert(0, {str(ROOT)!r})\n'
        'import pumba_pipe.workflows.naming as w, pumba_pipe.bids_app.subjects as b\n'
        'print(w.__file__, b.__file__, sep="|")'
    )
    expected = [ROOT / 'workflows' / 'naming.py', ROOT / 'bids_app' / 'subjects.py']
    assert [Path(file) for file in run_python(code).strip().split('|')] == expected


def test_every_public_name_exists() -> None:
    for name in pumba_pipe.__all__:
        assert getattr(pumba_pipe, name) is not None, name
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = pumba_pipe.no_such_name


def test_core_needs_only_torch_and_numpy() -> None:
    printed = run_python(
        NOT_IN_CORE + 'import pumba_pipe.training.loop, pumba_pipe.training.samples\n'
        'import pumba_pipe.network.unet, pumba_pipe.training.losses\n'
        'from pumba_pipe.synthesis.recipe import load_recipe\n'
        'from pumba_pipe.synthesis.sample import synthesize\n'
        'print(tuple(synthesize(load_recipe(), seed=1, shape=(24, 24, 24)).image.shape))\n'
    )
    assert printed == '(24, 24, 24)\n'


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{file}: relative import'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize(
    ('folder', 'above'),
    [
        ('pumba_pipe', ('pumba_pipe.interfaces', 'pumba_pipe.workflows', 'pumba_pipe.bids_app')),
        ('pumba_pipe/interfaces', ('pumba_pipe.workflows', 'pumba_pipe.bids_app')),
        ('workflows', ('pumba_pipe.bids_app',)),
    ],
)
def test_dependencies_point_one_way(folder: str, above: tuple[str, ...]) -> None:
    files = [
        file
        for file in (ROOT / folder).rglob('*.py')
        if folder != 'pumba_pipe' or 'interfaces' not in file.relative_to(ROOT).parts
    ]
    assert files
    wrong = [
        f'{file.relative_to(ROOT)}: {name}'
        for file in files
        for name in imported_modules(file)
        if any(name == one or name.startswith(one + '.') for one in above)
    ]
    assert wrong == []
