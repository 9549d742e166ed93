"""Options in a TOML file: what a run was asked to do, written down and accepted back.

The table ``[options]`` holds options as they are spelt on the command line, without the dashes.
Other tables are for people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pumba_pipe.bids_app.options.config import OptionValue

from pumba_pipe.common.documents import read_toml
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_text

OPTIONS = 'options'
HEAD = (
    '# A run of pumba. To do the same again: pumba BIDS_DIR OUTPUT_DIR participant --config-file'
)


def read_options(path: Path) -> dict[str, Any]:
    """Read the table ``[options]`` of a TOML file.

    Raises
    ------
    InputError
    """
    try:
        options = read_toml(path).get(OPTIONS)
    except InputError as error:  # the parser names the file
        raise InputError(str(error).removeprefix(f'{path}: ')) from None
    if not isinstance(options, dict):
        raise InputError(f'has no table [{OPTIONS}]')
    return options


def as_words(options: Mapping[str, Any], refused: Collection[str] = ()) -> list[str]:
    """Turn options into words of a command line.

    Raises
    ------
    InputError
        An option that has no place in a file, or a value of a kind that no option has.

    Examples
    --------
    >>> as_words({'nprocs': 2, 'sloppy': True, 'no-n4': False, 'modalities': ['T1w', 'T2w']})
    ['--nprocs=2', '--sloppy', '--modalities', 'T1w', 'T2w']
    """
    words: list[str] = []
    for name, value in options.items():
        if not re.fullmatch('[a-z][a-z0-9_-]*', name):
            raise InputError(f'{name!r} is not the name of an option')
        if name.replace('-', '_') in refused:
            raise InputError(f'{name} has no place in a file; give it on the command line')
        if isinstance(value, bool):
            words += [f'--{name}'] * value
        elif isinstance(value, str | int | float):
            words.append(f'--{name}={value}')
        elif isinstance(value, list) and all(isinstance(item, str | int) for item in value):
            if any(str(item).startswith('-') for item in value):
                raise InputError(f'{name}: a value in a list cannot begin with a hyphen')
            words += [f'--{name}', *map(str, value)] if value else []
        else:
            raise InputError(f'{name}: the value is neither text, number, true, false nor a list')
    return words


def write_config(path: Path, tables: Mapping[str, Mapping[str, OptionValue]]) -> None:
    """Write tables as TOML.

    Raises
    ------
    OutputError
    """
    blocks = [HEAD]
    for name, content in tables.items():
        lines = [f'[{name}]', *(f'{key} = {_toml(value)}' for key, value in content.items())]
        blocks.append('\n'.join(lines))
    write_text(path, '\n\n'.join(blocks) + '\n')


def _toml(value: OptionValue) -> str:
    if isinstance(value, list):
        return f'[{", ".join(map(_toml, value))}]'
    if isinstance(value, str):
        # a file name may hold bytes that are not UTF-8, which TOML cannot hold
        value = value.encode('utf-8', 'replace').decode('utf-8')
        return json.dumps(value, ensure_ascii=False).replace('\x7f', '\\u007f')
    return str(value).lower() if isinstance(value, bool) else repr(value)
