"""Many loose files, one set of weights: what is done before is left, the rest is stripped.

Beside each mask lies a JSON file by which a later run knows it again, see
`pumba_pipe.results.sidecars`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.common.file_records import (
    MODIFIED,
    SHA256,
    checksum,
    is_record,
    is_same,
    record_of,
)
from pumba_pipe.common.files import atomic_path, files_of, write_json
from pumba_pipe.common.partial_files import PARTIAL, remove_old_partials
from pumba_pipe.common.resources import OUT_OF_MEMORY, lacks_memory
from pumba_pipe.extraction.named_images import Found
from pumba_pipe.extraction.options import EXTRACTION_VERSION, ExtractionOptions
from pumba_pipe.extraction.pipeline import extract
from pumba_pipe.extraction.result import BrainExtraction, known_intracranial
from pumba_pipe.images.saving import check_images, save_map, save_mask, save_masked
from pumba_pipe.images.volume import Volume, b_value_files, load_volume
from pumba_pipe.network.weights import Model
from pumba_pipe.results import judgement
from pumba_pipe.results.judgement import Judgement, Words
from pumba_pipe.results.sidecars import (
    EXTRACTION,
    FILE_RECORD,
    METHOD_VERSION,
    NOT_HERE,
    OTHER_FILES,
    SOURCE_RECORD,
    check_source,
    is_complete,
    is_edited,
    is_ours,
    made_by,
    not_ours,
    read_sidecar,
    remove,
    sidecar_of,
    written,
)

MASK = 'mask'
ENDINGS = {
    MASK: '_mask.nii.gz',
    'brain': '_brain.nii.gz',
    'prob': '_prob.nii.gz',
    'sdt': '_sdt.nii.gz',
    'tiv': '_tiv.nii.gz',
}
KINDS = tuple(ENDINGS)
OTHER_SOURCES = 'OtherSourceRecords'
UNFOLLOWED = 'unfollowed'
WORDS = Words('the image', 'the image', 'move the mask away to have it made again')


@dataclass(frozen=True)
class Task:
    """An image and its results.

    Attributes
    ----------
    source : Path
    stem : Path
        How the paths of its results begin.
    kinds : tuple of str
        Of `KINDS`. The mask is always among them: its sidecar holds the record of all.
    """

    source: Path
    stem: Path
    kinds: tuple[str, ...]

    @property
    def mask(self) -> Path:
        """Path of the mask."""
        return self.path(MASK)

    @property
    def paths(self) -> list[Path]:
        """Paths of all results, the mask first."""
        return [self.path(kind) for kind in KINDS if kind in (MASK, *self.kinds)]

    def path(self, kind: str) -> Path:
        """Path of a result."""
        return self.stem.with_name(self.stem.name + ENDINGS[kind])

    def companions(self) -> list[Path]:
        """Other files that the mask depends on: the rest of an image of several, b-values."""
        others = [*files_of(self.source)[1:], *b_value_files(self.source)]
        return [file for file in others if file.is_file()]


class Loaded(NamedTuple):
    """An image that was read, and records of its files as they were before."""

    volume: Volume
    record: dict[str, Any]
    others: dict[str, dict[str, Any]]


def tasks_of(images: Iterable[Found], folder: Path, kinds: Sequence[str]) -> list[Task]:
    """Give each image a place for its results.

    An image that is itself a result of another one, by an earlier run, is left out.

    Raises
    ------
    InputError
        Results of two images would have the same names, or a result would replace an image.
    """
    tasks: dict[str, Task] = {}
    for image in images:
        task = Task(image.path, folder / image.place, tuple(kinds))
        # as on disks that take small and capital letters for the same
        other = tasks.setdefault(os.path.abspath(task.stem).casefold(), task)
        if other is not task:
            raise InputError(
                f'{other.source} and {task.source}: their results would have the same names '
                f'({task.mask.name}); give --relative-to, a folder above both, to keep the '
                'folders below it'
            )
    results = {
        os.path.realpath(task.path(kind)): task for task in tasks.values() for kind in KINDS
    }
    kept = []
    for task in tasks.values():
        maker = results.get(os.path.realpath(task.source))
        if maker is None:
            kept.append(task)
        elif not is_ours(read_sidecar(maker.mask)):
            raise InputError(
                f'{task.source}: has the name of a result of {maker.source}; choose another '
                'folder for the results'
            )
    return kept


def parameters(model: Model, options: ExtractionOptions) -> dict[str, Any]:
    """What results depend on besides the image, for their sidecars."""
    return {
        METHOD_VERSION: EXTRACTION_VERSION,
        'WeightsSHA256': model.sha256,
        'BorderMm': options.border_mm,
        'Csf': options.csf,
    }


def judge(task: Task, depends: Mapping[str, Any]) -> Judgement:
    """Compare what there is of an image with what is asked for.

    Parameters
    ----------
    task : Task
    depends : mapping
        See `parameters`.

    Returns
    -------
    Judgement
        Its state may also be `UNFOLLOWED`: the mask was edited, and what is made of it is not yet
        made of the mask as it is now.
    """
    content = read_sidecar(task.mask)
    try:
        blocked = _in_the_way(task, content)
        if blocked or content is None:
            return Judgement('blocked', blocked) if blocked else Judgement('missing')
        return _judge(task, content, depends)
    except OSError as error:
        return Judgement('blocked', f'{error.filename}: cannot read this file ({error.strerror})')


def _in_the_way(task: Task, content: Mapping[str, Any] | None) -> str:
    """Say why nothing can be written for an image, empty when it can be."""
    if not is_ours(content) and os.path.lexists(sidecar_of(task.mask)):
        return f'{sidecar_of(task.mask)}: {not_ours(task.mask)}'
    known = (content or {}).get(OTHER_FILES)
    for path in task.paths:
        if path.is_symlink() and not path.exists():
            return f'{path}: {NOT_HERE}'
        recorded = path == task.mask or (isinstance(known, Mapping) and path.name in known)
        if os.path.lexists(path) and not (is_ours(content) and recorded):
            return f'{path}: {not_ours(task.mask)}'
    for source in _sources(content):
        other = Path(source)
        if other.exists() and not other.samefile(task.source):
            return f'{task.mask}: is the mask of {other}, another image'
    return ''


def _sources(content: Mapping[str, Any] | None) -> list[str]:
    sources = (content or {}).get('Sources')
    return [one for one in sources if isinstance(one, str)] if isinstance(sources, list) else []


def _judge(task: Task, content: dict[str, Any], depends: Mapping[str, Any]) -> Judgement:
    edited = task.mask.exists() and is_edited(task.mask, content)
    source = content.get(SOURCE_RECORD)
    asked = judgement.Asked(
        task.source,
        {file.name: checksum(file) for file in task.companions()},
        list(_results(task, content, depends)),
        WORDS,
        moved=not is_record(source),
        edited=[task.mask] if edited else [],
    )
    found = judgement.judge(asked)
    if found.state == 'edited':
        known = content.get('Manual') is True and is_complete(task.mask, content)
        if not (known and _others_complete(task, content)):
            return replace(found, state=UNFOLLOWED)
    return found


def _results(
    task: Task, content: Mapping[str, Any], depends: Mapping[str, Any]
) -> Iterator[judgement.Result]:
    """What the sidecar of the mask says of all results."""
    records = content.get(OTHER_FILES)
    known = records if isinstance(records, Mapping) else {}
    for path in task.paths:
        yield judgement.Result(
            path,
            described=True,
            record=content.get(FILE_RECORD) if path == task.mask else known.get(path.name),
            source=content.get(SOURCE_RECORD),
            companions=_sums(content.get(OTHER_SOURCES)),
            made_with={EXTRACTION: content.get(EXTRACTION)},
            asked={EXTRACTION: depends},
        )


def _sums(records: Any) -> dict[str, str] | None:
    """Checksums of files by their records; None where these are no records."""
    if not isinstance(records, Mapping) or not all(map(is_record, records.values())):
        return None
    return {name: record[SHA256] for name, record in records.items()}


def _others_complete(task: Task, content: Mapping[str, Any]) -> bool:
    records = content.get(OTHER_FILES)
    return isinstance(records, Mapping) and all(
        path.is_file()
        and is_record(records.get(path.name))
        and is_same(path, records[path.name], MODIFIED)
        for path in task.paths[1:]
    )


def with_former_kinds(task: Task) -> Task:
    """Add the results of an earlier run that are there: what is made anew is so as a whole."""
    known = (read_sidecar(task.mask) or {}).get(OTHER_FILES)
    names = set(known) if isinstance(known, Mapping) else set()
    former = (
        kind
        for kind in KINDS
        if task.path(kind).name in names and os.path.lexists(task.path(kind))
    )
    return replace(task, kinds=tuple(dict.fromkeys((*task.kinds, *former))))


def strip_many(
    tasks: Sequence[Task],
    model: Model,
    options: ExtractionOptions,
    *,
    weights: Path,
    done: Callable[[Task, BrainExtraction], None],
    failed: Callable[[Task, str], None],
) -> None:
    """Strip images one after the other, reading the next one meanwhile.

    An image that fails does not stop the others.

    Parameters
    ----------
    tasks : sequence of Task
        None of them is done.
    model : Model
    options : ExtractionOptions
    weights : Path
        The file of `model`, which no result may replace.
    done : callable
        Called with each image whose results are written.
    failed : callable
        Called with each other one, and why, in one line.
    """
    with contextlib.closing(_read_ahead(tasks)) as images:
        for task, image in images:
            try:
                done(task, _strip(task, image.result(), model, options, weights))
            except Exception as error:  # one broken image must not stop all others
                failed(task, reason_of(error))


def reason_of(error: Exception) -> str:
    """Why an image failed, in a line for the user."""
    if isinstance(error, MemoryError) or lacks_memory(error):
        return str(error) if isinstance(error, MemoryError) and str(error) else OUT_OF_MEMORY
    return str(error) if isinstance(error, PumbaError) else repr(error)


def _read_ahead(tasks: Sequence[Task]) -> Generator[tuple[Task, Future[Loaded]], None, None]:
    """Give images in their order, while the next one is being read."""
    reader = ThreadPoolExecutor(1, 'pumba-reader')
    try:
        following = reader.submit(_load, tasks[0]) if tasks else None
        for number, task in enumerate(tasks, 1):
            assert following is not None
            image = following
            if number < len(tasks):
                # not before this one is read: two in memory are enough
                image.exception()
                following = reader.submit(_load, tasks[number])
            yield task, image
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _load(task: Task) -> Loaded:
    """Read an image; its records are made first, so that a change while it is read is seen."""
    try:
        record = record_of(task.source)
        others = {file.name: record_of(file) for file in task.companions()}
    except OSError:
        load_volume(task.source)  # which says what is wrong with it
        raise
    return Loaded(load_volume(task.source), record, others)


def _strip(
    task: Task, image: Loaded, model: Model, options: ExtractionOptions, weights: Path
) -> BrainExtraction:
    check_images(task.paths, [task.source, *task.companions(), weights])
    result = extract(
        image.volume, model, options.device, options.threads, options.border_mm, options.csf
    )
    _save(task, image, result, parameters(model, options))
    return result


def _save(task: Task, image: Loaded, result: BrainExtraction, depends: Mapping[str, Any]) -> None:
    """Write results and sidecar; the mask is renamed into its place last.

    Where it lies, all is complete and described, whenever this process is killed.
    """
    with contextlib.ExitStack() as stack:
        records = {}
        for path in task.paths:
            partial = stack.enter_context(atomic_path(path))
            _write(path, partial, task, result)
            records[path.name] = written(partial)
        check_source(task.source, image.record)
        content = {
            'Type': 'Brain',
            'Description': 'Mask of the brain, on the grid of the image it was made from',
            'Sources': [os.path.abspath(task.source)],
            'Manual': False,
            **made_by(),
            EXTRACTION: dict(depends),
            SOURCE_RECORD: image.record,
            OTHER_SOURCES: image.others,
            FILE_RECORD: records.pop(task.mask.name),
            OTHER_FILES: records,
            'Quality': result.quality.to_dict(),
        }
        if task.mask.exists():
            # never an old mask beside a new description
            remove(task.mask)
        write_json(sidecar_of(task.mask), content)


def _write(path: Path, partial: Path, task: Task, result: BrainExtraction) -> None:
    volume = result.volume
    if path == task.mask:
        save_mask(volume, result.mask, partial)
    elif path == task.path('brain'):
        save_masked(volume, result.mask, partial)
    elif path == task.path('prob'):
        save_map(volume, result.probability, partial)
    elif path == task.path('tiv'):
        save_mask(volume, known_intracranial(result), partial)
    else:
        save_map(volume, result.distance(), partial)


def quality_of(task: Task) -> dict[str, Any]:
    """Quality record in the sidecar of an image that was done before; empty without one."""
    quality = (read_sidecar(task.mask) or {}).get('Quality')
    return quality if isinstance(quality, dict) else {}


def remove_leftovers(tasks: Iterable[Task]) -> None:
    """Remove what a killed run has left half-written long ago."""
    for folder in {task.stem.parent for task in tasks}:
        remove_old_partials(folder.glob(f'{PARTIAL}*'))
