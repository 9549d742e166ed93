"""The documentation site shows every page, command and public name, and can be built."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / 'docs' / 'site'


def listed() -> set[Path]:
    """Pages in the lists of contents of the first page, without their ending."""
    text = (SITE / 'index.md').read_text('utf-8')
    lists = re.findall(r'^:::\{toctree\}\n(.*?)^:::', text, re.MULTILINE | re.DOTALL)
    names = [line for one in lists for line in one.splitlines() if line and line[0] != ':']
    assert len(names) == len(set(names))
    return {(SITE / name).resolve() for name in names}


def test_every_page_is_in_the_contents() -> None:
    pages = [
        *ROOT.glob('docs/*.md'),
        *ROOT.glob('docs/notebooks/*.ipynb'),
        *SITE.glob('*.md'),
        *SITE.glob('*.rst'),
    ]
    missing = [page.name for page in pages if page.with_suffix('').resolve() not in listed()]
    assert missing == ['index.md']


def test_every_page_of_the_contents_is_there() -> None:
    files = {
        page: [page.with_name(page.name + end) for end in ('.md', '.rst', '.ipynb')]
        for page in listed()
    }
    assert [page for page, names in files.items() if not any(map(Path.is_file, names))] == []


def test_every_command_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('sphinx', reason='the extra docs is not installed')
    monkeypatch.syspath_prepend(SITE)
    parsers = importlib.import_module('command_reference').PARSERS
    text = (SITE / 'commands.md').read_text('utf-8')
    shown = re.findall(r'^:::\{command\} (.*)\n:::$', text, re.MULTILINE)
    assert shown == list(parsers)
    points = distribution('pumba_pipe').entry_points.select(group='console_scripts')
    assert {point.name for point in points} <= set(shown)


@pytest.mark.parametrize('module', ['', '.sitk', '.interfaces', '.workflows'])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    text = (SITE / 'api.rst').read_text('utf-8')
    _, _, part = text.partition(f'.. currentmodule:: pumba_pipe{module}\n')
    part = part.partition('currentmodule')[0]
    names = re.findall(r'^\.\. auto\w+:: (\w+)$', part, re.MULTILINE)
    public = set(importlib.import_module(f'pumba_pipe{module}').__all__)
    assert set(names) == public - {'__version__', 'sitk'}


def test_words_that_readers_search_for_lead_to_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('sphinx', reason='the extra docs is not installed')
    monkeypatch.syspath_prepend(SITE)
    words = importlib.import_module('search_words').WORDS
    for place in words:
        page, _, heading = place.partition('#')
        text = (ROOT / f'{page}.md').read_text('utf-8')
        titles = [line.lstrip('# ').lower() for line in text.splitlines() if line[:1] == '#']
        addresses = [re.sub(r'[^a-z0-9 -]', '', title).replace(' ', '-') for title in titles]
        assert not heading or heading in addresses, place


@pytest.mark.slow
def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip('sphinx', reason='the extra docs is not installed')
    words = ['-W', '--keep-going', '-q', '-E', '-c', 'docs/site', '-d', tmp_path / 'trees']
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', *words, '-b', 'html', '.', tmp_path / 'site'],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, '')
    first = (tmp_path / 'site' / 'index.html').read_text('utf-8')
    (target,) = re.findall(r'url=([\w/.]+)', first)
    assert (tmp_path / 'site' / target).is_file()
    commands = (tmp_path / 'site' / 'docs' / 'site' / 'commands.html').read_text('utf-8')
    assert '--participant-label' in commands and 'default: auto' in commands
    assert '\u2013csf' not in commands, 'an option whose dashes became one long dash'
    search = (tmp_path / 'site' / 'searchindex.js').read_text('utf-8')
    entries = search[search.index('"indexentries"') :]
    assert '"slurm":' in entries and '"--csf":' in entries
    api = (tmp_path / 'site' / 'docs' / 'site' / 'api.html').read_text('utf-8')
    assert 'id="pumba_pipe.extract"' in api and 'border_mm' in api
