"""When an image of a data set counts as done: this scan, these options, these files.

`pumba_pipe.results.judgement` compares them; here is which files belong to an image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.file_lock import exclusive, wait_for_writers
from pumba_pipe.common.file_records import (
    CHANGED,
    MODIFIED,
    SHA256,
    checksum,
    is_record,
    stamp,
    untouched,
)
from pumba_pipe.common.files import write_json
from pumba_pipe.extraction.species_volume import says_other_of_volume
from pumba_pipe.results import judgement
from pumba_pipe.results.judgement import Judgement, Words
from pumba_pipe.results.sidecars import (
    COMPANIONS,
    EXTRACTION,
    FILE_RECORD,
    MANUAL_MASK,
    NOT_HERE,
    SOURCE_RECORD,
    companion_sums,
    is_complete,
    is_edited,
    is_mask,
    is_ours,
    not_ours,
    read_sidecar,
    sidecar_of,
)

if TYPE_CHECKING:
    from pumba_pipe.workflows.outputs import BrainOutputs, Target

REGISTRATION = 'Registration'  # key of what results depend on, as EXTRACTION
FORMER_KEYS = {REGISTRATION: 'Alignment'}  # in the sidecars of earlier versions
RAW = 'bids:raw:'
OTHER_MASK = 'made with another mask, other options or weights'
OTHER_SPECIES = 'another species is named now, for which its volume is judged otherwise'
OTHER_FORMATS = ('.nii', '.img', '.mgz', '.mgh', '.nrrd')  # of masks that a person saved
WORDS = Words(
    'the scan',
    'what is read with the scan',
    'move the mask away, or give --discard-edits, to have it made again',
)
MAX_NAME = 255  # bytes, of file systems


def judge(outputs: BrainOutputs) -> Judgement:
    """Compare what there is of an image with what is asked for.

    Another run may be writing the same results: what is found in the middle of that is not taken
    for the work of a person, or of another program.
    """
    found = _look(outputs)
    return judge_at_rest(outputs) if found.state in ('edited', 'blocked') else found


def judge_at_rest(outputs: BrainOutputs) -> Judgement:
    """As `judge`, when no other run is replacing a result; waits for one that is."""
    paths = [target.path for target in outputs.everything()]
    paths += [outputs.figure_record] if outputs.figures else []
    while True:
        before = _entries(outputs, paths)
        found = _look(outputs)
        if not wait_for_writers(*paths) and _entries(outputs, paths) == before:
            return found


def _entries(outputs: BrainOutputs, paths: list[Path]) -> list[tuple[int, int] | None]:
    """What changes when a result, its sidecar or a figure is replaced."""
    found: list[tuple[int, int] | None] = []
    for path in (*paths, *map(sidecar_of, paths), *outputs.figures.values()):
        try:
            status = path.lstat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns))
    return found


def _look(outputs: BrainOutputs) -> Judgement:
    targets = outputs.everything()
    places = {target.path: read_sidecar(target.path) for target in targets}
    figures = read_sidecar(outputs.figure_record) if outputs.figures else None
    ours = any(map(is_ours, places.values())) or figures is not None
    longest = max((path.name for path in (*places, *outputs.figures.values())), key=_length)
    if _length(longest) > MAX_NAME:
        return Judgement('blocked', f'{longest}: names of results may have {MAX_NAME} bytes')
    try:
        kept = {outputs.mask} if outputs.kept_mask else set()
        for path in sorted({*places, *outputs.figures.values()} - kept):
            blocked = _in_the_way(path, places.get(path), ours)
            if blocked:
                return Judgement('blocked', f'{path}: {blocked}')
        other = _saved_in_another_format(outputs.mask)
        if other is not None:
            return Judgement(
                'blocked',
                f'{other}: is a second mask of this image, maybe an edited one, in another '
                f'format: save it as {outputs.mask.name}, or move it away',
            )
        return _judge(outputs, targets, places, figures)
    except OSError as error:
        return Judgement('blocked', f'{error.filename}: cannot read this file ({error.strerror})')


def refresh(outputs: BrainOutputs, found: Judgement) -> None:
    """Note new times of files whose content is the old, so that no later run reads them again."""
    for path in found.touched:
        try:
            with exclusive(path):
                content = read_sidecar(path)
                if content is None:
                    continue
                for key, file in ((SOURCE_RECORD, outputs.source), (FILE_RECORD, path)):
                    now = stamp(file)
                    content[key] |= {time: now[time] for time in content[key] if time in now}
                write_json(sidecar_of(path), content)
        except (OSError, OutputError):  # the results may be read-only: then they stay as they are
            return


def _judge(
    outputs: BrainOutputs,
    targets: tuple[Target, ...],
    sidecars: Mapping[Path, dict[str, Any] | None],
    figures: dict[str, Any] | None,
) -> Judgement:
    """Judge results that are ours, or are not there."""
    other = _made_of(outputs, sidecars[outputs.mask])
    if other and (outputs.bids_dir / other).exists():
        return Judgement('blocked', f'{outputs.mask}: is the mask of {other}, another scan')
    edited = [
        path
        for path, content in sidecars.items()
        if content and is_mask(path) and path.exists() and is_edited(path, content)
    ]
    discarded = [path for path in edited if checksum(path) == outputs.replaceable.get(path)]
    quality = (sidecars[outputs.mask] or {}).get('Quality')
    unfit = isinstance(quality, dict) and says_other_of_volume(quality, outputs.species)
    asked = judgement.Asked(
        outputs.source,
        companion_sums(outputs.source, outputs.companions.files),
        [
            *(_result(outputs, target, sidecars[target.path]) for target in targets),
            *_figure_results(outputs, figures or {}),
        ],
        WORDS,
        moved=bool(other),
        edited=[
            path
            for path in edited
            if path not in discarded and not _is_given(outputs, path, sidecars[path])
        ],
        used=[outputs.mask] if outputs.kept_mask else [],
        discarded=bool(discarded) and not outputs.manual,
        unfit=OTHER_SPECIES if unfit else '',
    )
    found = judgement.judge(asked)
    if found.state == 'done':
        return replace(found, touched=tuple(_touched(outputs, sidecars)))
    return found


def _result(
    outputs: BrainOutputs, target: Target, sidecar: dict[str, Any] | None
) -> judgement.Result:
    """What the sidecar of a result says."""
    content = sidecar or {}
    keys = (EXTRACTION, REGISTRATION)
    return judgement.Result(
        target.path,
        described=sidecar is not None,
        record=content.get(FILE_RECORD),
        source=content.get(SOURCE_RECORD),
        companions=_companions(content),
        made_with={key: content.get(key, content.get(FORMER_KEYS.get(key, key))) for key in keys},
        asked={key: target.metadata.get(key) for key in keys},
        unlike=OTHER_MASK if outputs.manual else judgement.OTHER_OPTIONS,
    )


def _figure_results(outputs: BrainOutputs, content: dict[str, Any]) -> Iterator[judgement.Result]:
    """What the one file of records says of the figures."""
    records = content.get(FILE_RECORD)
    known = records if isinstance(records, Mapping) else {}
    # figures of earlier versions do not say what they show: a mask by the network
    network = outputs.settings.parameters(outputs.name.suffix)
    for path in outputs.figures.values():
        yield judgement.Result(
            path,
            described=True,
            record=known.get(path.name),
            source=content.get(SOURCE_RECORD),
            companions=_companions(content),
            made_with={EXTRACTION: content.get(EXTRACTION, network)},
            asked={EXTRACTION: outputs.parameters},
            unlike='its figures show another mask',
        )


def _companions(content: Mapping[str, Any]) -> object:
    """Checksums, as a sidecar holds them, of the files that were read with the scan."""
    record = content.get(SOURCE_RECORD)
    return record.get(COMPANIONS, {}) if is_record(record) else None


def _is_given(outputs: BrainOutputs, path: Path, sidecar: Mapping[str, Any] | None) -> bool:
    """Whether a mask is the untouched copy of the manual mask that is asked for."""
    note = (sidecar or {}).get(MANUAL_MASK)
    return (
        outputs.manual is not None
        and not outputs.manual.in_place
        and path == outputs.mask
        and is_record(note)
        and note[SHA256] == outputs.manual.source_sha256
        and is_complete(path, sidecar)
    )


def _length(name: str) -> int:
    return len(os.fsencode(name))


def _made_of(outputs: BrainOutputs, sidecar: Mapping[str, Any] | None) -> str:
    """Path of the other scan that a mask was made of; empty for the scan of these outputs."""
    sources = (sidecar or {}).get('Sources')
    if not isinstance(sources, list) or outputs.source_uri in sources:
        return ''
    raw = (uri for uri in sources if isinstance(uri, str) and uri.startswith(RAW))
    return next(raw, '').removeprefix(RAW)


def _in_the_way(path: Path, sidecar: Mapping[str, Any] | None, ours: bool) -> str:
    """Say why nothing can be written to a place, empty when it can be."""
    if not path.exists():
        return NOT_HERE if path.is_symlink() else ''
    if not path.is_file():
        return 'is no file, and a result goes here; move it away'
    # without a sidecar, a mask may be anybody's work; other files are easily made again
    known = is_ours(sidecar) if sidecar is not None or is_mask(path) else ours
    return '' if known else not_ours(path)


def _saved_in_another_format(mask: Path) -> Path | None:
    """Return a mask of the same name but for its ending, as editors may save one."""
    stem = mask.name.removesuffix('.nii.gz')
    others = (mask.with_name(f'{stem}{ending}') for ending in OTHER_FORMATS)
    return next((path for path in others if path.exists()), None)


def _touched(
    outputs: BrainOutputs, sidecars: Mapping[Path, dict[str, Any] | None]
) -> Iterator[Path]:
    now = stamp(outputs.source)
    for path, content in sidecars.items():
        if content is None:
            continue
        source, file = content[SOURCE_RECORD], content[FILE_RECORD]
        if not untouched(source, now, MODIFIED, CHANGED) or not untouched(
            file, stamp(path), MODIFIED
        ):
            yield path
