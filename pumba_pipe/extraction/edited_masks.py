"""Loose files whose masks a person has edited: what is made of a mask follows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import MODIFIED, SHA256, checksum, is_record, is_same
from pumba_pipe.common.files import atomic_path, write_json
from pumba_pipe.extraction.many import Task, reason_of
from pumba_pipe.images.masks import load_mask_of, millilitres, signed_distance
from pumba_pipe.images.saving import check_images, save_map, save_masked
from pumba_pipe.images.volume import load_volume
from pumba_pipe.results.sidecars import (
    FILE_RECORD,
    GENERATED_BY,
    MANUAL_MASK,
    OTHER_FILES,
    SOURCE_RECORD,
    check_source,
    read_sidecar,
    sidecar_of,
    written,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

FOLLOWING = ('brain', 'sdt')  # results that are made of the mask; the others are the network's
IN_PLACE = {'Source': 'edited in place'}


def follow_edits(
    tasks: Iterable[Task],
    *,
    done: Callable[[Task], None],
    failed: Callable[[Task, str], None],
) -> None:
    """Make masked images and distance maps of edited masks, which stay as they are.

    Parameters
    ----------
    tasks : iterable of Task
        Their masks were edited, their images are those that the masks were made of; with the kinds
        of results that are there.
    done : callable
        Called with each image whose results fit its mask.
    failed : callable
        Called with each other one, and why, in one line.
    """
    for task in tasks:
        try:
            _follow(task)
        except Exception as error:  # one broken mask must not stop all others
            failed(task, reason_of(error))
        else:
            done(task)


def _follow(task: Task) -> None:
    content = read_sidecar(task.mask) or {}
    records = dict(content.get(OTHER_FILES) or {})
    following = [kind for kind in FOLLOWING if kind in task.kinds]
    for kind in set(task.kinds) - {'mask', *FOLLOWING}:
        _check_network(task.path(kind), records.get(task.path(kind).name), task.mask)
    paths = [task.path(kind) for kind in following]
    check_images(paths, [task.source, *task.companions(), task.mask])
    edited = written(task.mask)
    volume = load_volume(task.source)
    mask = load_mask_of(volume, task.mask)
    if not mask.any():
        raise InputError(f'{task.mask}: this edited mask is empty; move it away, or edit it again')
    with contextlib.ExitStack() as stack:
        for kind, path in zip(following, paths, strict=True):
            partial = stack.enter_context(atomic_path(path))
            if kind == 'brain':
                save_masked(volume, mask, partial)
            else:
                save_map(volume, signed_distance(mask, volume.voxel_size), partial)
            records[path.name] = written(partial)
        check_source(task.source, content[SOURCE_RECORD])
        if checksum(task.mask) != edited[SHA256]:
            raise InputError(f'{task.mask}: has changed while it was worked on; start again')
        changed = {
            'Manual': True,
            MANUAL_MASK: {**IN_PLACE, SHA256: edited[SHA256]},
            FILE_RECORD: edited,
            OTHER_FILES: records,
            'Quality': _quality(content.get('Quality'), volume, mask),
        }
        content.pop(GENERATED_BY, None)  # a person made it what it is
        write_json(sidecar_of(task.mask), content | changed)


def _check_network(path: Path, record: Any, mask: Path) -> None:
    if not (path.is_file() and is_record(record) and is_same(path, record, MODIFIED)):
        raise InputError(
            f'{path}: is not there as the network made it, and {mask.name} was edited by hand '
            'since; ask for it in another folder'
        )


def _quality(record: Any, volume: Volume, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Quality record of an edited mask: the network's, but for its volume, and no flags."""
    known = dict(record) if isinstance(record, dict) else {}
    if known.get('manual') is not True:
        known['network_flags'] = known.get('flags', [])
    return {**known, 'volume_ml': round(millilitres(mask, volume), 4), 'flags': [], 'manual': True}
