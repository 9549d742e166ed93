"""What the documents say is there."""

from __future__ import annotations

import contextlib
import re
import shlex
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / 'README.md'
ARCHITECTURE = ROOT / 'docs' / 'architecture.md'
DOCUMENTS = [
    README,
    ROOT / 'CHANGELOG.md',
    ROOT / 'CODE_OF_CONDUCT.md',
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'SECURITY.md',
    ROOT / 'docker' / 'README.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'docs' / 'site').glob('*.md')),
]
PLAIN = [
    ROOT / name
    for name in (
        'Makefile', '.ci/run', '.ci/release.py', 'CITATION.cff', 'setup.py', 'MANIFEST.in',
        'docker/Dockerfile', 'docker/Apptainer.def', 'docker/install.sh', 'docs/site/conf.py',
    )
]  # fmt: skip


def text_of(file: Path) -> str:
    return file.read_text(encoding='utf-8')


def shell_lines(file: Path) -> list[str]:
    """Lines of the shell examples in a document, without comments."""
    blocks = re.findall(r'^```sh\n(.*?)^```', text_of(file), re.MULTILINE | re.DOTALL)
    joined = [block.replace('\\\n', ' ') for block in blocks]
    return [line.split('#')[0].strip() for block in joined for line in block.splitlines()]


def examples() -> list[str]:
    """Every example that calls one of our commands."""
    lines = [line for file in DOCUMENTS for line in shell_lines(file)]
    return [line for line in lines if line.startswith('pumba')]


@pytest.mark.parametrize('file', [*DOCUMENTS, *PLAIN], ids=lambda file: file.name)
def test_no_merge_was_left_half_done(file: Path) -> None:
    """The lines that Git writes where two branches disagree."""
    assert re.findall(r'^(?:[<>|]{7} .*|={7})$', text_of(file), re.MULTILINE) == []


def test_make_targets_exist() -> None:
    lines = [line for file in (README, ROOT / 'CONTRIBUTING.md') for line in shell_lines(file)]
    named = set(re.findall(r'\bmake (\w+)', '\n'.join(lines)))
    named |= set(re.findall(r'`make (\w+)`', text_of(ROOT / 'CONTRIBUTING.md')))
    assert {'demo', 'test'} <= named
    targets = set(re.findall(r'^([\w-]+):', text_of(ROOT / 'Makefile'), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize('line', examples())
def test_examples_use_options_that_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = shlex.split(line)
    (point,) = distribution('pumba_pipe').entry_points.select(name=command)
    task = words[:1] if words and not words[0].startswith('-') else []  # as in pumba-weights info
    with contextlib.suppress(SystemExit):
        point.load()([*task, '--help'])
    known = re.findall(r'(?<![\w-])--?[a-zA-Z][\w-]*', capsys.readouterr().out)
    assert {word for word in words if word.startswith('-')} <= set(known)


def test_every_command_is_explained() -> None:
    for point in distribution('pumba_pipe').entry_points.select(group='console_scripts'):
        assert f'`{point.name}`' in text_of(README), point.name


def test_files_named_in_architecture_exist() -> None:
    named = re.findall(r'`((?:\w+/)+(?:[\w.]+)?|setup\.py)`', text_of(ARCHITECTURE))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_folder_is_in_architecture() -> None:
    """A folder with modules has its line: the table is how a newcomer finds a place."""
    text = text_of(ARCHITECTURE)
    homes = [ROOT / name for name in ('pumba_pipe', 'workflows', 'bids_app')]
    folders = {file.parent for home in homes for file in home.rglob('*.py')} - {homes[0]}
    assert len(folders) > 15
    names = sorted(f'{folder.relative_to(ROOT).as_posix()}/' for folder in folders)
    assert [name for name in names if f'| `{name}` |' not in text] == []


def anchors(file: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r'^#+ (.+)$', text_of(file), re.MULTILINE)
    plain = [re.sub(r'[^\w\- ]', '', head.lower()) for head in heads]
    return {head.replace(' ', '-') for head in plain}


@pytest.mark.parametrize('file', DOCUMENTS, ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    links = re.findall(r'\]\(([^)\s]+)\)', re.sub(r'\s+', ' ', text_of(file)))
    for link in links:
        if '://' in link:
            continue
        target, _, anchor = link.partition('#')
        page = file.parent / target if target else file
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize('file', DOCUMENTS + PLAIN, ids=lambda file: file.name)
def test_no_paths_of_one_machine(file: Path) -> None:
    assert re.findall(r'(?<![\w.])/(?:work|tmp|home|root|Users)/\S*', text_of(file)) == []


def test_the_paper_is_cited_alike() -> None:
    citation, readme = text_of(ROOT / 'CITATION.cff'), text_of(README)
    for author in re.findall(r'family-names: (\w+)', citation):
        assert author in readme
    assert '2505.07159' in citation
    assert '2505.07159' in readme


def test_tested_versions_cover_every_requirement() -> None:
    """Each package that is asked for has a version in constraints.txt, but for the extra ants."""
    pinned = re.findall(r'^([\w.-]+)==', text_of(ROOT / 'constraints.txt'), re.MULTILINE)
    known = {re.sub(r'[-_.]+', '-', name).lower() for name in pinned}
    needed = [
        line
        for line in distribution('pumba_pipe').requires or []
        if 'extra == "ants"' not in line and 'python_version < ' not in line
    ]
    names = [re.split(r'[^\w.-]', line)[0] for line in needed]
    assert {re.sub(r'[-_.]+', '-', name).lower() for name in names} <= known
