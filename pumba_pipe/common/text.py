"""Words of messages: one line, and numbers of things."""

from __future__ import annotations

MAX_LINE = 2000  # characters


def counted(number: int, noun: str) -> str:
    """Say how many there are.

    Examples
    --------
    >>> counted(1, 'image'), counted(20, 'image')
    ('1 image', '20 images')
    """
    return f'{number} {noun}{"s" * (number != 1)}'


def one_line(message: str) -> str:
    r"""Make one line of a message that can be printed: control characters are escaped.

    Names of files and what a file holds end up in messages, and a terminal obeys some characters.

    Examples
    --------
    >>> one_line('two\n lines, \x1b[31mred')
    'two lines, \\x1b[31mred'
    """
    text = ' '.join(message.split())
    if not text.isprintable():
        text = ''.join(
            char if char.isprintable() else char.encode('unicode_escape').decode('ascii')
            for char in text
        )
    return text if len(text) <= MAX_LINE else f'{text[:MAX_LINE]}…'
