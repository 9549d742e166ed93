"""What lies in a derivative data set about each stripped image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pumba_pipe.common.bids_names import parse_name
from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import MODIFIED, SHA256, checksum, is_record, is_same
from pumba_pipe.common.image_names import image_stem

MASK_ENDING = '_desc-brain_mask'
REFERENCE_ENDING = 'ref'  # of suffixes: boldref, dwiref, ...
RAW, OWN = 'bids:raw:', 'bids::'
MAX_STEPS = 5  # from a derivative to the image it comes from
DESCRIBED = ('.nii.gz', '.nii', '.txt', '.h5')  # files that have a sidecar


@dataclass(frozen=True)
class Finding:
    """One image that was stripped.

    Attributes
    ----------
    source : Path
        The image, relative to the raw data set.
    mask : Path
        Its mask.
    quality : dict
        The quality record.
    metadata : dict
        The rest of the mask's sidecar.
    files : tuple of Path
        Everything there is whose sidecar leads back to this image.
    """

    source: Path
    mask: Path
    quality: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name of the image, without extension."""
        return image_stem(self.source)

    @property
    def suffix(self) -> str:
        """Such as ``T1w``."""
        return parse_name(self.source).suffix

    @property
    def subject(self) -> str:
        """Label without ``sub-``."""
        return self.entity('sub') or ''

    @property
    def session(self) -> str | None:
        """Label without ``ses-``; None for a participant without sessions."""
        return self.entity('ses')

    def entity(self, key: str) -> str | None:
        """Label of an entity of the image's name."""
        return parse_name(self.source).get(key)

    @property
    def flags(self) -> list[str]:
        """What a person should look at."""
        flags = self.quality.get('flags')
        return [str(flag) for flag in flags] if isinstance(flags, list) else []

    @property
    def whole_image(self) -> Path | None:
        """The image on the mask's grid, nothing masked; None when it is not there.

        Of a series it is the volume that stands for it, which has no ``desc``.
        """
        space = parse_name(self.mask).get('space')
        for file in self.files:
            name = parse_name(file)
            whole = name.get('desc') == 'preproc' or (
                name.get('desc') is None and name.suffix.endswith(REFERENCE_ENDING)
            )
            if whole and name.get('space') == space:
                return file
        return None

    def mask_digest(self, digits: int) -> str:
        """First digits of the SHA-256 of the mask; read only where its record is out of date."""
        record = self.metadata.get('FileRecord')
        try:
            if is_record(record) and is_same(self.mask, record, MODIFIED):
                return str(record[SHA256])[:digits]
            return checksum(self.mask)[:digits]
        except OSError:
            return ''


def find_all(
    output_dir: Path, subject: str = '*', remark: Callable[[str], None] = lambda line: None
) -> list[Finding]:
    """Read the quality records of a derivative data set, in the order of the images' names.

    A record counts where its mask lies beside it.

    Parameters
    ----------
    output_dir : Path
    subject : str
        Label without ``sub-``; all participants by default.
    remark : callable
        Takes a line about each file that is left out because it cannot be used.
    """
    sidecars = dict(_sidecars(output_dir, subject, remark))
    files: dict[str, list[Path]] = defaultdict(list)
    masks: dict[str, tuple[Path, dict[str, Any]]] = {}
    unrecorded: dict[str, Path] = {}
    for file, content in sidecars.items():
        source = _source(content, output_dir, sidecars)
        if source is None:
            continue
        files[source].append(file)
        if not file.name.split('.')[0].endswith(MASK_ENDING):
            continue
        if 'Quality' not in content:
            own_grid = (None, parse_name(Path(source)).suffix)  # masks on a template's have none
            if parse_name(file).get('space') in own_grid:
                unrecorded[source] = file
            continue
        problem = _problem(source, content['Quality'])
        if problem:
            remark(f'left out: {file}: {problem}, says its JSON file')
        else:
            masks[source] = (file, content)
    for source in sorted(unrecorded.keys() - masks.keys()):
        remark(
            f'left out: {unrecorded[source]}: no quality record in its JSON file; delete both and '
            'run the participant level again'
        )
    found = []
    for source, (mask, content) in masks.items():
        metadata = {key: value for key, value in content.items() if key != 'Quality'}
        found.append(
            Finding(Path(source), mask, content['Quality'], metadata, tuple(sorted(files[source])))
        )
    return sorted(found, key=lambda one: one.source.as_posix())


def _problem(source: str, quality: Any) -> str:
    """Say why a mask's sidecar cannot be used, or nothing."""
    if not isinstance(quality, dict):
        return 'its quality record is no object'
    path = PurePosixPath(source)
    if path.is_absolute() or '..' in path.parts or not parse_name(path).is_bids:
        return 'it comes from an image without a BIDS name'
    return ''


def _sidecars(
    output_dir: Path, subject: str, remark: Callable[[str], None]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files of the data set that have a sidecar, with its content."""
    for pattern in (f'sub-{subject}/*/*.json', f'sub-{subject}/ses-*/*/*.json'):
        for sidecar in sorted(output_dir.glob(pattern)):
            candidates = [sidecar.with_suffix(ending) for ending in DESCRIBED]
            file = next((path for path in candidates if path.is_file()), None)
            if file is None:
                continue
            try:
                yield file, read_json(sidecar)
            except InputError as error:
                remark(f'left out: {error}')


def _source(
    content: dict[str, Any], output_dir: Path, sidecars: dict[Path, dict[str, Any]]
) -> str | None:
    """Path of the raw image that a derivative was made from, relative to its data set.

    A derivative of another derivative is followed up to the raw image.
    """
    for _ in range(MAX_STEPS):
        sources = content.get('Sources')
        uris = (
            [uri for uri in sources if isinstance(uri, str)] if isinstance(sources, list) else []
        )
        for uri in uris:
            if uri.startswith(RAW):
                return PurePosixPath(uri.removeprefix(RAW)).as_posix()
        before = (output_dir / uri.removeprefix(OWN) for uri in uris if uri.startswith(OWN))
        following = next((sidecars[file] for file in before if file in sidecars), None)
        if following is None:
            return None
        content = following
    return None
