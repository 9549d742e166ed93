"""Files that are complete or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.partial_files import PARTIAL, partial_name
from pumba_pipe.common.signals import raise_if_interrupted

DOUBLE_SUFFIXES = ('.nii.gz', '.mgh.gz')
COMPRESSIONS = ('', '.gz', '.bz2', '.zst')
# Images of several files of one name: to give one of them is to give all.
FAMILIES = (('.hdr', '.img', '.mat'), ('.head', '.brik'), ('.par', '.rec'))
_Key = tuple[str, str] | tuple[int, int]
SPECIAL = {
    stat.S_IFDIR: 'a folder',
    stat.S_IFIFO: 'a pipe (FIFO)',
    stat.S_IFSOCK: 'a socket',
    stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device',
}
# What a disk replies that cannot make a file safely against other programs, as some FUSE ones.
NOT_EXCLUSIVE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def image_suffix(path: PurePath) -> str:
    """Return the suffix of an image file, ``.nii.gz`` as one."""
    for suffix in DOUBLE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[-len(suffix) :]
    return path.suffix


def check_readable(path: Path, what: str = 'file') -> None:
    """Refuse, before it is opened, what is no regular file: to open a pipe may wait for ever.

    Raises
    ------
    InputError
        There is no such file, or it is a folder, pipe, socket or device.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        hint = ' (a broken link?)' if os.path.islink(path) else ''
        raise InputError(f'{path}: cannot read this {what}: {error.strerror}{hint}') from None
    except ValueError:  # a NUL character
        raise InputError(f'{str(path)!r}: this is not the name of a file') from None
    if not stat.S_ISREG(mode):
        kind = SPECIAL.get(stat.S_IFMT(mode), 'no regular file')
        raise InputError(f'{path}: is {kind}, not {"an" if what[0] in "aeiou" else "a"} {what}')


def check_current_folder() -> None:
    """Refuse to work in a folder that has been deleted: PyTorch would end without a reason.

    Raises
    ------
    InputError
        The current folder is not there.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f'the current folder cannot be used ({error.strerror}); change to another folder'
        ) from None


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work, outputs that cannot be written or would replace what they must not.

    Paths are compared as files, through links and other ways to write a path, and with all files
    of images that are several: of ``scan.hdr`` also ``scan.img``. Folders of outputs are made.

    Parameters
    ----------
    outputs, inputs : iterable of Path or None
        None stands for what was not asked for.

    Raises
    ------
    OutputError
        An output is an input, or one of its files; two outputs are the same file; an output is a
        folder, pipe or device; or its folder cannot be written to.
    """
    read = {key: path for path in inputs if path is not None for key in _keys(files_of(path))}
    written: dict[_Key, Path] = {}
    for path in outputs:
        if path is None:
            continue
        if not path.is_absolute():
            check_current_folder()
        for file in _written_with(path):
            _check_place(file)
        keys = _keys(_written_with(path))
        source = next((read[key] for key in keys if key in read), None)
        if source is not None:
            what = 'the input itself' if source == path else f'a file of the input {source}'
            raise OutputError(f'{path}: is {what}; choose another output')
        check_folder(path)
        other = next((written[key] for key in keys if key in written), None)
        other = other or _differs_in_case_only(path, written.values())
        if other is not None:
            raise OutputError(
                f'two outputs are the same file: {other} and {path}; give each its own'
            )
        written.update(dict.fromkeys(keys, path))


def files_of(path: Path) -> list[Path]:
    """A file and all that may make one image with it, whether they exist or not."""
    name, compression = path.name, ''
    for end in COMPRESSIONS[1:]:
        if name.lower().endswith(end):
            name, compression = name[: -len(end)], name[-len(end) :]
    stem, suffix = os.path.splitext(name)
    family = next((one for one in FAMILIES if suffix.lower() in one), ())
    others = [
        path.with_name(stem + (one.upper() if suffix.isupper() else one) + end)
        for one in family
        for end in dict.fromkeys((compression, *COMPRESSIONS))
    ]
    return [path, *(other for other in others if other != path)]


def _written_with(path: Path) -> list[Path]:
    """A file and the one that is written together with it."""
    other = {'.hdr': '.img', '.img': '.hdr'}.get(path.suffix)
    return [path] if other is None else [path, path.with_suffix(other)]


def _keys(files: Iterable[Path]) -> set[_Key]:
    """What tells files from others: names without links in them, and inodes of those there are."""
    keys: set[_Key] = set()
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            keys.add((os.path.realpath(file.parent), file.name))
            keys.add(os.path.split(os.path.realpath(file)))
            status = file.stat()
            keys.add((status.st_dev, status.st_ino))
    return keys


def _differs_in_case_only(path: Path, others: Iterable[Path]) -> Path | None:
    """Return another path that the file system takes for the same, though neither exists yet."""
    for other in others:
        names = [_folded(file) for file in _written_with(other)]
        if any(_folded(file) in names for file in _written_with(path)):
            return other if not tells_case(path.parent) else None
    return None


def _folded(path: Path) -> str:
    return unicodedata.normalize('NFC', os.path.realpath(path)).casefold()


def tells_case(folder: Path) -> bool:
    """Whether a folder that can be written to has different files for ``a`` and ``A``."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix='.pumba-case-') as file:
        probe = Path(file.name)
        return not probe.with_name(probe.name.upper()).exists()


def _check_place(path: Path) -> None:
    """Refuse an output that is there and is no regular file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except ValueError:  # a NUL character
        raise OutputError(f'{str(path)!r}: this is not the name of a file') from None
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None
    if stat.S_ISDIR(mode):
        raise OutputError(f'{path}: is a folder; give a file name')
    if not stat.S_ISREG(mode) or _among_devices(path):
        kind = SPECIAL.get(stat.S_IFMT(mode), 'a device')
        raise OutputError(f'{path}: is {kind}, which a result cannot replace; give a file name')


def _among_devices(path: Path) -> bool:
    """Whether a path lies where no files are: ``/dev/stdout`` would be replaced, not written."""
    parts = Path(os.path.abspath(path)).parts[1:3]
    return parts[:1] in (('dev',), ('proc',), ('sys',)) and parts != ('dev', 'shm')


def check_folder(path: Path) -> None:
    """Refuse a path whose folder cannot be made or written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when all went well.

    Works on disks that know no permissions, or cannot rename a file onto another (CIFS, FUSE).

    Raises
    ------
    OutputError
        The folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _new_file(path)
    except OSError as error:
        raise OutputError(f'{path}: cannot write here ({error.strerror})') from None
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        with contextlib.suppress(OSError):  # a disk without permissions refuses any change
            partial.chmod(0o666 & ~umask)
        raise_if_interrupted()
        _replace(partial, path)
    except OSError as error:
        raise OutputError(f'{path}: cannot write this file ({error.strerror or error})') from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


class FilesTogether:
    """Files that belong together, and what was in their places before."""

    def __init__(self) -> None:
        self._before: dict[Path, Path | None] = {}  # None: nothing was

    def write(self, path: str | Path | None, save: Callable[[Path], None]) -> None:
        """Write a file that is asked for; None is not."""
        if path is not None:
            self.keep(Path(path))
            save(Path(path))

    def keep(self, path: Path) -> None:
        """Keep what is in a file's place, before it is written."""
        for file in _written_with(path):
            if file in self._before:
                continue
            if not os.path.lexists(file):
                self._before[file] = None
            elif file.is_file() or file.is_symlink():  # nothing else is ever replaced
                self._before[file] = _kept_aside(file)

    def undo(self) -> None:
        """Put back what was there before, and remove what was not."""
        for file, kept in self._before.items():
            with contextlib.suppress(OSError):
                if kept is None:
                    file.unlink(missing_ok=True)
                else:
                    _replace(kept, file)
        self.forget()

    def forget(self) -> None:
        """Remove what was kept."""
        for kept in filter(None, self._before.values()):
            with contextlib.suppress(OSError):
                kept.unlink(missing_ok=True)
        self._before.clear()


@contextlib.contextmanager
def all_or_none() -> Iterator[FilesTogether]:
    """Leave files that belong together as they were when one of them, or what follows, fails.

    Yields
    ------
    FilesTogether
        Through which they are written.
    """
    together = FilesTogether()
    try:
        yield together
    except BaseException:
        together.undo()
        raise
    together.forget()


def _kept_aside(path: Path) -> Path:
    """Keep a file under another name beside it, without a copy where the disk can do so."""
    aside = path.with_name(partial_name(image_suffix(path)))
    try:
        os.link(path, aside)
    except OSError:
        try:
            shutil.copy2(path, aside, follow_symlinks=False)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise OutputError(
                f'{path}: cannot keep this file while a new one is written '
                f'({error.strerror or error})'
            ) from None
    return aside


def _new_file(path: Path) -> Path:
    """Make an empty file beside `path` that no other program knows."""
    try:
        handle, name = tempfile.mkstemp(image_suffix(path), PARTIAL, path.parent)
    except OSError as error:
        if error.errno not in NOT_EXCLUSIVE:
            raise
        partial = path.with_name(partial_name(image_suffix(path)))
        partial.open('wb').close()
        return partial
    os.close(handle)
    return Path(name)


def _replace(partial: Path, path: Path) -> None:
    """Rename a file, also where the disk renames none onto another: the old one steps aside."""
    try:
        os.replace(partial, path)
        return
    except OSError as error:
        if not path.is_file():
            raise
        refused = error
    aside = path.with_name(partial_name())
    try:
        os.rename(path, aside)
    except OSError:
        raise refused from None
    try:
        os.rename(partial, path)
    except OSError:
        os.rename(aside, path)
        raise
    with contextlib.suppress(OSError):
        aside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one piece; bytes of names that are not UTF-8 are escaped."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding='utf-8', errors='backslashreplace')


def write_json(path: Path, content: Any) -> None:
    """Write an indented JSON file in one piece."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def file_digest(path: Path) -> str:
    """First 16 digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
