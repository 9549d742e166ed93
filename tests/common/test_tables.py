"""Tab-separated tables: what is read is what was written."""

import math

import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import MISSING, parse_number, read_table, write_table


def written(folder, content):
    path = folder / 'table.tsv'
    path.write_bytes(content)
    return path


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / 'new' / 'table.tsv'
    write_table(path, ('a', 'b'), [('x y', None), (1.5, ['p', 'q\t']), ('', True)])
    assert path.read_text('utf-8') == 'a\tb\nx y\tn/a\n1.5\tp; q\nn/a\ttrue\n'
    assert read_table(path)[0] == {'a': 'x y', 'b': MISSING}


def test_tables_of_other_programs(tmp_path):
    """Byte order mark, Windows line ends, empty lines, short rows, quoted cells."""
    path = written(
        tmp_path, b'\xef\xbb\xbf"a"\tb\r\n"x ""y"""\t5" coil\r\n\r\nshort\r\none\ttwo\tmore\r\n'
    )
    assert read_table(path) == [
        {'a': 'x "y"', 'b': '5" coil'},
        {'a': 'short', 'b': ''},
        {'a': 'one', 'b': 'two'},
    ]


def test_an_empty_table_has_no_rows(tmp_path):
    assert read_table(written(tmp_path, b'')) == []
    assert read_table(written(tmp_path, b'a\tb\n')) == []


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'a\tc\n1\t2\n', 'is not a list of b, it has no column b'),
        (b'', 'it has no column a, b'),
        (b'a\tb\n', 'no rows'),
        (b'\xff\xfe\x00', 'cannot read this table'),
    ],
)
def test_a_table_that_does_not_serve_is_named(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=rf'table\.tsv: .*{message}'):
        read_table(path, ('a', 'b'), 'a list of b')


def test_a_needed_column_is_there_once(tmp_path):
    """Which of both counts, nobody knows."""
    path = written(tmp_path, b'a\tb\tb\tc\tc\n1\t2\t3\t4\t5\n')
    assert read_table(path, ('a',))[0]['a'] == '1'
    with pytest.raises(InputError, match=r'table\.tsv: has the column b twice; remove one'):
        read_table(path, ('a', 'b'))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r'none\.tsv: cannot read .*No such file'):
        read_table(tmp_path / 'none.tsv')


def test_numbers():
    assert parse_number(' 1.5') == 1.5
    assert all(math.isnan(parse_number(text)) for text in (None, '', MISSING, 'nan'))
    with pytest.raises(InputError, match="'high' is not a number"):
        parse_number('high')
