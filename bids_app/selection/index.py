"""Participants of a data set, and the database that PyBIDS keeps of its files."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import RunConfig, UsageError
from pumba_pipe.bids_app.selection.tree import leads_nowhere, shown

from pumba_pipe.common.bids_names import is_label
from pumba_pipe.common.partial_files import PARTIAL

DEEP, MAX_FOLDERS = 20, 100_000  # levels of folders; folders that are looked at
DATABASE = 'layout_index.sqlite'
# Of no use to any application that reads raw data; and names that SQLite cannot hold.
ASIDE = '^/(derivatives|sourcedata|code|stimuli|models)(/|$)|/\\.|[\udc80-\udcff]'


def list_participants(bids_dir: Path) -> list[str]:
    """List the labels of all participants, in order, from the names of their folders.

    A link to a folder that is not here counts: who runs the data set should know.
    """
    with os.scandir(bids_dir) as entries:
        return sorted(
            entry.name.removeprefix('sub-')
            for entry in entries
            if entry.name.startswith('sub-')
            and (leads_nowhere(Path(entry.path)) or entry.is_dir())
        )


def split_participants(bids_dir: Path) -> tuple[list[str], list[str]]:
    """Labels of participants, and folders that begin like theirs but have no BIDS names."""
    labels = list_participants(bids_dir)
    valid = [label for label in labels if is_label(label)]
    return valid, [f'sub-{label}' for label in labels if not is_label(label)]


def open_layout(config: RunConfig) -> Any:
    """Open the database of the input; one that is missing is made.

    Returns
    -------
    bids.BIDSLayout

    Raises
    ------
    UsageError
        The data set or the database cannot be read.
    """
    folder = config.database_dir
    assert folder is not None
    if not (folder / DATABASE).is_file():
        _make_database(config.bids_dir, folder)
    try:
        from bids import BIDSLayout

        layout = BIDSLayout(config.bids_dir, validate=False, database_path=folder)
        root = Path(layout.root).resolve()
        layout.get_entities()
    except Exception as error:  # pybids and sqlite raise many kinds
        raise UsageError(
            f'--bids-database-dir {folder}: cannot be read ({_line(error)}); remove it to have it '
            'made anew'
        ) from None
    if root != config.bids_dir:
        raise UsageError(
            f'--bids-database-dir {folder}: is of another data set, {root}; choose another folder'
        )
    return layout


def _index(bids_dir: Path, database_dir: Path) -> Any:
    from bids import BIDSLayout, BIDSLayoutIndexer

    # the database serves other applications too, which look for more than we do
    ignore = re.compile(ASIDE)
    try:
        return BIDSLayout(
            bids_dir,
            validate=False,
            database_path=database_dir,
            indexer=BIDSLayoutIndexer(validate=False, ignore=[ignore], index_metadata=True),
        )
    except RecursionError:
        raise UsageError(
            f'{shown(_deep_folder(bids_dir))}: folders lie too deep for PyBIDS, or a link leads '
            'back to a folder above it; move them out of the data set, or run without '
            '--bids-database-dir'
        ) from None
    except Exception as error:  # pybids raises many kinds on a broken data set
        raise UsageError(f'bids_dir {bids_dir}: cannot be read as BIDS ({_line(error)})') from None


def _deep_folder(bids_dir: Path) -> Path:
    """Return a folder that lies deeper than any of BIDS; of many folders the first that does."""
    waiting, deepest = [(bids_dir, 0)], (bids_dir, 0)
    for _ in range(MAX_FOLDERS):
        if not waiting or deepest[1] > DEEP:
            break
        folder, depth = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            waiting += [(Path(entry.path), depth + 1) for entry in entries if entry.is_dir()]
        deepest = max(deepest, (folder, depth), key=lambda one: one[1])
    return deepest[0]


def _make_database(bids_dir: Path, folder: Path) -> None:
    """Write a database in one piece: a run that is killed leaves none that is incomplete."""
    if folder == bids_dir or bids_dir in folder.parents:
        raise UsageError(
            f'--bids-database-dir {folder}: lies inside the input data set, which is never '
            'written to; choose another folder'
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder) as partial:
            _index(bids_dir, Path(partial)).session.close()
            os.replace(Path(partial) / DATABASE, folder / DATABASE)
    except OSError as error:
        raise UsageError(
            f'--bids-database-dir {folder}: cannot write here ({error.strerror})'
        ) from None


def _line(error: Exception) -> str:
    return str(error).strip().split('\n')[0] or type(error).__name__
