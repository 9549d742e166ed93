"""The end of this process: signals that ask for it, and what happens when they have no effect."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

END_SECONDS = 8.0  # from a signal to the end by force; batch systems wait 10 s and longer
EXIT_INTERRUPTED = 130
# What a terminal or a batch system sends to end a program: Ctrl-C, an end, a closed terminal.
ENDING = tuple(
    getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)
)
_unanswered: list[int] = []  # signals to end, until a command has ended for them


@contextlib.contextmanager
def tidy_end() -> Iterator[None]:
    """Treat the end that a batch system or a closed terminal announces like Ctrl-C.

    A process that ends at once leaves files half-written, and of outputs that belong together
    some. A signal that is ignored (``nohup``), or that somebody else handles, stays so.

    Raises
    ------
    KeyboardInterrupt
        A signal came; at the end of the block at the latest (see `raise_if_interrupted`).
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _unanswered.append(number)
        raise KeyboardInterrupt

    def tell_others(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):  # which is remembered
            tell_all(lost)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, interrupt)
    tell_all = sys.unraisablehook
    sys.unraisablehook = tell_others
    try:
        yield
        raise_if_interrupted()
    finally:
        sys.unraisablehook = tell_all
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            _unanswered.clear()


def raise_if_interrupted() -> None:
    """Interrupt again where a library caught an interruption, with a bare ``except`` or in C.

    Many do so while they are imported. Asked before outputs are written, and at the end.

    Raises
    ------
    KeyboardInterrupt
    """
    if _unanswered:
        raise KeyboardInterrupt


@contextlib.contextmanager
def ending_in_time(seconds: float = END_SECONDS) -> Iterator[None]:
    """End this process by force when a signal to end has no effect for so long.

    Python's handlers run between two steps of Python; in the middle of a convolution, or of a
    library that waits for memory there is not, none comes. A thread of its own waits for signals
    here. It waits on after the end of the block, until the process has ended.

    Parameters
    ----------
    seconds : float
        From the signal, one of `ENDING`, to the end.
    """
    if os.name != 'posix' or threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    threading.Thread(target=_watch, args=(reader, seconds), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # signals are for the main thread alone
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


def _watch(reader: int, seconds: float) -> None:
    """Wait for the number of a signal that ends; then for the end of the process."""
    with contextlib.suppress(OSError), os.fdopen(reader, 'rb', buffering=0) as pipe:
        while True:
            received = pipe.read(1)
            if not received:
                return
            if received[0] in ENDING:
                break
        time.sleep(seconds)
        # a closed pipe: the signal was handled; while Python ends, the main thread has ended
        handled = _is_closed(pipe)
        if not handled or not threading.main_thread().is_alive():
            end_by_force()


def _is_closed(pipe: IO[bytes]) -> bool:
    """Whether nobody writes to a pipe any more; what was written is read."""
    while select.select([pipe], [], [], 0)[0]:
        if not pipe.read(4096):
            return True
    return False


def end_by_force() -> None:
    """End this process and its children at once."""
    with contextlib.suppress(Exception):
        if 'multiprocessing' in sys.modules:  # else there are none
            from pumba_pipe.common.processes import end_workers

            end_workers()
    os._exit(EXIT_INTERRUPTED)
