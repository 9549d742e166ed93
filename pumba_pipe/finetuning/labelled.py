"""Labelled cases of the user's own, from files into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pumba_pipe.common.bids_names import parse_stem
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import file_digest
from pumba_pipe.evaluation.cases import Case, Remark, find_bids_cases, find_cases, with_masks
from pumba_pipe.finetuning.augmentation import LabelledHead
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.orientation import canonical_axes, oriented, oriented_sizes
from pumba_pipe.images.volume import load_volume


def labelled_cases(
    folder: Path, raw: Path | None = None, remark: Remark = lambda line: None
) -> list[Case]:
    """List the cases that have a reference mask.

    Parameters
    ----------
    folder : Path
        Of ``<case>/image.nii.gz`` and ``<case>/mask.nii.gz``, or a BIDS derivative with masks.
    raw : Path, optional
        The BIDS data set of that derivative's images.
    remark : callable
        Takes a line about what is left out.

    Raises
    ------
    InputError
        There is none.
    """
    found = find_cases(folder, remark) if raw is None else find_bids_cases(folder, raw, remark)
    return with_masks(found, folder)


def read_labelled(cases: Sequence[Case]) -> tuple[LabelledHead, ...]:
    """Read images and masks; about 85 MB of memory for one of 256 x 256 x 256 voxels.

    Raises
    ------
    InputError
        A file cannot be read, a mask is empty or does not lie on its image's grid.
    """
    return tuple(_read(case) for case in cases)


def _read(case: Case) -> LabelledHead:
    assert case.mask is not None
    volume = load_volume(case.image)
    mask = load_mask_of(volume, case.mask)
    if not mask.any():
        raise InputError(f'{case.mask}: this mask is empty; nothing can be learned from it')
    axes = canonical_axes(volume.affine)
    return LabelledHead(
        subject=subject_of(case),
        digest=file_digest(case.image),
        image=torch.from_numpy(oriented(volume.data, axes)),
        mask=torch.from_numpy(oriented(mask, axes)),
        voxel_size=oriented_sizes(volume.voxel_size, axes),
    )


def subject_of(case: Case) -> str:
    """Whose image a case is; in doubt two cases are taken for the same subject's.

    What the table says, else the `sub` of a BIDS name, else species and first word of
    ``<species>_<modality>_<name>``, else the whole name.
    """
    if case.subject:
        return case.subject
    label = parse_stem(case.name).subject
    if label is not None:
        return f'sub-{label}'
    words = case.name.split('_')
    return f'{words[0]}_{words[2]}' if len(words) > 2 else case.name
