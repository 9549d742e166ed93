"""Nipype's MultiProc with workers that may be killed.

In `MultiProcPlugin` all workers share one `ProcessPoolExecutor`. When the system kills one of
them, most often for lack of memory, the executor is broken: every node that runs at that moment
gets an exception that is raised in a callback, where nobody sees it, and the main loop waits for
their results for ever. Here every worker has an executor of its own: the node of a killed worker
fails with a reason, and the others go on.

This module depends on Nipype alone. What belongs to an application is handed in by
``plugin_args``. Written against Nipype 1.10 to 1.12, of which it overrides these methods:

==================  ==============================================================================
``__init__``        replaces ``pool`` by `Workers`
``run``             ends the workers when the run is interrupted
``_submit_job``     submits to `Workers`, with a callback that keeps what went wrong
``_sort_jobs``      finishes what was begun first, where the application says what belongs together
``_report_crash``   tells the application why a node failed; a full disk does not end the run
``_clear_task``     forgets results, which the main loop has read by then
==================  ==============================================================================
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

KILLED = 'WorkerKilledError: a worker process was killed, most likely for lack of memory'


def start_worker(folder: str, prepare: Callable[[], None] | None = None) -> None:
    """Prepare a worker process, which inherits no setting but the environment."""
    process_initializer(folder)
    if prepare is not None:
        prepare()
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the end of the main process, and end this one then.

    A worker would else wait for work for ever when the main process is killed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Workers:
    """Worker processes that are started when they are needed, each in an executor of its own.

    Has the methods of an executor that Nipype calls. How many tasks run at once is for the caller
    to decide.

    Parameters
    ----------
    starting : callable
        Returns a context manager; processes are started inside it.
    **options
        Of `ProcessPoolExecutor`, without the number of workers.
    """

    def __init__(
        self,
        starting: Callable[[], AbstractContextManager[None]] = nullcontext,
        **options: Any,
    ) -> None:
        self._starting = starting
        self._options = options
        self._lock = threading.Lock()
        self._all: set[ProcessPoolExecutor] = set()
        self._idle: list[ProcessPoolExecutor] = []

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        """Run a function in an idle worker, or in a new one."""
        with self._lock, self._starting():
            worker = self._idle.pop() if self._idle else self._new()
            try:
                future = worker.submit(function, *args)
            except BrokenProcessPool:  # killed while it had nothing to do
                self._all.discard(worker)
                worker = self._new()
                future = worker.submit(function, *args)
        future.add_done_callback(partial(self._release, worker))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._all)
            self._all.clear()
            self._idle.clear()
        for worker in workers:
            worker.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _new(self) -> ProcessPoolExecutor:
        worker = ProcessPoolExecutor(1, **self._options)
        self._all.add(worker)
        return worker

    def _release(self, worker: ProcessPoolExecutor, future: Future) -> None:
        broken = not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)
        with self._lock:
            if broken:
                self._all.discard(worker)
            elif worker in self._all:
                self._idle.append(worker)


class FaultTolerantMultiProcPlugin(MultiProcPlugin):
    """Nipype's MultiProc, in which a killed worker fails its own node and no other.

    Takes these ``plugin_args`` besides those of `MultiProcPlugin`:

    worker_init : callable, optional
        Called without arguments in each new worker; has to be picklable.
    group_of : callable, optional
        Takes a node, returns what it belongs to (hashable). Of the jobs that are ready, those of
        the group that was begun first run first. Nipype would take every step of all groups in
        turn: results would come all at the end, and a run that is killed would leave none.
    failure_callback : callable, optional
        Takes a node that failed and the lines of its traceback, before the crash file is written.
    killed_hint : str, optional
        What to do about killed workers, for the message of the node.
    starting : callable, optional
        Returns a context manager; workers are started inside it.
    check : callable, optional
        Called without arguments whenever jobs are handed out, and before a failure is told; what
        it raises ends the run.
    """

    pool: Any

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self._ranks: dict[Hashable, int] = {}
        self._check: Callable[[], None] = self.plugin_args.get('check', lambda: None)
        self.pool.shutdown()  # that of the base class, which has started no process yet
        self.pool = Workers(
            starting=self.plugin_args.get('starting', nullcontext),
            mp_context=multiprocessing.get_context(self.plugin_args.get('mp_context')),
            initializer=start_worker,
            initargs=(self._cwd, self.plugin_args.get('worker_init')),
        )

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; what ends that early ends the workers too."""
        self._ranks.clear()
        try:
            super().run(graph, config, updatehash=updatehash)
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            self.pool.shutdown(wait=False, cancel_futures=True)
            raise

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = 'tsort') -> list[int]:
        self._check()
        ready = super()._sort_jobs(jobids, scheduler=scheduler)
        return sorted(ready, key=self._rank) if self.plugin_args.get('group_of') else ready

    def _rank(self, jobid: int) -> int:
        """Place of the group that a job belongs to, in the order in which groups are begun."""
        group = self.plugin_args['group_of'](self.procs[jobid])
        return self._ranks.setdefault(group, jobid)

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> str:
        self._check()  # Nipype takes Ctrl-C in a node of this process for its failure
        tell = self.plugin_args.get('failure_callback')
        if tell is not None and result is not None:
            tell(node, result['traceback'])
        try:
            return super()._report_crash(node, result)
        except OSError:  # a full disk must not stop the nodes whose results fit
            for file in Path(node.config['execution']['crashdump_dir']).glob('crash-*'):
                if file.stat().st_size == 0:
                    file.unlink()
            return ''

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        if getattr(node.interface, 'terminal_output', '') == 'stream':  # as in MultiProc
            node.interface.terminal_output = 'allatonce'
        future = self.pool.submit(run_node, node, updatehash, self._taskid)
        self._task_obj[self._taskid] = future
        future.add_done_callback(partial(self._finished, self._taskid))
        return self._taskid

    def _finished(self, taskid: int, future: Future) -> None:
        """Keep the result of a task; whatever is raised here is lost to the main loop."""
        try:
            result = future.result()
        except BaseException as error:
            reason = self._killed() if isinstance(error, BrokenProcessPool) else repr(error)
            result = {'result': None, 'traceback': [reason + '\n'], 'taskid': taskid}
        self._taskresult[taskid] = result

    def _killed(self) -> str:
        hint = self.plugin_args.get('killed_hint')
        return f'{KILLED}; {hint}' if hint else KILLED

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        del self._taskresult[taskid]
