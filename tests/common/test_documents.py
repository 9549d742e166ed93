"""Files from outside: whatever is in them, one error that names the file, or plain values."""

import math
import os

import pytest

from pumba_pipe.common.documents import (
    MAX_DEPTH,
    brief,
    parse_json,
    read_json,
    read_text,
    read_toml,
    read_yaml,
)
from pumba_pipe.common.errors import InputError


@pytest.fixture
def written(tmp_path):
    def write(content, name='odd.json'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def nested(depth):
    return '{"a":' * depth + '1' + '}' * depth


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('', 'is not JSON'),
        ('{"a": 1', 'is not JSON'),
        ('[1, 2]', 'holds a list'),
        ('"text"', 'holds a text'),
        ('null', 'holds a single value'),
        ('{"a": NaN}', 'NaN'),
        ('{"a": -Infinity}', 'Infinity'),
        ('{"a": 1e999}', "'a' holds a number"),
        ('{"a": [1e301]}', "'a' holds a number"),
        ('{"a": 1' + '0' * 400 + '}', 'holds a number'),
        ('{"a": 1' + '0' * 5000 + '}', 'holds a number'),
        (nested(MAX_DEPTH + 1), 'nested too deeply'),
        (nested(100_000), 'nested too deeply'),
        ('[' * 100_000, 'nested too deeply'),
        (b'\xff\xfe{}', 'is not UTF-8'),
        ('{"a": "' + 'x' * 1000 + '"}', 'larger than'),
    ],
)
def test_what_is_no_plain_object_is_named_in_one_line(written, content, reason):
    path = written(content)
    limit = 500 if reason == 'larger than' else 2**20
    with pytest.raises(InputError) as caught:
        read_json(path, limit)
    message = str(caught.value)
    assert message.startswith(f'{path}: ')
    assert reason in message
    assert len(message) < len(str(path)) + 350
    assert '\n' not in message


def test_what_is_sound_is_read(written):
    assert read_json(written('\ufeff{"a": [1, -2.5, true, null, {"b": "ü"}]}')) == {
        'a': [1, -2.5, True, None, {'b': 'ü'}]
    }
    assert read_json(written(nested(MAX_DEPTH)))
    assert parse_json('{"a": 1e300, "a": 2}') == {'a': 2}


def test_no_more_is_read_than_is_allowed(tmp_path):
    """A sparse file of a terabyte has a size and no content."""
    path = tmp_path / 'huge.json'
    with path.open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match='larger than 1 MiB'):
        read_json(path, 2**20)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no such files here')
@pytest.mark.parametrize('kind', ['folder', 'pipe', 'device', 'missing', 'loop'])
def test_what_is_no_file_is_named_at_once(tmp_path, kind):
    path = tmp_path / 'odd.json'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'loop':
        path.symlink_to(path)
    with pytest.raises(InputError, match=r'odd\.json: (cannot read this|is a .*, not a) file'):
        read_json(path)


def test_a_name_that_cannot_be_one():
    from pathlib import Path

    with pytest.raises(InputError, match='not the name of a file'):
        read_text(Path('a\0b'))


@pytest.mark.parametrize(
    'content',
    [
        'a = [' + '[' * 50_000,
        'a = 1' + '0' * 5000,
        'a = nan',
        'a = inf',
        'a = 2020-13-45',
        'a = 1\na = 2',
        b'\xff',
        'a = "\\ud800"',
        'a.' * 3000 + 'b = 1',
    ],
)
def test_odd_toml_is_named(written, content):
    path = written(content, 'odd.toml')
    with pytest.raises(InputError, match=r'odd\.toml: '):
        read_toml(path)


@pytest.mark.parametrize(
    'content',
    [
        '[' * 20_000,
        'a: &x [*x]',
        '\n'.join(
            ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]']
            + [f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]' for i in range(1, 12)]
        ),
        '!!python/object/apply:os.system ["touch made"]',
        '? [1, 2]\n: 3',
        '1: 2',
        'a: .nan',
        'a: 2020-13-45',
        '- a',
        'a: [',
        '%YAML 9.9\n---\n\x07',
        '&a : *b',
        'a: ' + 'x' * 70_000,
    ],
)
def test_odd_yaml_is_named(written, content, tmp_path):
    path = written(content, 'odd.yml')
    with pytest.raises(InputError, match=r'odd\.yml: '):
        read_yaml(path)
    assert not (tmp_path / 'made').exists()


def test_values_are_shown_briefly():
    assert len(brief('x' * 10_000)) < 100
    assert 'int' in brief(10**5000)
    loop = []
    loop.append(loop)
    assert brief(loop)
    assert brief(math.nan) == 'nan'
