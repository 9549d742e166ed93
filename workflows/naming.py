"""Names of derivatives, made from the name of the image they come from.

A derivative keeps every entity of its source, in the source's order. The masked image also
keeps the suffix: ``sub-01_acq-a_T2w`` becomes ``sub-01_acq-a_desc-brain_T2w``. A mask has the
suffix ``mask``, so the masks of a T1w and a T2w image of one session would share a name. The rule:

* the mask of a T1w image is ``<entities>_desc-brain_mask``, the name other tools look for;
* the mask of any other image says whose grid it is on, ``<entities>_space-T2w_desc-brain_mask``,
  and the sidecar's ``SpatialReference`` points to that image. Tools that look for the mask of
  the T1w image ask for no ``space`` and so never take it by mistake;
* entities that BIDS does not allow on masks (``inv``, ``flip``, ``mt``, ``dir``) are joined to
  that label: ``sub-01_inv-1_MP2RAGE`` gives ``sub-01_space-MP2RAGEinv1_desc-brain_mask``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pumba_pipe.files import image_suffix

BARE_MASK_SUFFIX = 'T1w'
MASK_ENTITIES = (
    'sub', 'ses', 'task', 'acq', 'ce', 'rec', 'run', 'echo', 'part', 'chunk',
)  # fmt: skip
AFTER_SPACE = ('chunk',)  # entities that BIDS wants after `space`


@dataclass(frozen=True)
class ImageName:
    """A BIDS file name, taken apart.

    Attributes
    ----------
    entities : tuple of (key, label)
        In the order of the file name.
    suffix : str
        Such as ``T1w``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str

    def get(self, key: str) -> str | None:
        """Label of an entity, None without it."""
        return dict(self.entities).get(key)

    @property
    def is_bids(self) -> bool:
        """Whether the name has the form that BIDS asks for, and says whose image it is."""
        well_formed = all(key.isalnum() and label for key, label in self.entities)
        return well_formed and self.entities[:1] == (('sub', self.get('sub')),)

    @property
    def stem(self) -> str:
        """The name without extension."""
        return _joined(self.entities, self.suffix)


def parse_name(path: Path) -> ImageName:
    """Take a file name apart.

    Examples
    --------
    >>> parse_name(Path('sub-01_run-02_T1w.nii.gz'))
    ImageName(entities=(('sub', '01'), ('run', '02')), suffix='T1w')
    """
    stem = path.name[: len(path.name) - len(image_suffix(path))]
    *pairs, suffix = stem.split('_')
    entities = []
    for pair in pairs:
        key, _, label = pair.partition('-')
        entities.append((key, label))
    return ImageName(tuple(entities), suffix)


def folder(name: ImageName) -> Path:
    """Folder of a subject, or of a session, relative to the data set.

    Examples
    --------
    >>> folder(parse_name(Path('sub-01_ses-a_T1w.nii'))).as_posix()
    'sub-01/ses-a'
    """
    session = name.get('ses')
    subject = Path(f'sub-{name.get("sub")}')
    return subject / f'ses-{session}' if session is not None else subject


def brain_path(name: ImageName) -> Path:
    """Path of the masked image, relative to the derivative data set.

    Examples
    --------
    >>> brain_path(parse_name(Path('sub-01_run-1_FLAIR.nii.gz'))).as_posix()
    'sub-01/anat/sub-01_run-1_desc-brain_FLAIR.nii.gz'
    """
    stem = _joined((*name.entities, ('desc', 'brain')), name.suffix)
    return folder(name) / 'anat' / f'{stem}.nii.gz'


def mask_path(name: ImageName) -> Path:
    """Path of the mask, relative to the derivative data set.

    Examples
    --------
    >>> mask_path(parse_name(Path('sub-01_T1w.nii.gz'))).as_posix()
    'sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    >>> mask_path(parse_name(Path('sub-01_inv-1_part-mag_MP2RAGE.nii'))).name
    'sub-01_part-mag_space-MP2RAGEinv1_desc-brain_mask.nii.gz'
    """
    allowed = [pair for pair in name.entities if pair[0] in MASK_ENTITIES]
    others = [pair for pair in name.entities if pair[0] not in MASK_ENTITIES]
    if name.suffix != BARE_MASK_SUFFIX or others:
        space = name.suffix + ''.join(key + label for key, label in others)
        last = [pair for pair in allowed if pair[0] in AFTER_SPACE]
        allowed = [pair for pair in allowed if pair[0] not in AFTER_SPACE]
        allowed += [('space', space), *last]
    stem = _joined((*allowed, ('desc', 'brain')), 'mask')
    return folder(name) / 'anat' / f'{stem}.nii.gz'


def node_name(name: ImageName) -> str:
    """Name of an image in a workflow: letters, digits and underscores, different for each image.

    Examples
    --------
    >>> node_name(parse_name(Path('sub-01_acq-x_T1w.nii.gz')))
    'sub01_acqx_T1w'
    """
    return name.stem.replace('-', '')


def _joined(entities: tuple[tuple[str, str], ...] | list[tuple[str, str]], suffix: str) -> str:
    return '_'.join([f'{key}-{label}' for key, label in entities] + [suffix])
