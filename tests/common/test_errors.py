"""What errors of other libraries are said as."""

import pytest

from pumba_pipe.common.errors import LONGEST, first_line


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (ValueError('bad header\nof this file'), 'bad header'),
        (ValueError('\n  two\nlines'), 'two'),
        (OSError(), 'OSError'),
        (EOFError(None), 'EOFError'),
        (ValueError('x' * 1000), 'x' * LONGEST),
    ],
)
def test_an_error_is_said_in_a_line(error, said):
    assert first_line(error) == said
