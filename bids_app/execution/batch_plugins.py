"""Nipype's plugins of batch systems, with jobs that may be refused or vanish.

Nipype's own end the whole run then, with an error of Python's that has nothing to do with it, and
those that hand over all jobs at once take no notice: the images would be said to be submitted.
Written against Nipype 1.10 to 1.12.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nipype.interfaces.base import CommandLine

REFUSED = 'JobRefusedError: the batch system did not take a job'
LOST = (
    'JobLostError: job {} ended without a result, most likely for lack of memory or time; see '
    'what it printed in {}, and ask for more in plugin_args'
)
NO_RESULT = re.compile(r'Job id \((\d+)\) finished or terminated')
STRICT_BASH = 'unset BASH_ENV\nset -eo pipefail\n'


class StrictCommand(CommandLine):
    """A command that raises when it fails: of some versions of Nipype it only says so."""

    def run(self, cwd: Any = None, ignore_exception: bool | None = None, **inputs: Any) -> Any:
        """Run it, and raise RuntimeError with what it printed."""
        result = super().run(cwd=cwd, ignore_exception=ignore_exception, **inputs)
        lenient = self.ignore_exception if ignore_exception is None else ignore_exception
        if result.runtime.returncode and not lenient:
            printed = result.runtime.stderr.strip() or result.runtime.stdout.strip()
            raise RuntimeError(printed or f'exit code {result.runtime.returncode}')
        return result


@cache
def tolerant(plugin: type) -> type:
    """Plugin that waits for its jobs: one that is refused or vanishes fails its own node."""
    with_strict_commands(plugin)

    class Tolerant(plugin):
        """See `tolerant`."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._refused: dict[int, str] = {}

        def _submit_job(self, node: Any, updatehash: bool = False) -> int:
            try:
                return super()._submit_job(node, updatehash=updatehash)
            except Exception as error:
                number = -1 - len(self._refused)
                self._refused[number] = f'{REFUSED} ({reason_of(error)})\n'
                return number

        def _get_result(self, taskid: int) -> dict[str, Any] | None:
            if taskid in self._refused:
                return {'result': None, 'traceback': [self._refused[taskid]]}
            folder = self._pending.get(taskid)
            result = super()._get_result(taskid)
            if result and isinstance(result['traceback'], str):
                # Nipype adds lines to it, as to a list
                result['traceback'] = result['traceback'].splitlines(keepends=True)
                lost = NO_RESULT.search(''.join(result['traceback']))
                if lost:
                    result['traceback'] = [LOST.format(lost[1], printed_in(folder)) + '\n']
            return result

        def _clear_task(self, taskid: int) -> None:
            if taskid not in self._refused:  # these stay, so that no number is given twice
                super()._clear_task(taskid)

    return Tolerant


def with_strict_commands(plugin: type) -> type:
    """Let a plugin's commands raise when they fail."""
    module = sys.modules[plugin.__module__]
    if hasattr(module, 'CommandLine'):
        module.CommandLine = StrictCommand  # type: ignore[attr-defined]
    return plugin


@contextlib.contextmanager
def strict_bash() -> Iterator[None]:
    """Let scripts of bash that are started here end at their first error.

    Those with which Nipype hands over all jobs would go on without a job that was refused, and
    end well. The jobs themselves do not inherit it.
    """
    before = os.environ.get('BASH_ENV')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'strict.sh'
        file.write_text(STRICT_BASH)
        os.environ['BASH_ENV'] = str(file)
        try:
            yield
        finally:
            if before is None:
                del os.environ['BASH_ENV']
            else:
                os.environ['BASH_ENV'] = before


def reason_of(error: Exception) -> str:
    r"""Last line of an error, without the name of the program that printed it.

    Examples
    --------
    >>> reason_of(RuntimeError('Could not submit\nsbatch: error: QOSMaxSubmitJobPerUserLimit'))
    'QOSMaxSubmitJobPerUserLimit'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, (AttributeError, IndexError)) or not lines:  # Nipype looked for a number
        return 'it gave no job number'
    return re.sub(r'^(?:\w+: |error: |fatal: )+', '', lines[-1])


def printed_in(folder: str | None) -> str:
    """Folder of what the jobs of a node printed: Nipype has one for all nodes of a workflow."""
    if folder is None:
        return 'the work directory'
    above = (place / 'batch' for place in Path(folder).parents)
    return str(next((place for place in above if place.is_dir()), folder))
