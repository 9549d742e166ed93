"""Files beside a series that say what its volumes are, and its calibration scan.

They are found as BIDS has it: beside the image, or in a folder above it, under a name whose
entities the image has as well. What is nearest to the image counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumba_pipe.workflows.modalities import modality_of

from pumba_pipe.common.bids_names import ImageName, parse_name, parse_stem
from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError

M0_BESIDE = ('', 'Separate')  # values of M0Type with which there may be an image of its own
IMAGES = ('.nii.gz', '.nii')


@dataclass(frozen=True)
class Companions:
    """What belongs to a series and is read with it.

    Attributes
    ----------
    b_values : Path or None
        ``.bval`` file.
    context : Path or None
        ``aslcontext.tsv``.
    m0 : Path or None
        M0 image of an ASL series.
    sidecars : tuple of Path
        JSON files, the one nearest to the image last.
    """

    b_values: Path | None = None
    context: Path | None = None
    m0: Path | None = None
    sidecars: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All that there are."""
        found = (self.b_values, self.context, self.m0)
        return (*(path for path in found if path is not None), *self.sidecars)


def find_companions(image: Path, bids_dir: Path) -> Companions:
    """Find what belongs to an image; nothing for one that needs nothing.

    Parameters
    ----------
    image : Path
        Below `bids_dir`.
    bids_dir : Path
    """
    name = parse_name(image)
    volumes = modality_of(name.suffix).volumes
    if volumes == 'b0':
        return Companions(b_values=_nearest(image, bids_dir, name.suffix, '.bval'))
    if volumes == 'frames':
        return Companions(sidecars=tuple(_inherited(image, bids_dir, name.suffix, '.json')))
    if volumes == 'asl':
        sidecars = tuple(_inherited(image, bids_dir, name.suffix, '.json'))
        return Companions(
            context=_nearest(image, bids_dir, 'aslcontext', '.tsv'),
            m0=find_m0(image, _merged(sidecars).get('M0Type', '')),
            sidecars=sidecars,
        )
    return Companions()


def find_m0(image: Path, m0_type: Any = '') -> Path | None:
    """Find the M0 image of an ASL series in its folder.

    It is the one whose sidecar names the series in ``IntendedFor``; else the one whose entities
    the series has, of several the one that shares most. One that is for other series is left out.

    Parameters
    ----------
    image : Path
        The series.
    m0_type : str
        ``M0Type`` of its sidecar; an M0 image is looked for unless it says that there is none.
    """
    if m0_type not in M0_BESIDE:
        return None
    found = sorted(
        path
        for ending in IMAGES
        for path in image.parent.glob(f'*_m0scan{ending}')
        if path.is_file()
    )
    meant = {path: _intended_for(path) for path in found}
    intended = [path for path in found if _stem(image.name) in meant[path]]
    if intended:
        return intended[0]
    own = set(parse_name(image).entities)
    fitting = [path for path in found if not meant[path] and set(parse_name(path).entities) <= own]
    return max(fitting, key=lambda path: len(parse_name(path).entities), default=None)


def m0_sidecar(m0: Path) -> Path:
    """JSON file of an M0 image, whether it exists or not."""
    return m0.with_name(f'{parse_name(m0).stem}.json')


def _intended_for(m0: Path) -> set[str]:
    """Names of the files that an M0 image is for, without ``.nii`` or ``.nii.gz``."""
    content = _merged((m0_sidecar(m0),)).get('IntendedFor', [])
    entries = content if isinstance(content, list) else [content]
    return {_stem(entry.rsplit('/', 1)[-1]) for entry in entries if isinstance(entry, str)}


def _stem(name: str) -> str:
    ending = next((ending for ending in IMAGES if name.endswith(ending)), '')
    return name.removesuffix(ending)


def _merged(sidecars: tuple[Path, ...]) -> dict[str, Any]:
    """Content of JSON files, later ones before earlier ones; what cannot be read is left out."""
    content: dict[str, Any] = {}
    for path in sidecars:
        try:
            content |= read_json(path)
        except InputError:  # the node that needs it says so
            continue
    return content


def _nearest(image: Path, bids_dir: Path, suffix: str, extension: str) -> Path | None:
    return next(reversed(_inherited(image, bids_dir, suffix, extension)), None)


def _inherited(image: Path, bids_dir: Path, suffix: str, extension: str) -> list[Path]:
    """Files that apply to an image, from the data set's folder down to the image's own."""
    folders = [image.parent]
    while folders[-1] != bids_dir and folders[-1] != folders[-1].parent:
        folders.append(folders[-1].parent)
    name = parse_name(image)
    found: list[Path] = []
    for folder in reversed(folders):
        candidates = [path for path in folder.glob(f'*{suffix}{extension}') if path.is_file()]
        fitting = [path for path in candidates if _applies(path, extension, suffix, name)]
        found += sorted(fitting, key=lambda path: (len(path.name), path.name))
    return found


def _applies(path: Path, extension: str, suffix: str, image: ImageName) -> bool:
    other = parse_stem(path.name.removesuffix(extension))
    return other.suffix == suffix and set(other.entities) <= set(image.entities)
