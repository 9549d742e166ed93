"""What lies in a derivative data set about each stripped image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pumba_pipe.files import image_suffix

MASK_ENDING = '_desc-brain_mask'
IMAGES = ('.nii.gz', '.nii')


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
        Everything there is with a sidecar that names this image as its source.
    """

    source: Path
    mask: Path
    quality: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name of the image, without extension."""
        return self.source.name[: len(self.source.name) - len(image_suffix(self.source))]

    @property
    def suffix(self) -> str:
        """Such as ``T1w``."""
        return self.name.rpartition('_')[2]

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
        for pair in self.name.split('_')[:-1]:
            if pair.startswith(f'{key}-'):
                return pair[len(key) + 1 :]
        return None

    @property
    def flags(self) -> list[str]:
        """What a person should look at."""
        flags = self.quality.get('flags')
        return [str(flag) for flag in flags] if isinstance(flags, list) else []


def find_all(output_dir: Path, subject: str = '*') -> list[Finding]:
    """Read the quality records of a derivative data set, in the order of the images' names.

    A record counts where its mask lies beside it.

    Parameters
    ----------
    output_dir : Path
    subject : str
        Label without ``sub-``; all participants by default.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    masks: dict[str, tuple[Path, dict[str, Any]]] = {}
    for image, content in _sidecars(output_dir, subject):
        source = _source(content)
        if source is None:
            continue
        files[source].append(image)
        if image.name.split('.')[0].endswith(MASK_ENDING) and isinstance(
            content.get('Quality'), dict
        ):
            masks[source] = (image, content)
    found = []
    for source, (mask, content) in masks.items():
        metadata = {key: value for key, value in content.items() if key != 'Quality'}
        found.append(
            Finding(Path(source), mask, content['Quality'], metadata, tuple(sorted(files[source])))
        )
    return sorted(found, key=lambda one: one.source.as_posix())


def _sidecars(output_dir: Path, subject: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Images of the data set that have a sidecar, with its content."""
    for pattern in (f'sub-{subject}/*/*.json', f'sub-{subject}/ses-*/*/*.json'):
        for sidecar in sorted(output_dir.glob(pattern)):
            candidates = [sidecar.with_suffix(ending) for ending in IMAGES]
            image = next((path for path in candidates if path.is_file()), None)
            if image is None:
                continue
            try:
                content = json.loads(sidecar.read_text('utf-8'))
            except (OSError, ValueError):
                continue
            if isinstance(content, dict):
                yield image, content


def _source(content: dict[str, Any]) -> str | None:
    """Path of the raw image that a derivative was made from, relative to its data set."""
    sources = content.get('Sources')
    for uri in sources if isinstance(sources, list) else []:
        if isinstance(uri, str) and uri.startswith('bids:raw:'):
            return PurePosixPath(uri.removeprefix('bids:raw:')).as_posix()
    return None
