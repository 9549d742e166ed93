"""The Boutiques descriptors describe the commands as they are."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sysconfig
import types
from pathlib import Path

import pytest
from pumba_pipe.bids_app.options.parser import build_parser as pumba_parser

from pumba_pipe.commands.strip import build_parser as strip_parser

FOLDER = Path(__file__).parents[2] / 'docker' / 'boutiques'
PARSERS = {'pumba': pumba_parser, 'pumba-strip': strip_parser}


@pytest.fixture(scope='module')
def maker() -> types.ModuleType:
    """The program that writes the descriptors; it is no part of the package."""
    spec = importlib.util.spec_from_file_location('maker', FOLDER / 'make_descriptors.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(command: str) -> dict:
    return json.loads((FOLDER / f'{command}.json').read_text('utf-8'))


def parse_failure(parser: argparse.ArgumentParser, words: list[str]) -> str | None:
    """What argparse says against words; nothing where it takes them."""
    messages: list[str] = []

    def note(message: str) -> None:
        messages.append(message)
        raise SystemExit(2)

    parser.error = note  # type: ignore[method-assign,assignment]
    try:
        parser.parse_args(words)
    except SystemExit:
        return messages[0]
    return None


@pytest.mark.parametrize('command', PARSERS)
def test_descriptor_is_made_from_todays_parser(command: str, maker: types.ModuleType) -> None:
    written = (FOLDER / f'{command}.json').read_text('utf-8')
    assert written == maker.text_of(PARSERS[command]()), 'run: make descriptors'


@pytest.mark.parametrize('command', PARSERS)
def test_descriptor_names_all_options_and_no_others(command: str) -> None:
    """Compared with the parser itself, not by way of the program that writes descriptors."""
    inputs = read(command)['inputs']
    flags = [one['command-line-flag'] for one in inputs if 'command-line-flag' in one]
    actions = [
        action
        for action in PARSERS[command]()._actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]
    spelled = {text for action in actions for text in action.option_strings}
    assert len(flags) == len(set(flags)) > 10
    assert set(flags) <= spelled
    left_out = [a.dest for a in actions if not set(a.option_strings) & set(flags)]
    assert sorted(left_out) == ['help', 'version']
    positional = [one['id'] for one in inputs if 'command-line-flag' not in one]
    wanted = [a.dest for a in PARSERS[command]()._actions if not a.option_strings]
    assert positional == wanted


@pytest.mark.parametrize('command', PARSERS)
def test_choices_are_those_of_the_parser(command: str) -> None:
    for one in read(command)['inputs']:
        for choice in one.get('value-choices', ()):
            words = [one['command-line-flag'], choice] if 'command-line-flag' in one else []
            if command == 'pumba':
                level = choice if not words else 'participant'
                words = ['bids', 'out', level, *words]
            assert parse_failure(PARSERS[command](), words) is None, (one['id'], choice)


def test_every_placeholder_of_the_command_line_is_an_input() -> None:
    for command in PARSERS:
        described = read(command)
        placed = described['command-line'].split()
        assert placed == [command, *(one['value-key'] for one in described['inputs'])]
        keys = {one['value-key'] for one in described['inputs']}
        assert {one['path-template'] for one in described['output-files']} <= keys


@pytest.mark.parametrize('command', PARSERS)
def test_boutiques_accepts_the_descriptor(command: str) -> None:
    bosh = shutil.which('bosh', path=sysconfig.get_path('scripts'))
    if bosh is None:
        pytest.skip('boutiques is not installed')
    words = [bosh, 'validate', FOLDER / f'{command}.json']
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, 'OK'), done.stderr
