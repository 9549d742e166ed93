"""Names of derivatives, made from the name of the image they come from.

A derivative lies in the folder of its source's kind (``anat``, ``func``, ...) and keeps every
entity of its source, in the source's order. The masked image also keeps the suffix:
``sub-01_acq-a_T2w`` becomes ``sub-01_acq-a_desc-brain_T2w``. A mask has the suffix ``mask``, so
the masks of a T1w and a T2w image of one session would share a name. The rule:

* the mask of a T1w image is ``<entities>_desc-brain_mask``, the name other tools look for; so is
  that of a bold, dwi, asl, pet or epi image in its own folder;
* the mask of any other image says whose grid it is on, ``<entities>_space-T2w_desc-brain_mask``,
  and the sidecar's ``SpatialReference`` points to that image. Tools that look for the mask of
  the T1w image ask for no ``space`` and so never take it by mistake;
* so do the names of prepared images (``desc-preproc``): sMRIPrep takes a T2w image without
  ``space`` as one that lies on the T1w image already;
* entities that BIDS does not allow on masks (``inv``, ``flip``, ``mt``; of anatomical images
  ``dir``, too) are joined to that label: ``sub-01_inv-1_MP2RAGE`` gives
  ``sub-01_space-MP2RAGEinv1_desc-brain_mask``.

The one volume of a series has the names that fMRIPrep, QSIPrep, ASLPrep and PETPrep give theirs:
``sub-01_task-rest_bold`` becomes ``sub-01_task-rest_boldref``, masked
``sub-01_task-rest_desc-brain_boldref``; ``dwiref``, ``aslref`` and ``petref`` likewise.

Transforms and what lies in a standard space follow sMRIPrep: a cohort is joined to the name of its
template by a plus sign, and ``res`` is there when a resolution was asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from pumba_pipe.workflows.modalities import PLAIN_MASKS, datatype_of, modality_of
from pumba_pipe.workflows.templates import Space

from pumba_pipe.common.bids_names import ImageName, join_name
from pumba_pipe.common.bids_names import parse_name as parse_name  # for users of this module

MASK_ENTITIES = (
    'sub', 'ses', 'task', 'acq', 'ce', 'rec', 'run', 'echo', 'part', 'chunk',
)  # fmt: skip
OTHER_MASK_ENTITIES = ('dir', 'trc')  # that masks have beside these, but for anatomical ones
# None begins another, so that names without hyphens are as different as names with them.
NODE_ENTITIES = (*MASK_ENTITIES, 'inv', 'flip', 'mt', 'dir', 'trc')
MAX_NODE = 80  # letters; names of folders may have 255
AFTER_SPACE = ('chunk',)  # entities that BIDS wants after `space`


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


def place_of(name: ImageName) -> Path:
    """Folder of the derivatives of an image, relative to the data set.

    Examples
    --------
    >>> place_of(parse_name(Path('sub-01_ses-a_asl.nii.gz'))).as_posix()
    'sub-01/ses-a/perf'
    """
    return folder(name) / datatype_of(name)


def written_suffix(name: ImageName) -> str:
    """Suffix of what is written of an image: that of its reference, or its own.

    Examples
    --------
    >>> [written_suffix(parse_name(Path(f'sub-01_{suffix}.nii'))) for suffix in ('dwi', 'T1w')]
    ['dwiref', 'T1w']
    """
    return modality_of(name.suffix).reference or name.suffix


def subject_of(path: Path) -> str:
    """Label of the participant of an image, without ``sub-``.

    Examples
    --------
    >>> subject_of(Path('sub-01_ses-a_T1w.nii'))
    '01'
    """
    return parse_name(path).get('sub') or ''


def brain_path(name: ImageName) -> Path:
    """Path of the masked image, relative to the derivative data set.

    Examples
    --------
    >>> brain_path(parse_name(Path('sub-01_run-1_FLAIR.nii.gz'))).as_posix()
    'sub-01/anat/sub-01_run-1_desc-brain_FLAIR.nii.gz'
    >>> brain_path(parse_name(Path('sub-01_task-rest_bold.nii.gz'))).as_posix()
    'sub-01/func/sub-01_task-rest_desc-brain_boldref.nii.gz'
    """
    stem = join_name((*name.entities, ('desc', 'brain')), written_suffix(name))
    return place_of(name) / f'{stem}.nii.gz'


def preproc_path(name: ImageName, space: Space | None = None) -> Path:
    """Path of the whole image after its preparation, in its own space or a standard one.

    Examples
    --------
    >>> preproc_path(parse_name(Path('sub-01_T1w.nii.gz'))).name
    'sub-01_desc-preproc_T1w.nii.gz'
    >>> preproc_path(parse_name(Path('sub-01_T2w.nii.gz'))).name
    'sub-01_space-T2w_desc-preproc_T2w.nii.gz'
    >>> preproc_path(parse_name(Path('sub-01_task-rest_bold.nii.gz'))).name
    'sub-01_task-rest_boldref.nii.gz'
    """
    _, label = _for_masks(name)
    if space is None and not _is_plain(name, label):
        space = Space(label)
    desc = [] if modality_of(name.suffix).reference else [('desc', 'preproc')]
    entities = [*_placed(list(name.entities), space), *desc]
    return place_of(name) / f'{join_name(entities, written_suffix(name))}.nii.gz'


def mask_path(name: ImageName, space: Space | None = None) -> Path:
    """Path of the mask, relative to the derivative data set.

    In a standard space, ``space`` says which, so whose mask it is stands in ``desc``.

    Examples
    --------
    >>> mask_path(parse_name(Path('sub-01_T1w.nii.gz'))).as_posix()
    'sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    >>> mask_path(parse_name(Path('sub-01_task-rest_dir-AP_bold.nii.gz'))).as_posix()
    'sub-01/func/sub-01_task-rest_dir-AP_desc-brain_mask.nii.gz'
    >>> mask_path(parse_name(Path('sub-01_inv-1_part-mag_MP2RAGE.nii'))).name
    'sub-01_part-mag_space-MP2RAGEinv1_desc-brain_mask.nii.gz'
    >>> mask_path(parse_name(Path('sub-01_T2w.nii')), Space('MNI152Lin', None, 2)).name
    'sub-01_space-MNI152Lin_res-2_desc-brainT2w_mask.nii.gz'
    """
    entities, label = _for_masks(name)
    own = '' if _is_plain(name, label) else label
    if space is None:
        placed = _placed(entities, Space(own)) if own else entities
        stem = join_name([*placed, ('desc', 'brain')], 'mask')
    else:
        stem = join_name([*_placed(entities, space), ('desc', f'brain{own}')], 'mask')
    return place_of(name) / f'{stem}.nii.gz'


def probability_path(name: ImageName) -> Path:
    """Path of the map of the probability of being brain; named as the mask.

    Examples
    --------
    >>> probability_path(parse_name(Path('sub-01_T1w.nii.gz'))).name
    'sub-01_label-brain_probseg.nii.gz'
    """
    mask = mask_path(name)
    return mask.with_name(mask.name.replace('_desc-brain_mask', '_label-brain_probseg'))


def network_mask_path(name: ImageName) -> Path:
    """Path of the network's own mask of an image whose mask is a manual one; named as the mask.

    Examples
    --------
    >>> network_mask_path(parse_name(Path('sub-01_T1w.nii.gz'))).name
    'sub-01_desc-network_mask.nii.gz'
    """
    mask = mask_path(name)
    return mask.with_name(mask.name.replace('_desc-brain_mask', '_desc-network_mask'))


def transform_paths(name: ImageName, space: Space, extension: str) -> tuple[Path, Path]:
    """Paths of the transforms to a standard space and back.

    Examples
    --------
    >>> there, back = transform_paths(
    ...     parse_name(Path('sub-01_T1w.nii.gz')), Space('MNI152Lin'), '.txt')
    >>> there.name
    'sub-01_from-T1w_to-MNI152Lin_mode-image_xfm.txt'
    """
    entities, label = _for_masks(name)
    label = label.replace(name.suffix, written_suffix(name), 1)
    paths = []
    for start, end in ((label, space.label), (space.label, label)):
        pairs = [*entities, ('from', start), ('to', end), ('mode', 'image')]
        paths.append(place_of(name) / f'{join_name(pairs, "xfm")}{extension}')
    return paths[0], paths[1]


def node_name(name: ImageName) -> str:
    """Name of an image in a workflow: letters, digits and underscores, different for each image.

    A name is readable as it is where it is short, has the common entities, and no capital letters
    in its labels, which some disks do not tell from small ones. Any other ends with a checksum.

    Examples
    --------
    >>> node_name(parse_name(Path('sub-01_acq-x_T1w.nii.gz')))
    'sub01_acqx_T1w'
    >>> node_name(parse_name(Path('sub-01_acq-X_T1w.nii.gz')))
    'sub01_acqX_T1w_e65404097f34'
    """
    plain = all(key in NODE_ENTITIES and label == label.lower() for key, label in name.entities)
    return _unique(name.stem.replace('-', ''), name.stem, plain)


def place_name(place: Path) -> str:
    """Name of a participant's or session's folder in a workflow, different for each.

    Examples
    --------
    >>> place_name(Path('sub-01/ses-a'))
    'sub_01_ses_a'
    """
    text = place.as_posix()
    return _unique(text.replace('-', '_').replace('/', '_'), text, text == text.lower())


def _unique(readable: str, text: str, plain: bool) -> str:
    """Make `readable` a name for a node and a folder; a checksum of `text` keeps it apart."""
    safe = re.sub('[^0-9A-Za-z_]', '', readable.replace('+', 'p'))
    if plain and safe == readable and len(safe) <= MAX_NODE:
        return safe
    return f'{safe[:MAX_NODE]}_{hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}'


def _is_plain(name: ImageName, label: str) -> bool:
    """Whether masks with this label have the plain name."""
    return label == PLAIN_MASKS[datatype_of(name)]


def _for_masks(name: ImageName) -> tuple[list[tuple[str, str]], str]:
    """Entities that masks may have, and a label with the suffix and all other entities."""
    more = () if datatype_of(name) == 'anat' else OTHER_MASK_ENTITIES
    allowed = [pair for pair in name.entities if pair[0] in (*MASK_ENTITIES, *more)]
    others = [pair for pair in name.entities if pair[0] not in (*MASK_ENTITIES, *more)]
    return allowed, name.suffix + ''.join(key + label for key, label in others)


def _placed(entities: list[tuple[str, str]], space: Space | None) -> list[tuple[str, str]]:
    """Entities with those of a space among them, in the order of BIDS."""
    if space is None:
        return entities
    first = [pair for pair in entities if pair[0] not in AFTER_SPACE]
    last = [pair for pair in entities if pair[0] in AFTER_SPACE]
    grid = [('res', str(space.resolution))] if space.resolution is not None else []
    return [*first, ('space', space.label), *last, *grid]
