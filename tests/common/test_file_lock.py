"""Locks on files: ours, another process's, or none at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pumba_pipe.common.file_lock import hold, release, try_lock

pytestmark = pytest.mark.skipif(os.name != 'posix', reason='needs locks')


def test_a_lock_is_tried(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    with path.open('w') as first, path.open('r+') as second:
        assert try_lock(first) is True
        assert try_lock(second.fileno()) is False
    with path.open('r+') as third:
        assert try_lock(third) is True


def test_a_lock_that_is_held_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    handle = hold(path, 'mine')
    assert handle is not None
    assert hold(path, 'another', wait=False) is None
    assert path.read_text() == 'mine'
    release(handle, path)
    assert not path.exists()


def test_where_there_are_no_locks_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.flock', refuse)
    with (tmp_path / 'file').open('w') as file:
        assert try_lock(file) is None
    with pytest.raises(OSError, match='ock'):
        hold(tmp_path / 'other', 'text')
    assert not (tmp_path / 'other').exists()
