"""Running nodes in several processes, one of which may die."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node
from pumba_pipe.bids_app.execution.engine import process_context
from pumba_pipe.bids_app.execution.progress import image_id
from pumba_pipe.bids_app.execution.quiet import configure_nipype

KILLED = (
    'WorkerKilledError: a worker process was killed, most likely for lack of memory; '
    'run again with a lower --mem or --nprocs'
)


def start_worker(folder: str, verbosity: int, record: Path | None) -> None:
    """Prepare a worker process, which inherits no setting but the environment."""
    process_initializer(folder)
    configure_nipype(verbosity, record=record)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait for the end of the main process, and end this one then.

    A worker would else wait for work forever when the main process is killed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class FaultTolerantMultiProcPlugin(MultiProcPlugin):
    """Nipype's MultiProc, which would wait forever for a worker that was killed.

    A worker that dies takes the pool with it: the nodes that were running fail, the others run
    in a new pool.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self._ranks: dict[str, int] = {}
        self.pool: ProcessPoolExecutor = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.processors,
            mp_context=process_context(),
            initializer=start_worker,
            initargs=(
                self._cwd,
                self.plugin_args.get('verbosity', 0),
                self.plugin_args.get('record'),
            ),
        )

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph; what ends that early ends the workers too."""
        self._ranks.clear()
        try:
            super().run(graph, config, updatehash=updatehash)
        except BaseException:
            # they only write to the work dir: results are put in their places by this process
            for worker in multiprocessing.active_children():
                worker.terminate()
            self.pool.shutdown(wait=False, cancel_futures=True)
            raise

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = 'tsort') -> list[int]:
        """Finish images that were begun first: Nipype would take every step of all images in turn.

        Results would then come all at the end, and a run that is killed would leave none.
        """
        ready = super()._sort_jobs(jobids, scheduler=scheduler)
        return sorted(ready, key=self._rank)

    def _rank(self, jobid: int) -> int:
        """Place of the image that a job works on, in the order in which they are begun."""
        token = image_id(self.procs[jobid].fullname or '') or ''
        return self._ranks.setdefault(token, jobid)

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> str:
        explain = getattr(self.plugin_args.get('status_callback'), 'explain', None)
        if explain is not None and result is not None:
            explain(node, result['traceback'])
        try:
            return super()._report_crash(node, result)
        except OSError:  # a full disk must not stop the images whose results fit
            for file in Path(node.config['execution']['crashdump_dir']).glob('crash-*'):
                if file.stat().st_size == 0:
                    file.unlink()
            return ''

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        try:
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        self._task_obj[self._taskid] = future
        future.add_done_callback(partial(self._finished, self._taskid))
        return self._taskid

    def _finished(self, taskid: int, future: Future) -> None:
        try:
            result = future.result()
        except BaseException as error:
            reason = KILLED if isinstance(error, BrokenProcessPool) else repr(error)
            result = {'result': None, 'traceback': [reason + '\n'], 'taskid': taskid}
        self._taskresult[taskid] = result

    def _clear_task(self, taskid: int) -> None:
        super()._clear_task(taskid)
        del self._taskresult[taskid]
