"""The conda recipe asks for what setup.py asks for, and makes the same commands."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / 'docker' / 'conda'
RECIPE = yaml.safe_load((FOLDER / 'recipe.yaml').read_text('utf-8'))
PACKAGE = distribution('pumba_pipe')
CALLED = {'torch': 'pytorch', 'isal': 'python-isal'}  # what a package is called there


def split(line: str) -> tuple[str, str]:
    found = re.match(r'([\w.-]+)\s*(.*)', line)
    assert found is not None, line
    name = found[1].lower()
    return CALLED.get(name, name), ','.join(sorted(found[2].replace(' ', '').split(',')))


def test_requirements_are_those_of_the_package() -> None:
    lines = [line.partition(';')[0].strip() for line in PACKAGE.requires or []
             if 'extra ==' not in line]  # fmt: skip
    wanted = dict(map(split, lines))
    listed = dict(map(split, RECIPE['requirements']['run']))
    assert listed.pop('python') == '>=${{python_min}}'
    assert listed == wanted
    assert PACKAGE.metadata['Requires-Python'] == f'>={RECIPE["context"]["python_min"]}'


def test_commands_are_those_of_the_package() -> None:
    points = PACKAGE.entry_points.select(group='console_scripts')
    wanted = {f'{point.name} = {point.value}' for point in points}
    assert set(RECIPE['build']['python']['entry_points']) == wanted


def test_version_and_licence() -> None:
    assert str(RECIPE['context']['version']) == PACKAGE.version
    assert RECIPE['about']['license'] == 'Apache-2.0'
    assert (FOLDER.parents[1] / RECIPE['about']['license_file']).is_file()


def test_rattler_build_reads_it() -> None:
    rattler = pytest.importorskip(
        'rattler_build', reason='py-rattler-build is not installed; `make conda` installs it'
    )
    (variant,) = rattler.Stage0Recipe.from_file(FOLDER / 'recipe.yaml').render()
    assert variant.recipe.package.name == 'pumba_pipe'
