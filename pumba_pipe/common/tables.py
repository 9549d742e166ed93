"""Tab-separated tables as BIDS has them: one reader, one writer, one word for what is missing."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pumba_pipe.common.documents import MIB, read_text
from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.files import write_text

MISSING = 'n/a'
TABLE_BYTES = 64 * MIB


def read_table(
    path: Path, needed: Collection[str] = (), what: str = 'the table needed here'
) -> list[dict[str, str]]:
    """Read a table with a header line, one dict a row.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark. Empty lines are passed over; a cell wholly in
        double quotes, as spreadsheets write it, loses them.
    needed : collection of str
        Columns it has to have; then it also has to have a row.
    what : str
        What the user should give, named when the table is another one.

    Returns
    -------
    list of dict
        Column to cell; where a row is too short, its last cells are empty.

    Raises
    ------
    InputError
        The file cannot be read as text, is larger than `TABLE_BYTES`, or a column is not there.
    """
    return [row for _, row in numbered_rows(path, needed, what)]


def numbered_rows(
    path: Path, needed: Collection[str] = (), what: str = 'the table needed here'
) -> list[tuple[int, dict[str, str]]]:
    """Read a table as `read_table` does, each row with the number of its line, for messages."""
    lines = (
        read_text(path, TABLE_BYTES, 'table').replace('\r\n', '\n').replace('\r', '\n').split('\n')
    )
    columns = _cells(lines[0])
    lacking = [name for name in needed if name not in columns]
    if lacking:
        hint = '; separate its columns by tabs' if len(columns) == 1 else ''
        raise InputError(f'{path}: is not {what}, it has no column {", ".join(lacking)}{hint}')
    twice = [name for name in needed if columns.count(name) > 1]
    if twice:
        raise InputError(f'{path}: has the column {", ".join(twice)} twice; remove one')
    empty = dict.fromkeys(columns, '')
    rows = [
        (number, empty | dict(zip(columns, _cells(line), strict=False)))
        for number, line in enumerate(lines[1:], 2)
        if line
    ]
    if needed and not rows:
        raise InputError(f'{path}: this table has no rows')
    return rows


def _cells(line: str) -> list[str]:
    return [_unquoted(text) for text in line.split('\t')]


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return text[1:-1].replace('""', '"') if quoted else text


def check_table(path: Path, columns: Sequence[str]) -> None:
    """Refuse to replace a file that is there and is no such table: somebody else made it.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Of the table that will be written, at least the first ones.

    Raises
    ------
    OutputError
    """
    header = '\t'.join(columns).encode()
    try:
        with path.open('rb') as file:
            start = file.read(len(header))
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None
    if start and start != header:
        raise OutputError(
            f'{path}: is there, and is no table of this command; move it away, or choose another '
            'folder'
        )


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table in one piece; every value goes through `cell`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    lines = ['\t'.join(columns), *('\t'.join(cell(value) for value in row) for row in rows)]
    write_text(path, '\n'.join(lines) + '\n')


def cell(value: Any) -> str:
    """Write a value the way BIDS tables have it.

    Examples
    --------
    >>> cell(None), cell(True), cell(['a', 'b']), cell(1.5)
    ('n/a', 'true', 'a; b', '1.5')
    """
    if value is None or value in ([], ''):
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        value = '; '.join(str(item) for item in value)
    return ' '.join(str(value).split()) or MISSING


def format_number(value: float, places: int) -> str:
    """Write a number with that many decimal places, `MISSING` where it is not finite.

    Examples
    --------
    >>> format_number(0.91234, 3), format_number(float('nan'), 3)
    ('0.912', 'n/a')
    """
    return f'{value:.{places}f}' if math.isfinite(value) else MISSING


def parse_number(text: str | None) -> float:
    """Read a cell as a number; an absent one is not a number.

    Raises
    ------
    InputError
        It holds something else.

    Examples
    --------
    >>> parse_number('0.5'), parse_number('n/a'), parse_number(None)
    (0.5, nan, nan)
    """
    if text is None or text.strip() in ('', MISSING):
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f'{text!r} is not a number') from None


def as_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out in columns for a terminal."""
    table = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(text) for text in column) for column in zip(*table, strict=True)]
    return '\n'.join(
        '  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
