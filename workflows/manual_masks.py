"""Masks by a person or another tool, which take the place of the network's.

A mask that was edited where it lies is known by its checksum; others are found by BIDS names in
a folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.workflows.modalities import has_plain_mask
from pumba_pipe.workflows.naming import mask_path, parse_name

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import MODIFIED, SHA256, checksum, is_record, is_same
from pumba_pipe.evaluation.cases import reference_masks, source_names
from pumba_pipe.results.sidecars import (
    FILE_RECORD,
    MANUAL_MASK,
    is_edited,
    is_mask,
    is_ours,
    read_sidecar,
    remove,
    sidecar_of,
)

if TYPE_CHECKING:
    from pumba_pipe.workflows.outputs import BrainOutputs

EDITED = 'edited in place'


@dataclass(frozen=True)
class ManualMask:
    """A mask that takes the place of the network's.

    Attributes
    ----------
    path : Path
        The file that is read.
    sha256 : str
        Its checksum.
    source : str
        `EDITED`, or the path of the file that was given.
    source_sha256 : str
        Checksum of what the person or tool made: of `path` itself, unless that is the copy which
        an earlier run made of a given file.
    in_place : bool
        It lies where the mask of its image goes, and stays as it is.
    """

    path: Path
    sha256: str
    source: str
    source_sha256: str
    in_place: bool

    @property
    def parameters(self) -> dict[str, str]:
        """What results depend on besides, for their sidecars."""
        return {'MaskSHA256': self.source_sha256}

    @property
    def note(self) -> dict[str, str]:
        """Where it comes from, for its sidecar."""
        return {'Source': self.source, SHA256: self.source_sha256}


def edited_mask(mask: Path) -> ManualMask | None:
    """Look whether the mask that lies where one goes is a manual one.

    Raises
    ------
    OSError
        It cannot be read.
    """
    sidecar = read_sidecar(mask)
    if sidecar is None or not is_ours(sidecar) or not mask.is_file():
        return None
    if not is_edited(mask, sidecar):
        return None
    now, note, record = checksum(mask), sidecar.get(MANUAL_MASK), sidecar.get(FILE_RECORD)
    if is_record(note) and is_record(record) and record[SHA256] == now:
        return ManualMask(mask, now, str(note.get('Source')), str(note[SHA256]), True)
    return ManualMask(mask, now, EDITED, now, True)


def given_mask(path: Path, in_place: bool = False) -> ManualMask:
    """Describe a mask that was found in a folder.

    Raises
    ------
    OSError
        It cannot be read.
    """
    found = checksum(path)
    return ManualMask(path, found, EDITED if in_place else str(path), found, in_place)


def with_manual_mask(
    outputs: BrainOutputs, given: Path | None = None, discard: bool = False
) -> BrainOutputs:
    """Choose the mask that takes the place of the network's.

    A mask edited in place goes before a given one; a given one before the copy of one that was
    given to an earlier run.

    Parameters
    ----------
    outputs : BrainOutputs
    given : Path, optional
        A mask found in a folder.
    discard : bool
        Replace the masks of an earlier run that were edited.

    Raises
    ------
    OSError
        A mask cannot be read.
    """
    own = edited_mask(outputs.mask)
    if discard:
        found = {
            target.path: one.sha256
            for target in outputs.everything()
            if is_mask(target.path) and (one := edited_mask(target.path))
        }
        outputs, own = replace(outputs, replaceable=found), None
    if given is not None and outputs.mask.is_file() and given.samefile(outputs.mask):
        if discard and outputs.mask in outputs.replaceable:
            return outputs
        return replace(outputs, manual=own or given_mask(outputs.mask, in_place=True))
    if given is None or (own is not None and own.source == EDITED):
        return replace(outputs, manual=own)
    if own is not None:
        outputs = replace(outputs, replaceable={outputs.mask: own.sha256})
    return replace(outputs, manual=given_mask(given))


def find_masks(
    folder: Path, images: Iterable[BrainOutputs], remark: Callable[[str], None]
) -> dict[Path, list[Path]]:
    """Find masks of images in a BIDS derivative, or the output folder of another tool.

    The mask of an image has the name that this program gives it, or one that
    `pumba_pipe.evaluation.cases.reference_masks` finds; one that goes with images of several
    suffixes is that of the T1w image, or of the series. Masks that the network drew are passed
    over, unless somebody changed them since. A mask whose sidecar cannot be read is left out: it
    may be of another image, as one is whose sidecar names another one in ``Sources``.

    Parameters
    ----------
    folder : Path
    images : iterable of BrainOutputs
    remark : callable
        Takes a line about each mask that cannot be used.

    Returns
    -------
    dict
        Images with their masks, of which there should be one.

    Raises
    ------
    InputError
        There is no such folder, or no mask of any image in it.
    """
    wanted = {outputs.source: outputs for outputs in images}
    found = {
        source: [mask]
        for source, outputs in wanted.items()
        if (mask := folder / mask_path(outputs.name)).is_file() and _may_be_of(mask, source)
    }
    masks: dict[Path, list[Path]] = defaultdict(list)
    try:
        raw = next((outputs.bids_dir for outputs in wanted.values()), folder)
        for image, mask in sorted(reference_masks(folder, raw, remark).items()):
            masks[mask].append(image)
    except InputError:
        if not found:
            raise
    for mask, sources in masks.items():
        plain = [one for one in sources if has_plain_mask(parse_name(one))]
        for source in plain or sources:
            if source in wanted and folder / mask_path(wanted[source].name) not in found.get(
                source, ()
            ):
                found.setdefault(source, []).append(mask)
    usable = {source: [one for one in group if _is_manual(one)] for source, group in found.items()}
    return {source: group for source, group in usable.items() if group}


def _may_be_of(mask: Path, image: Path) -> bool:
    """Whether the sidecar of a mask, if any, can be read and names no other image there."""
    try:
        sources = source_names(mask)
    except InputError:
        return False
    return image.name in sources or not any((image.parent / name).is_file() for name in sources)


def _is_manual(mask: Path) -> bool:
    """Whether a mask is by a person or another tool, not by the network of this program."""
    sidecar = read_sidecar(mask)
    if sidecar is None or not is_ours(sidecar):
        return True
    try:
        record = sidecar.get(FILE_RECORD)
        known = is_record(record) and is_same(mask, record, MODIFIED)
        return sidecar.get('Manual') is True or (not known and is_edited(mask, sidecar))
    except OSError:
        return True  # whoever reads it says why it cannot be read


def remove_network_mask(outputs: BrainOutputs) -> None:
    """Remove the network's own mask of an image whose mask is the network's again.

    Raises
    ------
    OutputError
        It cannot be removed.
    """
    path = outputs.network_mask
    if outputs.manual is None and path.is_file() and is_ours(read_sidecar(path)):
        remove(path)
        remove(sidecar_of(path))
