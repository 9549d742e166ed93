"""Run a program as a process of its own, and measure its time, CPU time and memory.

A process inherits, as its own highest memory, what the process that started it had: Linux forgets
that neither at the start of a program nor later. So the program is started by a small process, in
which this file runs by itself: it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

STEP_SECONDS = 0.01  # between two looks whether the program has ended
END_SECONDS = 5.0  # that the small process has to end a program


@dataclass(frozen=True)
class Measured:
    """How a program ran.

    Attributes
    ----------
    seconds : float
        From its start to its end.
    cpu_seconds : float
        In the program and in its children that it has waited for.
    peak_mb : float
        Highest memory in MiB of the largest of these processes; one that shares its work among
        several uses more.
    code : int
        Exit code; of a program that a signal ended, minus the signal's number.
    timed_out : bool
        Whether it was ended because it took too long.
    error : str
        Why it could not be started; empty where it was.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    code: int
    timed_out: bool = False
    error: str = ''


def can_measure() -> bool:
    """Whether the system tells what a child has used: Windows does not."""
    return hasattr(os, 'wait4')


def run_measured(
    words: Sequence[str], limit: float, log: Path, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a program to its end, or until it has taken too long.

    Parameters
    ----------
    words : sequence of str
        The program and its arguments; no shell reads them.
    limit : float
        Seconds after which it is ended, with all that it has started.
    log : Path
        Gets all that it prints.
    environment : mapping of str to str, optional
        Default: that of this process.
    """
    launcher = [sys.executable, '-I', '-S', str(Path(__file__).resolve())]
    with subprocess.Popen(
        [*launcher, str(limit), str(log), *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment,
    ) as small:  # fmt: skip
        try:
            told, _ = small.communicate()
        except BaseException:
            small.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                small.wait(END_SECONDS)
            small.kill()
            raise
    if small.returncode:
        return Measured(0.0, 0.0, 0.0, small.returncode, error='it was ended from outside')
    return Measured(**json.loads(told))


def launch(limit: float, log: str, words: Sequence[str]) -> dict[str, Any]:
    """Run and measure, in the small process; the fields of a `Measured`."""
    parent = os.getppid()
    with open(log, 'wb') as printed:
        start = time.perf_counter()
        try:
            child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return {'seconds': 0.0, 'cpu_seconds': 0.0, 'peak_mb': 0.0, 'code': 127,
                    'error': error.strerror or str(error)}  # fmt: skip
        try:
            timed_out = False
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                seconds = time.perf_counter() - start
                if pid:
                    break
                timed_out = timed_out or seconds > limit
                if timed_out or os.getppid() != parent:
                    end_session(child.pid)
                time.sleep(STEP_SECONDS)
        finally:
            end_session(child.pid)
    return {
        'seconds': seconds,
        'cpu_seconds': usage.ru_utime + usage.ru_stime,
        'peak_mb': usage.ru_maxrss / (1024**2 if sys.platform == 'darwin' else 1024),
        'code': os.waitstatus_to_exitcode(status),
        'timed_out': timed_out,
    }


def end_session(leader: int) -> None:
    """End a program and all that it has started, also what it has left behind."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == '__main__':
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, _stop)
    print(json.dumps(launch(float(sys.argv[1]), sys.argv[2], sys.argv[3:])))
