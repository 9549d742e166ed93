"""Boutiques descriptors of `pumba` and `pumba-strip`, made from their parsers.

`make descriptors` writes them; a test compares them with the parsers. Descriptors let platforms
such as CBRAIN and Nipoppy offer the commands: https://boutiques.github.io says how they are read.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.parser import build_parser as pumba_parser

from pumba_pipe import __version__
from pumba_pipe.commands.strip import build_parser as strip_parser

HERE = Path(__file__).parent
AUTHOR = 'The pumba_pipe developers'
# What says something about a command and strips nothing.
LEFT_OUT = ('help', 'version')
# Options that name a file that is there before: a platform has to fetch it.
FILES = {
    'pumba': ('bids_dir', 'bids_filter_file', 'masks', 'weights', 'use_plugin', 'config_file',
              'ratings'),
    'pumba-strip': ('image', 'images', 'from_file', 'weights'),
}  # fmt: skip
# Functions that parse numbers.
WHOLE, DECIMAL = ('positive_int', 'seed'), ('float', 'border', 'gigabytes')
# What is written, by the option that names it.
OUTPUTS = {
    'pumba': {'output_dir': 'Masks, stripped images, quality records and pages'},
    'pumba-strip': {
        'out': 'Stripped image',
        'mask': 'Brain mask',
        'sdt': 'Distance to the border in mm',
        'prob': 'Probability of being brain',
        'tiv': 'Intracranial space',
        'quality': 'Quality record',
        'picture': 'Slices with the outline of the mask',
        'out_dir': 'Results of many images',
    },
}
PURPOSE = {
    'pumba': ('bids-app', 'neuroimaging', 'mri', 'skull stripping'),
    'pumba-strip': ('neuroimaging', 'mri', 'skull stripping'),
}


def descriptor(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Describe a command in the words of Boutiques.

    Parameters
    ----------
    parser : ArgumentParser
        Of `pumba` or `pumba-strip`.

    Returns
    -------
    dict
        Of the Boutiques schema 0.5.
    """
    name = parser.prog
    actions = [
        a for a in parser._actions if a.dest not in LEFT_OUT and a.help != argparse.SUPPRESS
    ]
    inputs = [_input(parser, action) for action in actions]
    # positional arguments stand first: an option that takes several words would swallow them
    inputs.sort(key=lambda one: 'command-line-flag' in one)
    return {
        'name': name,
        'description': parser.description,
        'tool-version': __version__,
        'schema-version': '0.5',
        'author': AUTHOR,
        'command-line': ' '.join([name, *(one['value-key'] for one in inputs)]),
        'inputs': inputs,
        'output-files': [_output(name, dest, title) for dest, title in OUTPUTS[name].items()],
        'groups': _exclusive(parser),
        'error-codes': [
            {'code': code, 'description': text} for code, text in _exit_codes(parser).items()
        ],
        'tags': {'domain': list(PURPOSE[name])},
    }


def shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """List what a platform may ask for: all that the help shows, but the help."""
    return [
        action
        for action in parser._actions
        if action.dest not in LEFT_OUT and action.help != argparse.SUPPRESS
    ]


def _input(parser: argparse.ArgumentParser, action: argparse.Action) -> dict[str, Any]:
    formatter = parser._get_formatter()
    help_text = ' '.join(formatter._expand_help(action).split())
    one: dict[str, Any] = {
        'id': _id(action),
        'name': _id(action).replace('_', ' '),
        'description': help_text,
        'value-key': f'[{_id(action).upper()}]',
        'type': _type(parser.prog, action),
        'optional': action.nargs == '*' or not action.required,
    }
    if action.option_strings:
        one['command-line-flag'] = _longest(action)
    if action.nargs in ('+', '*'):
        one |= {'list': True, 'min-list-entries': 1}
    if action.choices:
        one['value-choices'] = list(action.choices)
    if one['type'] == 'Number':
        one['integer'] = _kind(action) in WHOLE
    if _kind(action) == 'positive_int':
        one['minimum'] = 1
    return one


def _type(command: str, action: argparse.Action) -> str:
    if action.nargs == 0:
        return 'Flag'
    if action.dest in FILES[command]:
        return 'File'
    return 'Number' if _kind(action) in (*WHOLE, *DECIMAL) else 'String'


def _kind(action: argparse.Action) -> str:
    return getattr(action.type, '__name__', '')


def _id(action: argparse.Action) -> str:
    """Give an option its identifier; several may fill in one attribute (``--device``, ``-g``)."""
    return _longest(action).lstrip('-').replace('-', '_')


def _longest(action: argparse.Action) -> str:
    """Give the spelling that stands first among the long ones."""
    long = [text for text in action.option_strings if text.startswith('--')]
    return [*long, *action.option_strings, action.dest][0]


def _output(command: str, dest: str, title: str) -> dict[str, Any]:
    return {
        'id': f'{dest}_written',
        'name': title,
        'path-template': f'[{dest.upper()}]',
        'optional': command != 'pumba',
    }


def _exclusive(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """Give the options of which one at most may be given."""
    groups = [
        [_id(action) for action in group._group_actions]
        for group in parser._mutually_exclusive_groups
    ]
    return [
        {
            'id': f'one_of_{members[0]}',
            'name': f'one of {", ".join(members)}',
            'members': members,
            'mutually-exclusive': True,
        }
        for members in groups
    ]


def _exit_codes(parser: argparse.ArgumentParser) -> dict[int, str]:
    """Read exit codes from the end of the help; 0 is no error."""
    (line,) = re.findall(r'Exit codes: (.*?)\.\n', parser.epilog or '', re.DOTALL)
    found = re.findall(r'(\d+) ((?:[^,(]|\([^)]*\))+)', ' '.join(line.split()))
    return {int(code): text.strip() for code, text in found if int(code)}


def text_of(parser: argparse.ArgumentParser) -> str:
    """Give a descriptor as it stands in its file."""
    made = {name: part for name, part in descriptor(parser).items() if part}
    return json.dumps(made, indent=2, ensure_ascii=False) + '\n'


def main() -> None:
    """Write both descriptors beside this file."""
    for parser in (pumba_parser(), strip_parser()):
        file = HERE / f'{parser.prog}.json'
        file.write_text(text_of(parser), encoding='utf-8')
        print(file.name)


if __name__ == '__main__':
    main()
