"""Spaces as users name them, and the files of templates."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from pumba_pipe.workflows.templates import Space, find_template, main, parse_space

from pumba_pipe.common.errors import InputError

NAMES = (
    'tpl-X/tpl-X_res-02_T1w.nii.gz',
    'tpl-X/tpl-X_res-01_T1w.nii.gz',
    'tpl-X/tpl-X_res-01_T2w.nii.gz',
    'tpl-X/tpl-X_res-01_desc-brain_T1w.nii.gz',
    'tpl-X/tpl-X_res-01_desc-brain_mask.nii.gz',
    'tpl-X/tpl-X_res-01_atlas-A_desc-brain_mask.nii.gz',
    'tpl-X/tpl-X_res-02_label-brain_mask.nii.gz',
    'tpl-Kids/cohort-1/tpl-Kids_cohort-1_T1w.nii.gz',
    'tpl-Kids/cohort-2/tpl-Kids_cohort-2_T1w.nii.gz',
    'tpl-Rat/tpl-Rat_T2w.nii.gz',
    'tpl-Surface/tpl-Surface_hemi-L_den-32k_sphere.surf.gii',
)


@pytest.fixture
def home(templateflow_home: Path) -> Path:
    for name in NAMES:
        file = templateflow_home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'image')
    return templateflow_home


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What is asked of a network that reaches nothing: addresses, and seconds to wait."""
    asked: list[tuple[str, float]] = []

    def get(address: str, timeout: float = math.inf, **options: object) -> None:
        asked.append((address, timeout))
        raise requests.exceptions.ConnectionError('no route to host ' + 'x' * 100)

    monkeypatch.setattr(requests, 'get', get)
    return asked


@pytest.mark.parametrize(
    ('text', 'space'),
    [
        ('MNI152NLin2009cAsym', Space('MNI152NLin2009cAsym')),
        ('X:res-02', Space('X', None, 2)),
        ('Kids:cohort-1', Space('Kids', '1')),
        ('Kids:res-1:cohort-2', Space('Kids', '2', 1)),
    ],
)
def test_spaces_are_read(text: str, space: Space) -> None:
    assert parse_space(text) == space
    assert parse_space(str(space)) == space


@pytest.mark.parametrize(
    'text', ['', 'X:', 'X:2', 'X:res-native', 'X:res-0', 'X:res-1:res-2', 'a/b', 'X:den-32k']
)
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r'is not a space.*SPACE\[:cohort-X\]\[:res-Y\]'):
        parse_space(text)


@pytest.mark.parametrize(
    ('text', 'image', 'mask', 'resolution'),
    [
        ('X', 'X_res-01_T1w', 'X_res-01_desc-brain_mask', 1),
        ('X:res-2', 'X_res-02_T1w', 'X_res-02_label-brain_mask', 2),
        ('Kids:cohort-2', 'Kids_cohort-2_T1w', None, None),
        ('Rat', 'Rat_T2w', None, None),
    ],
)
def test_files_are_found(
    home: Path, text: str, image: str, mask: str | None, resolution: int | None
) -> None:
    found = find_template(parse_space(text))
    assert found.path.name == f'tpl-{image}.nii.gz'
    assert (found.mask.name if found.mask else None) == (mask and f'tpl-{mask}.nii.gz')
    assert found.resolution == resolution
    assert found.uri == f'bids:templateflow:{found.path.relative_to(home).as_posix()}'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('Y', r'space Y: no template of this name in .*there is Kids, Rat, Surface, X'),
        ('X:res-3', 'no res-3; there is res-1, res-2'),
        ('Kids', r'say which cohort, as in Kids:cohort-1; there are cohort-1, cohort-2'),
        ('Kids:cohort-9', 'no cohort-9'),
        ('Rat:res-1', 'no res-1; there is no res at all'),
        ('Surface', 'no image of a whole head'),
    ],
)
def test_what_is_not_there_is_one_clear_line(home: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_template(parse_space(text))


def test_a_template_that_cannot_be_fetched_names_the_remedy(
    home: Path, requested: list[tuple[str, float]]
) -> None:
    (home / NAMES[1]).write_bytes(b'')  # how TemplateFlow marks what it has not fetched
    with pytest.raises(InputError) as caught:
        find_template(parse_space('X:res-1'))
    line = str(caught.value)
    assert '\n' not in line
    assert f'space X:res-1: tpl-X_res-01_T1w.nii.gz is not in {home} and cannot be fetched' in line
    assert '(ConnectionError)' in line
    assert 'python -m pumba_pipe.workflows.templates X:res-1' in line
    assert 'TEMPLATEFLOW_HOME' in line
    ((address, seconds),) = requested
    assert address.endswith(NAMES[1])
    assert seconds <= 10  # a network that swallows everything must not hold a run up


def test_what_is_there_needs_no_network(home: Path, requested: list[tuple[str, float]]) -> None:
    find_template(parse_space('X:res-2'))
    assert requested == []


def test_an_empty_cache_lies_where_the_client_has_it(
    templateflow_home: Path, requested: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client knows the templates of its version; its own rule says where they would lie."""
    monkeypatch.delenv('TEMPLATEFLOW_HOME')
    from platformdirs import user_cache_dir

    monkeypatch.setenv('XDG_CACHE_HOME', str(templateflow_home))
    own = user_cache_dir('templateflow')
    with pytest.raises(InputError, match='cannot be fetched') as caught:
        find_template(parse_space('MNI152NLin2009cAsym:res-2'))
    assert f'is not in {own} and' in str(caught.value)
    assert len(requested) == 1


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write all')
def test_a_cache_that_cannot_be_made_is_one_line(templateflow_home: Path) -> None:
    templateflow_home.mkdir()
    templateflow_home.chmod(0o500)
    with pytest.raises(InputError, match=r'space X: TemplateFlow: .*; where there is network'):
        find_template(parse_space('X'))


def test_a_cache_that_is_a_file_is_one_line(templateflow_home: Path) -> None:
    templateflow_home.write_text('not a folder')
    with pytest.raises(InputError, match=r'space X: TemplateFlow: .*; where there is network'):
        find_template(parse_space('X'))


def test_the_client_is_imported_only_when_a_template_is_looked_for() -> None:
    code = (
        'import sys; from pumba_pipe.workflows.templates import parse_space;'
        'parse_space("X:res-1"); sys.exit("templateflow" in sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_the_files_of_a_template_are_printed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['X:res-2']) == 0
    assert capsys.readouterr().out.split() == [str(home / NAMES[0]), str(home / NAMES[6])]
    assert main(['Y']) == 1
    assert capsys.readouterr().err.startswith('pumba templates: error: space Y: no template')
