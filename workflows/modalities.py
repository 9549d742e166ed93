"""Kinds of images: the folders they may lie in, and the volume that stands for a series.

This table is the one place that knows which suffix belongs where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pumba_pipe.common.bids_names import ImageName

# Which volumes of a series its reference is made of: none, because images are whole as they are;
# all but outliers; those without diffusion weighting; M0 or control volumes; PET frames.
Volumes = Literal['', 'all', 'b0', 'asl', 'frames']


@dataclass(frozen=True)
class Modality:
    """What is known of the images with one suffix.

    Attributes
    ----------
    datatypes : tuple of str
        Folders they may lie in, the usual one first.
    volumes : str
        Which volumes the reference is made of; empty where none is made.
    reference : str
        Suffix of the reference; empty where it is the image's own.
    default : bool
        Stripped without being asked for.
    """

    datatypes: tuple[str, ...] = ('anat',)
    volumes: Volumes = ''
    reference: str = ''
    default: bool = False


# Whole images of a head that are read one by one. Collections (several echoes or inversions),
# maps, slabs and series can be asked for.
WHOLE_HEADS = (
    'T1w', 'T2w', 'PDw', 'T2starw', 'FLAIR', 'inplaneT1', 'inplaneT2', 'PDT2', 'UNIT1',
)  # fmt: skip
OTHER_ANATOMICAL = (
    'MP2RAGE', 'MEGRE', 'MESE', 'IRT1', 'VFA', 'MPM', 'MTS', 'MTR', 'angio', 'T2star', 'FLASH',
    'PD', 'T1map', 'T2map', 'T2starmap', 'R1map', 'R2map', 'R2starmap', 'PDmap', 'MTsat', 'M0map',
    'S0map',
)  # fmt: skip
MODALITIES: dict[str, Modality] = {
    **dict.fromkeys(WHOLE_HEADS, Modality(default=True)),
    **dict.fromkeys(OTHER_ANATOMICAL, Modality()),
    'bold': Modality(('func',), 'all', 'boldref'),
    'sbref': Modality(('func', 'dwi'), 'all'),
    'dwi': Modality(('dwi',), 'b0', 'dwiref'),
    'asl': Modality(('perf',), 'asl', 'aslref'),
    'm0scan': Modality(('perf', 'fmap'), 'all'),
    'epi': Modality(('fmap',), 'all'),
    'pet': Modality(('pet',), 'frames', 'petref'),
}
# The images of each folder whose masks have the plain name, `<entities>_desc-brain_mask`.
PLAIN_MASKS = {
    'anat': 'T1w', 'func': 'bold', 'dwi': 'dwi', 'perf': 'asl', 'pet': 'pet', 'fmap': 'epi',
}  # fmt: skip


def modality_of(suffix: str) -> Modality:
    """What is known of a suffix; one that is not known counts as anatomical.

    Examples
    --------
    >>> modality_of('bold').datatypes, modality_of('T1w').datatypes
    (('func',), ('anat',))
    """
    return MODALITIES.get(suffix, Modality())


def datatype_of(name: ImageName) -> str:
    """Folder of an image: the one it lies in, the usual one of its suffix where that is unknown.

    Examples
    --------
    >>> from pathlib import Path
    >>> from pumba_pipe.common.bids_names import parse_name
    >>> datatype_of(parse_name(Path('sub-01/dwi/sub-01_sbref.nii.gz')))
    'dwi'
    >>> datatype_of(parse_name(Path('sub-01_task-rest_sbref.nii.gz')))
    'func'
    """
    datatypes = modality_of(name.suffix).datatypes
    return name.datatype if name.datatype in datatypes else datatypes[0]


def has_plain_mask(name: ImageName) -> bool:
    """Whether the mask of an image has the plain name, by its suffix and folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from pumba_pipe.common.bids_names import parse_name
    >>> [has_plain_mask(parse_name(Path(f'sub-01_{name}.nii'))) for name in ('T1w', 'T2w', 'bold')]
    [True, False, True]
    """
    return PLAIN_MASKS[datatype_of(name)] == name.suffix


def datatypes_of(suffixes: Iterable[str]) -> tuple[str, ...]:
    """Folders in which images with these suffixes may lie, each once, in order.

    Examples
    --------
    >>> datatypes_of(['T1w', 'sbref', 'bold'])
    ('anat', 'func', 'dwi')
    """
    found = (datatype for suffix in suffixes for datatype in modality_of(suffix).datatypes)
    return tuple(dict.fromkeys(found))
