"""Runs under way: each leaves a note in the output folder, so that another can warn.

Several runs may write to one folder, each with its own participants. Where two have the same
participants, whichever ends last with an image leaves its results. The note is locked for as long
as its run lives; one whose run was killed is removed by the next.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.execution.plan import Log, Plan
from pumba_pipe.workflows.naming import subject_of

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_lock import hold, owner, release, try_lock
from pumba_pipe.common.partial_files import PARTIAL

PREFIX = f'{PARTIAL}run-'
# Options that change neither a mask nor what is written beside it.
INDIFFERENT = ('work-dir', 'nprocs', 'omp-nthreads', 'mem', 'device', 'skip-bids-validation')
MAX_NAMED = 5  # participants


@contextlib.contextmanager
def announced(plan: Plan, log: Log) -> Iterator[None]:
    """Warn of other runs that work on the same participants, and tell those to come of this one.

    On a file system without locks nothing is said: a run that was killed looks like one under way.
    """
    folder = plan.config.output_dir / 'logs'
    note = folder / f'{PREFIX}{plan.config.run_id}.json'
    mine = _about(plan)
    handle = None
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle = hold(note, json.dumps(mine))
    try:
        if handle is not None:
            for other in _others(folder, note):
                line = _warning(mine, other)
                if line:
                    log(line)
        yield
    finally:
        if handle is not None:
            release(handle, note)


def _about(plan: Plan) -> dict[str, Any]:
    options = {key: value for key, value in plan.config.options.items() if key not in INDIFFERENT}
    return {
        'owner': owner(),
        'started': f'{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}',
        'participants': sorted({subject_of(outputs.source) for outputs in plan.todo}),
        'weights': plan.settings.sha256,
        'options': options,
    }


def _others(folder: Path, note: Path) -> Iterator[dict[str, Any]]:
    """Notes of runs under way; those of runs that were killed are removed."""
    for path in sorted(folder.glob(f'{PREFIX}*.json')):
        if path == note:
            continue
        with contextlib.suppress(OSError, InputError):
            content = read_json(path)
            handle = _free(path)
            if handle is not None:
                release(handle, path)
            else:
                yield content


def _free(path: Path) -> int | None:
    """Take the lock of a run that has ended; None for one under way."""
    handle = os.open(path, os.O_RDWR)
    if try_lock(handle):
        return handle
    os.close(handle)
    return None


def _warning(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    found = other.get('participants')
    theirs = found if isinstance(found, list) else []
    shared = [label for label in mine['participants'] if label in theirs]
    if not shared:
        return ''
    names = ', '.join(f'sub-{label}' for label in shared[:MAX_NAMED])
    if len(shared) > MAX_NAMED:
        names += f' and {len(shared) - MAX_NAMED} more'
    options, here = other.get('options'), mine['options']
    there = options if isinstance(options, dict) else {}
    different = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    if other.get('weights') != mine['weights']:
        different.append('weights')
    return (
        f'warning: another run works on {names} in this folder ({other.get("owner")}, since '
        f'{other.get("started")}'
        + (f', with other options: {", ".join(dict.fromkeys(different))}' if different else '')
        + '); of each image, the results of the run that ends last stay'
    )
