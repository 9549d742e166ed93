"""BIDS file names, taken apart and put together; nothing here asks PyBIDS, which is slow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from pumba_pipe.common.image_names import image_stem

DATATYPES = ('anat', 'func', 'dwi', 'perf', 'pet', 'fmap')  # folders of images that hold a brain
NUMBERED = ('run', 'echo', 'flip', 'inv', 'chunk')  # entities whose labels are numbers


@dataclass(frozen=True)
class ImageName:
    """A BIDS file name, taken apart.

    Attributes
    ----------
    entities : tuple of (key, label)
        In the order of the file name. A part without hyphen has an empty label.
    suffix : str
        Such as ``T1w``.
    datatype : str
        The folder of `DATATYPES` that the file lies in; empty where its path does not say so.
        No part of the name itself: names are equal without it.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    datatype: str = field(default='', compare=False, repr=False)

    def get(self, key: str) -> str | None:
        """Label of an entity, None without it."""
        return dict(self.entities).get(key)

    @property
    def subject(self) -> str | None:
        """Label of ``sub``, None for a name that does not begin with it."""
        return self.entities[0][1] if self.entities and self.entities[0][0] == 'sub' else None

    @property
    def is_bids(self) -> bool:
        """Whether the name has the form that BIDS asks for, and says whose image it is."""
        well_formed = all(is_label(key) and is_label(label) for key, label in self.entities)
        keys = [key for key, _ in self.entities]
        return (
            well_formed
            and is_label(self.suffix)
            and keys[:1] == ['sub']
            and len(set(keys)) == len(keys)
        )

    @property
    def stem(self) -> str:
        """The name without extension."""
        return join_name(self.entities, self.suffix)


def is_label(text: str) -> bool:
    """Whether a text may be a label of a BIDS name.

    Examples
    --------
    >>> [text for text in ('01', 'x+y', 'a-b', 'a b', 'ä', '') if is_label(text)]
    ['01', 'x+y']
    """
    return re.fullmatch('[0-9A-Za-z+]+', text) is not None


def parse_name(path: PurePath) -> ImageName:
    """Take a file name apart.

    Examples
    --------
    >>> from pathlib import Path
    >>> parse_name(Path('sub-01_run-02_T1w.nii.gz'))
    ImageName(entities=(('sub', '01'), ('run', '02')), suffix='T1w')
    >>> parse_name(Path('sub-01/dwi/sub-01_sbref.nii.gz')).datatype
    'dwi'
    """
    name = parse_stem(image_stem(path))
    folder = path.parent.name
    return replace(name, datatype=folder) if folder in DATATYPES else name


def parse_stem(stem: str) -> ImageName:
    """Take a name without extension apart.

    Examples
    --------
    >>> parse_stem('sub-01_label-brain_mask').get('label')
    'brain'
    """
    *pairs, suffix = stem.split('_')
    entities = []
    for pair in pairs:
        key, _, label = pair.partition('-')
        entities.append((key, label))
    return ImageName(tuple(entities), suffix)


def join_name(entities: Iterable[tuple[str, str]], suffix: str) -> str:
    """Put a name together, without extension.

    Examples
    --------
    >>> join_name([('sub', '01'), ('desc', 'brain')], 'mask')
    'sub-01_desc-brain_mask'
    """
    return '_'.join([f'{key}-{label}' for key, label in entities] + [suffix])
