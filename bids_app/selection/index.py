"""The PyBIDS index of a data set: made in memory, or read from a database that is kept."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import RunConfig, UsageError

DATABASE = 'layout_index.sqlite'
# Of no use to any application that reads raw data.
ASIDE = r'^/(derivatives|sourcedata|code|stimuli|models)(/|$)|/\.'
# Nothing there is stripped; leaving it out makes reading a large data set quick.
UNUSED = (
    r'|^/phenotype(/|$)|/(func|dwi|fmap|perf|eeg|meg|ieeg|pet|beh|micr|nirs|motion|mrs)(/|$)'
    r'|\.(json|tsv|tsv\.gz|bval|bvec|txt|md|html)$'
)


def list_participants(bids_dir: Path) -> list[str]:
    """List the labels of all participants, in order, from the names of their folders."""
    with os.scandir(bids_dir) as entries:
        return sorted(
            entry.name.removeprefix('sub-')
            for entry in entries
            if entry.name.startswith('sub-') and entry.is_dir()
        )


def open_layout(config: RunConfig, participants: Sequence[str] = ()) -> Any:
    """Index the input.

    Parameters
    ----------
    config : RunConfig
    participants : sequence of str
        Only their folders are read, unless there is a database; empty for all. A job that is to
        strip one participant of thousands must not read them all.

    Returns
    -------
    bids.BIDSLayout

    Raises
    ------
    UsageError
        The data set or the database cannot be read.
    """
    folder = config.database_dir
    if folder is None:
        return _index(config.bids_dir, participants=participants)
    if not (folder / DATABASE).is_file():
        if config.dry_run:
            return _index(config.bids_dir, participants=participants)
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


def _index(
    bids_dir: Path, database_dir: Path | None = None, participants: Sequence[str] = ()
) -> Any:
    from bids import BIDSLayout, BIDSLayoutIndexer

    # a database serves other applications too, which look for more than we do
    keep = database_dir is not None
    ignore = re.compile(ASIDE if keep else ASIDE + UNUSED + _others(participants))
    try:
        return BIDSLayout(
            bids_dir,
            validate=False,
            database_path=database_dir,
            indexer=BIDSLayoutIndexer(validate=False, ignore=[ignore], index_metadata=keep),
        )
    except Exception as error:  # pybids raises many kinds on a broken data set
        raise UsageError(f'bids_dir {bids_dir}: cannot be read as BIDS ({_line(error)})') from None


def _others(participants: Sequence[str]) -> str:
    """Pattern of the folders of all participants but these."""
    if not participants:
        return ''
    these = '|'.join(map(re.escape, participants))
    return rf'|^/sub-(?!(?:{these})(?:/|$))'


def _make_database(bids_dir: Path, folder: Path) -> None:
    """Write a database in one piece: a run that is killed leaves none that is incomplete."""
    if folder == bids_dir or bids_dir in folder.parents:
        raise UsageError(
            f'--bids-database-dir {folder}: lies inside the input data set, which is never '
            'written to; choose another folder'
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.partial-', dir=folder) as partial:
            _index(bids_dir, Path(partial)).session.close()
            os.replace(Path(partial) / DATABASE, folder / DATABASE)
    except OSError as error:
        raise UsageError(
            f'--bids-database-dir {folder}: cannot write here ({error.strerror})'
        ) from None


def _line(error: Exception) -> str:
    return str(error).strip().split('\n')[0] or type(error).__name__
