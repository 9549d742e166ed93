"""Spaces as users name them, and the files of templates."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
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
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        file = tmp_path / 'home' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'image')
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home'


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A client of TemplateFlow that reaches nothing."""

    def get(template: str, **query: object) -> None:
        api.queries.append((template, query))
        raise ConnectionError('no route to host ' + 'x' * 100)

    api = types.ModuleType('templateflow.api')
    api.get = get
    api.queries = []
    package = types.ModuleType('templateflow')
    package.api = api
    monkeypatch.setitem(sys.modules, 'templateflow', package)
    monkeypatch.setitem(sys.modules, 'templateflow.api', api)
    return api


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
    home: Path, client: types.ModuleType
) -> None:
    (home / NAMES[1]).write_bytes(b'')  # how TemplateFlow marks what it has not fetched
    with pytest.raises(InputError) as caught:
        find_template(parse_space('X:res-1'))
    line = str(caught.value)
    assert '\n' not in line
    assert 'space X:res-1: tpl-X_res-01_T1w.nii.gz' in line
    assert 'python -m pumba_pipe.workflows.templates X:res-1' in line
    assert 'TEMPLATEFLOW_HOME' in line
    (template, query), *_ = client.queries
    assert (template, query['resolution'], query['suffix'], query['desc']) == ('X', 1, 'T1w', None)


def test_the_files_of_a_template_are_printed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['X:res-2']) == 0
    assert capsys.readouterr().out.split() == [str(home / NAMES[0]), str(home / NAMES[6])]
    assert main(['Y']) == 1
    assert capsys.readouterr().err.startswith('pumba templates: error: space Y: no template')
