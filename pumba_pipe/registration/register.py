"""Registration of an image to a template: affine by SimpleITK, deformable by antspyx.

Transforms are ITK's: they take points of the template's space to points of the image's, in
millimetres, with x to the left and y to the back (LPS). So the forward transform resamples the
image onto the template, with `SimpleITK.Resample` or ``antsApplyTransforms``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import atomic_path
from pumba_pipe.images.itk import resampled
from pumba_pipe.images.masks import load_mask_of
from pumba_pipe.images.saving import check_images, save_map, save_mask
from pumba_pipe.images.volume import load_volume
from pumba_pipe.registration.affine import register_affine
from pumba_pipe.registration.deformable import check_ants, register_deformable
from pumba_pipe.registration.options import RegistrationOptions, Transform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume


def register_files(
    in_file: Path,
    template: Path,
    *,
    forward_xfm: Path,
    inverse_xfm: Path,
    warped_file: Path,
    warped_mask: Path | None = None,
    in_mask: Path | None = None,
    template_mask: Path | None = None,
    transform: Transform = RegistrationOptions.transform,
    sloppy: bool = RegistrationOptions.sloppy,
    seed: int = RegistrationOptions.seed,
    threads: int | None = RegistrationOptions.threads,
) -> None:
    """Register an image file to a template and resample it onto the template's grid.

    Parameters
    ----------
    in_file, template : Path
    forward_xfm, inverse_xfm : Path
        Transform files to write.
    warped_file, warped_mask : Path
        Image and mask on the template's grid, to write; a mask needs `in_mask`.
    in_mask, template_mask : Path, optional
        Brain masks; images are compared inside and a little around them.
    transform : str
        ``'affine'``, or ``'syn'`` for a deformation on top of it.
    sloppy : bool
        Quick and rough, for tests.
    seed : int
        Of the choice of voxels that are compared; above zero.
    threads : int, optional
        CPU threads; default: what ITK chooses.

    Raises
    ------
    InputError
        A file cannot be used, or the images do not match at all.
    PumbaError
        ``'syn'`` without antspyx.
    OutputError
    """
    import SimpleITK as sitk

    if transform == 'syn':
        check_ants()
    check_images(
        [warped_file, warped_mask],
        [in_file, template, in_mask, template_mask],
        [forward_xfm, inverse_xfm],
    )
    moving, fixed = load_volume(in_file), load_volume(template)
    moving_mask, fixed_mask = _mask(moving, in_mask), _mask(fixed, template_mask)
    found = register_affine(
        moving, fixed, moving_mask, fixed_mask, sloppy=sloppy, seed=seed, threads=threads
    )
    if transform == 'syn':
        with tempfile.TemporaryDirectory(dir=forward_xfm.parent, prefix='.syn-') as folder:
            written = register_deformable(
                moving, fixed, moving_mask, fixed_mask, found, Path(folder), sloppy, seed, threads
            )
            found = sitk.ReadTransform(str(written[0]))
            for path, target in zip(written, (forward_xfm, inverse_xfm), strict=True):
                with atomic_path(target) as partial:
                    shutil.move(path, partial)
    else:
        for each, target in ((found, forward_xfm), (found.GetInverse(), inverse_xfm)):
            with atomic_path(target) as partial:
                sitk.WriteTransform(each, str(partial))
    save_map(fixed, resampled(moving.data, moving, fixed, found, smooth=not sloppy), warped_file)
    if warped_mask is not None and moving_mask is not None:
        share = resampled(moving_mask.astype(np.float32), moving, fixed, found, smooth=False)
        save_mask(fixed, share > 0.5, warped_mask)


def _mask(volume: Volume, path: Path | None) -> NDArray[np.bool_] | None:
    if path is None:
        return None
    mask = load_mask_of(volume, path)
    if not mask.any():
        raise InputError(f'{path}: the mask is empty')
    return mask
