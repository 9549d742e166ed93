"""A command ends at once: with its exit code, all that it printed, and what it had registered."""

import subprocess
import sys

import pytest

CODE = """
import atexit, sys
from pumba_pipe.common.cli import end_process
atexit.register(print, 'registered')
class Library:
    def __del__(self):
        sys.stderr.write('taken apart')
library = Library()
sys.stdout.write('printed\\n')
end_process({})
"""


@pytest.mark.parametrize('code', [0, 1, 130])
def test_a_process_ends_at_once(code):
    done = subprocess.run(
        [sys.executable, '-c', CODE.format(code)], capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stdout == 'printed\nregistered\n'
    assert done.stderr == ''
