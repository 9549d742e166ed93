"""Whether what an earlier run left of an image is what is asked for now.

Whoever asks says which files there should be, what is recorded of each, and what else it knows of
the image; `judge` compares. Equality with the records decides. No time says that something is
newer, because copies keep old times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumba_pipe.common.file_records import is_record
from pumba_pipe.results.sidecars import METHOD_VERSION, is_whole, made_of

AGAIN = ('missing', 'outdated')  # states of images that are done again
OTHER_OPTIONS = 'made with other options or weights'
OTHER_METHOD = 'made by a version with another method'


@dataclass(frozen=True)
class Judgement:
    """What an earlier run left of an image, and what follows.

    Attributes
    ----------
    state : str
        ``'done'``; ``'missing'``: files are not there, or damaged; ``'outdated'``: made of another
        scan, with other options, or by a version that kept no record; ``'edited'``: a person
        changed a mask, which stays; ``'blocked'``: something lies where results go that must not
        be replaced.
    reason : str
        For the user, when the image is neither done nor simply missing.
    unrecorded : bool
        Whether a version that kept no record made it.
    touched : tuple of Path
        Results whose own times, or whose scan's, differ from the record, with the same content.
    """

    state: str
    reason: str = ''
    unrecorded: bool = False
    touched: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Result:
    """A file that is asked for, and what is recorded of the one that may be there.

    Records are as JSON files hold them: a value that is no record counts as none.

    Attributes
    ----------
    path : Path
    described : bool
        Whether something was found that describes it.
    record : object
        Of the file as it was written.
    source : object
        Of the scan as it was read.
    companions : object
        Checksums of the files that were read with the scan.
    made_with : mapping
        Options it was made with: a mapping for each group of them.
    asked : mapping
        Options as they are now.
    unlike : str
        What is said where these two differ.
    """

    path: Path
    described: bool
    record: object
    source: object
    companions: object
    made_with: Mapping[str, Any]
    asked: Mapping[str, Any]
    unlike: str = OTHER_OPTIONS


@dataclass(frozen=True)
class Words:
    """How a user knows the things that reasons speak of.

    Attributes
    ----------
    scan, beside : str
        The image, and the files read with it.
    way_out : str
        What to do about an edited mask of what has changed since.
    """

    scan: str
    beside: str
    way_out: str


@dataclass(frozen=True)
class Asked:
    """An image and the results that are asked for; nothing of another program is in their places.

    Attributes
    ----------
    source : Path
        The scan.
    companions : mapping of str to str
        Checksums of the files that are read with it now.
    results : sequence of Result
    words : Words
    moved : bool
        Whether the results name another scan, which is not there any more.
    edited : sequence of Path
        Results that a person has edited.
    used : collection of Path
        Those of them that are used as they are, so that they hold nothing up.
    discarded : bool
        Whether an edited mask is to be made again.
    unfit : str
        What else makes the results out of date; empty where nothing does.
    """

    source: Path
    companions: Mapping[str, str]
    results: Sequence[Result]
    words: Words
    moved: bool = False
    edited: Sequence[Path] = ()
    used: Collection[Path] = field(default=())
    discarded: bool = False
    unfit: str = ''


def judge(asked: Asked) -> Judgement:
    """Compare results with what is asked for.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    records = [result.source for result in asked.results if is_record(result.source)]
    changed = asked.moved or (bool(records) and not made_of(asked.source, records))
    changed_beside = any(
        result.companions != asked.companions
        for result in asked.results
        if is_record(result.source)
    )
    if asked.edited and (changed or changed_beside):
        what = asked.words.scan if changed else asked.words.beside
        return Judgement(
            'blocked',
            f'{asked.edited[0]}: was edited by hand and is kept, but {what} has changed since; '
            f'{asked.words.way_out}',
        )
    unused = [path for path in asked.edited if path not in asked.used]
    if unused:
        return Judgement('edited', f'{unused[0]}: was edited by hand and is kept')
    if asked.discarded:
        return Judgement('outdated', 'its edited mask is discarded')
    if not all(one.described and is_whole(one.path, one.record) for one in asked.results):
        return Judgement('missing')
    if not records:
        return Judgement('outdated', 'made by a version that kept no record', unrecorded=True)
    if not all(is_record(one.source) and is_record(one.record) for one in asked.results):
        return Judgement('missing')
    reason = next(_reasons(asked, changed, changed_beside), '')
    return Judgement('outdated', reason) if reason else Judgement('done')


def _reasons(asked: Asked, changed: bool, changed_beside: bool) -> Iterator[str]:
    """Why files that are all there are not those that are asked for."""
    if changed:
        yield f'{asked.words.scan} has changed'
    if changed_beside:
        yield f'{asked.words.beside} has changed'
    if asked.unfit:
        yield asked.unfit
    for result in asked.results:
        if result.made_with != result.asked:
            same = _without_version(result.made_with) == _without_version(result.asked)
            yield OTHER_METHOD if same else result.unlike


def _without_version(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options but for the version of the method, by which alone they may differ."""
    return {
        name: {key: one for key, one in group.items() if key != METHOD_VERSION}
        if isinstance(group, Mapping)
        else group
        for name, group in options.items()
    }
