"""Deformable registration by antspyx, which the extra ``ants`` installs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.images.itk import to_itk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

ITERATIONS, SLOPPY = (100, 70, 50), (20, 10, 0)
THREADS = 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'


def check_ants() -> None:
    """Refuse to start without antspyx.

    Raises
    ------
    PumbaError
    """
    from importlib.util import find_spec

    if find_spec('ants') is None:
        raise PumbaError(
            "transform 'syn' needs antspyx: run 'pip install antspyx', or use 'affine'"
        )


def register_deformable(
    moving: Volume,
    fixed: Volume,
    moving_mask: NDArray[np.bool_] | None,
    fixed_mask: NDArray[np.bool_] | None,
    affine: Any,
    folder: Path,
    sloppy: bool,
    seed: int,
    threads: int | None,
) -> tuple[Path, Path]:
    """Find a deformation on top of an affine transform with antspyx.

    Returns
    -------
    forward, inverse : Path
        Composite transforms in `folder`.
    """
    import ants
    import SimpleITK as sitk

    start = folder / 'affine.mat'
    sitk.WriteTransform(affine, str(start))
    images = [_ants_image(volume.data, volume) for volume in (fixed, moving)]
    masks = [
        None if mask is None else _ants_image(mask.astype(np.float32), volume)
        for mask, volume in ((fixed_mask, fixed), (moving_mask, moving))
    ]
    with _environment(THREADS, str(threads) if threads else None):
        found = ants.registration(
            *images,
            type_of_transform='SyNOnly',
            initial_transform=str(start),
            outprefix=str(folder / 'syn'),
            mask=masks[0],
            moving_mask=masks[1],
            mask_all_stages=True,
            syn_metric='mattes',
            reg_iterations=SLOPPY if sloppy else ITERATIONS,
            write_composite_transform=True,
            random_seed=seed,
        )
    return Path(found['fwdtransforms']), Path(found['invtransforms'])


def _ants_image(data: NDArray[np.float32], volume: Volume) -> Any:
    """Image of antspyx on the grid of a volume."""
    import ants

    image = to_itk(data, volume.affine)
    return ants.from_numpy(
        data,
        origin=image.GetOrigin(),
        spacing=image.GetSpacing(),
        direction=np.reshape(image.GetDirection(), (3, 3)),
    )


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set a variable of the environment for a while; None leaves it alone."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]
