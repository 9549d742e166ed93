"""Writing in one piece, also on disks that lack what others have."""

import errno
import os
import stat
from pathlib import Path

import pytest

from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.files import all_or_none, atomic_path, write_json, write_text


def refuse(monkeypatch, owner, name, number=errno.EPERM, when=lambda *args: True):
    """Let a function of the system fail as some disks do."""
    before = getattr(owner, name)

    def refusing(*args, **more):
        if when(*args):
            raise OSError(number, os.strerror(number), str(args[0]))
        return before(*args, **more)

    monkeypatch.setattr(owner, name, refusing)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_disk_without_permissions(tmp_path, monkeypatch):
    """CIFS and many FUSE disks refuse any chmod."""
    refuse(monkeypatch, Path, 'chmod')
    refuse(monkeypatch, os, 'chmod')
    write_text(tmp_path / 'a.txt', 'new')
    assert (tmp_path / 'a.txt').read_text() == 'new'
    assert left(tmp_path) == ['a.txt']


@pytest.mark.parametrize('number', [errno.EEXIST, errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_disk_that_renames_no_file_onto_another(tmp_path, monkeypatch, number):
    (tmp_path / 'a.txt').write_text('old')
    refuse(monkeypatch, os, 'replace', number, lambda _, target: Path(target).exists())
    write_text(tmp_path / 'a.txt', 'new')
    write_text(tmp_path / 'b.txt', 'first')
    assert (tmp_path / 'a.txt').read_text() == 'new'
    assert left(tmp_path) == ['a.txt', 'b.txt']


def test_the_old_file_stays_when_the_new_cannot_take_its_place(tmp_path, monkeypatch):
    (tmp_path / 'a.txt').write_text('old')
    refuse(monkeypatch, os, 'replace')
    refuse(monkeypatch, os, 'rename', errno.EIO, lambda source, _: '.txt' in str(source)
           and Path(source).name.startswith('.partial-'))  # fmt: skip
    with pytest.raises(OutputError, match=r'a\.txt: cannot write'):
        write_text(tmp_path / 'a.txt', 'new')
    assert (tmp_path / 'a.txt').read_text() == 'old'
    assert left(tmp_path) == ['a.txt']


@pytest.mark.parametrize('number', [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_that_makes_no_exclusive_files(tmp_path, monkeypatch, number):
    import tempfile

    refuse(monkeypatch, tempfile, 'mkstemp', number)
    write_text(tmp_path / 'a.txt', 'new')
    assert left(tmp_path) == ['a.txt']


def test_a_full_or_read_only_disk_is_one_line(tmp_path, monkeypatch):
    import tempfile

    refuse(monkeypatch, tempfile, 'mkstemp', errno.EROFS)
    with pytest.raises(OutputError, match=r'a\.txt: cannot write here \(Read-only'):
        write_text(tmp_path / 'a.txt', 'new')
    with pytest.raises(OutputError, match=r'a folder|directory'):
        monkeypatch.undo()
        (tmp_path / 'a.txt').mkdir()
        write_text(tmp_path / 'a.txt', 'new')
    assert left(tmp_path) == ['a.txt']


def test_files_can_be_read_by_whom_the_umask_lets(tmp_path):
    write_text(tmp_path / 'a.txt', 'new')
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / 'a.txt').stat().st_mode) == 0o666 & ~umask


def test_what_utf8_cannot_hold_is_escaped(tmp_path):
    write_json(tmp_path / 'a.json', {'name': b'caf\xe9'.decode('utf-8', 'surrogateescape')})
    assert '\\udce9' in (tmp_path / 'a.json').read_text('utf-8')


def test_nothing_is_left_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / 'a.txt') as partial:
        partial.write_text('half')
        raise RuntimeError
    assert left(tmp_path) == []


def failing(path):
    raise OutputError('no space left')


@pytest.mark.parametrize('links', [True, False])
def test_what_was_there_before_is_back_when_one_of_the_files_fails(tmp_path, monkeypatch, links):
    if not links:
        refuse(monkeypatch, os, 'link')
    old, new = tmp_path / 'old.txt', tmp_path / 'new.txt'
    old.write_text('before')
    with pytest.raises(OutputError), all_or_none() as together:
        together.write(old, lambda path: write_text(path, 'after'))
        together.write(new, lambda path: write_text(path, 'after'))
        assert old.read_text() == 'after'
        together.write(tmp_path / 'third.txt', failing)
    assert old.read_text() == 'before'
    assert os.listdir(tmp_path) == ['old.txt']


def test_files_that_belong_together_replace_those_before(tmp_path):
    old = tmp_path / 'old.txt'
    old.write_text('before')
    with all_or_none() as together:
        together.write(None, failing)
        together.write(old, lambda path: write_text(path, 'after'))
    assert old.read_text() == 'after'
    assert os.listdir(tmp_path) == ['old.txt']


def test_what_is_no_file_stays_where_it_is(tmp_path):
    folder, link = tmp_path / 'folder', tmp_path / 'link'
    folder.mkdir()
    link.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(OutputError), all_or_none() as together:
        together.keep(folder)
        together.write(link, failing)
    assert folder.is_dir()
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ['folder', 'link']
