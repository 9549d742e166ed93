"""Text files from outside (JSON, TOML, YAML), read with limits on size, depth and values.

Such a file may come from anywhere: it may be huge, a pipe, nested a thousand times, or hold what
its format allows and nobody expects. Whatever is wrong with it is one `InputError` that names it.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import check_readable

MIB = 2**20
JSON_BYTES = 16 * MIB
TOML_BYTES = MIB
YAML_BYTES = MIB // 16  # PyYAML reads some 50 KB a second
MAX_DEPTH = 64  # of lists and objects inside each other
MAX_ITEMS = 2_000_000
MAX_NUMBER = 1e300  # larger ones overflow in the next product
MAX_DIGITS = 300
SHOWN = 80  # characters of a value in a message
_BINARY = getattr(os, 'O_BINARY', 0)


def brief(value: Any, length: int = SHOWN) -> str:
    """Show a value in a message, shortened where it is long.

    Examples
    --------
    >>> brief('abc'), brief([1, 2, 3], length=7)
    ("'abc'", '[1, 2, …')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; a loop
        return f'a {type(value).__name__}'
    return text if len(text) <= length else f'{text[:length]}…'


def read_bytes(path: Path, limit: int = JSON_BYTES, what: str = 'file') -> bytes:
    """Read a regular file of at most `limit` bytes.

    Parameters
    ----------
    path : Path
    limit : int
    what : str
        What it is, for the message.

    Raises
    ------
    InputError
        It is not there, no regular file (a folder, a pipe, a device), or larger.
    """
    check_readable(path, what)
    try:
        # without O_NONBLOCK, opening a pipe waits for somebody to write to it
        handle = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | _BINARY)
        with os.fdopen(handle, 'rb') as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):  # put there meanwhile
                _refuse(path, 'is no regular file', what)
            # a piece at a time: memory for what is there, not for what there might be
            pieces = iter(lambda: file.read(MIB), b'')
            content = b''.join(_up_to(limit, pieces)) if status.st_size <= limit else None
    except OSError as error:
        _refuse(path, error.strerror or str(error), what)
    except ValueError as error:  # a null character in the name
        _refuse(path, str(error), what)
    if content is None or len(content) > limit:
        _refuse(path, f'larger than {limit / MIB:.3g} MiB', what)
    return content


def _up_to(limit: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces up to the one with which they are more than `limit` bytes together."""
    total = 0
    for piece in pieces:
        yield piece
        total += len(piece)
        if total > limit:
            return


def read_text(path: Path, limit: int = JSON_BYTES, what: str = 'file') -> str:
    """Read a UTF-8 text file of at most `limit` bytes, with or without a byte order mark.

    Raises
    ------
    InputError
    """
    try:
        return read_bytes(path, limit, what).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        _refuse(path, f'is not UTF-8 text, at byte {error.start}', what)


def read_json(path: Path, limit: int = JSON_BYTES, *, unique: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
    limit : int
        Bytes.
    unique : bool
        Refuse a name that is twice in an object, of which else the last counts.

    Returns
    -------
    dict
        Of plain values, nested at most `MAX_DEPTH` times, all numbers finite.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or is another kind of value than an object.
    """
    try:
        return parse_json(read_text(path, limit), unique=unique)
    except ValueError as error:
        _refuse(path, str(error))


def parse_json(text: str, *, unique: bool = False) -> dict[str, Any]:
    """Turn text into a JSON object, see `read_json`.

    Raises
    ------
    ValueError
        Says what is wrong with it.

    Examples
    --------
    >>> parse_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """
    try:
        content = json.loads(
            text,
            parse_constant=_no_number,
            parse_int=_whole_number,
            object_pairs_hook=_unique if unique else None,
        )
    except RecursionError:
        raise ValueError('nested too deeply') from None
    except json.JSONDecodeError as error:
        raise ValueError(f'is not JSON: {error}') from None
    return checked_object(content)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'has {twice!r} twice')
    return found


def read_toml(path: Path, limit: int = TOML_BYTES, what: str = 'file') -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return _parsed(path, read_text(path, limit, what), 'TOML', tomllib.loads)


def read_yaml(path: Path, limit: int = YAML_BYTES) -> dict[str, Any]:
    """Read a YAML file of plain values; it can make no objects.

    Raises
    ------
    InputError
    """
    import yaml

    def load(text: str) -> Any:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(error) from None

    return _parsed(path, read_text(path, limit), 'YAML', load)


def _parsed(path: Path, text: str, kind: str, load: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = load(text)
    except RecursionError:
        _refuse(path, 'nested too deeply')
    # a date that is none and the like; PyYAML raises what Python does on odd scalars and keys
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        _refuse(path, f'is not {kind}: {error}')
    try:
        return checked_object(content)
    except ValueError as error:
        _refuse(path, str(error))


def checked_object(content: Any) -> dict[str, Any]:
    """Return a value that was read, when it is an object within the limits of this module.

    Raises
    ------
    ValueError
        It is something else, nested too deeply, or holds a number that is not finite or huge.
    """
    if not isinstance(content, dict):
        raise ValueError(f'holds a {_kind(content)} where an object (names and values) is needed')
    waiting: list[tuple[Any, int, str]] = [(content, 1, '')]
    count = 0
    while waiting:
        value, depth, name = waiting.pop()
        count += 1
        if depth > MAX_DEPTH and isinstance(value, dict | list | tuple | set):
            raise ValueError('nested too deeply')
        if count > MAX_ITEMS:
            raise ValueError('holds too many values')
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise ValueError('has a name that is no text')
            waiting.extend((item, depth + 1, key) for key, item in value.items())
        elif isinstance(value, list | tuple | set):
            waiting.extend((item, depth + 1, name) for item in value)
        elif isinstance(value, int | float) and not -MAX_NUMBER < value < MAX_NUMBER:
            raise ValueError(f'{brief(name)} holds a number that is not finite, or huge')
    return content


def _kind(value: Any) -> str:
    kinds = {list: 'list', str: 'text', bool: 'truth value', int: 'number', float: 'number'}
    return kinds.get(type(value), 'single value')


def _no_number(text: str) -> NoReturn:
    raise ValueError(f'holds {text}, which is no number')


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:  # Python takes a while for long ones, and no float holds them
        raise ValueError('holds a number that is not finite, or huge')
    return int(text)


def _refuse(path: Path, reason: str, what: str = 'file') -> NoReturn:
    raise InputError(
        f'{path}: cannot read this {what} ({" ".join(reason.split())[:300]})'
    ) from None
