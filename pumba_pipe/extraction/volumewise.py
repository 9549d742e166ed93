"""Stripping as SynthStrip does it: by a distance map and a border, each volume for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pumba_pipe.common.errors import NothingFoundError, PumbaError
from pumba_pipe.common.file_records import check_stamps, stamps_of
from pumba_pipe.common.files import all_or_none
from pumba_pipe.extraction.border import Csf
from pumba_pipe.extraction.options import ExtractionOptions, check_options
from pumba_pipe.extraction.pipeline import extract
from pumba_pipe.images.conversion import as_volume
from pumba_pipe.images.masks import clean
from pumba_pipe.images.reading import ImageFile, open_image
from pumba_pipe.images.saving import check_images, save_map, save_mask, save_masked
from pumba_pipe.images.volume import Volume, load_volume
from pumba_pipe.network.weights import default_weights, load_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


def strip_volumes(
    in_file: str | Path,
    out_file: str | Path | None = None,
    out_mask: str | Path | None = None,
    out_sdt: str | Path | None = None,
    *,
    border_mm: float = 1.0,
    csf: Csf = 'include',
    device: str = ExtractionOptions.device,
    threads: int | None = ExtractionOptions.threads,
    weights: str | Path | None = None,
) -> tuple[str, ...]:
    """Strip a 3D image, or each volume of a 4D image for itself, and write what is asked for.

    Parameters
    ----------
    in_file : path
    out_file, out_mask, out_sdt : path, optional
        Masked image, mask (uint8), and distance in mm to the surface of the brain (negative
        inside), on the grid of the input; 4D where the input is.
    border_mm : float
        The mask is where the distance is below this: its largest component, without holes.
    csf : str
        ``'include'``: the distance is that to the brain with the CSF around it; ``'exclude'``: to
        the brain without it. See `pumba_pipe.extraction.border.csf_exclusion`.
    device, threads
        See `pumba_pipe.extract`.
    weights : path, optional
        Default: the shipped weights.

    Returns
    -------
    tuple of str
        What a person should look at, in plain words; of a series, with the volumes that it is
        about.

    Raises
    ------
    InputError, NothingFoundError, OutputError, WeightsError

    Examples
    --------
    >>> import nibabel as nib
    >>> _ = strip_volumes('head.nii.gz', out_mask='m.nii.gz', out_sdt='d.nii.gz', threads=1)
    >>> mask, distance = (nib.load(name).get_fdata() for name in ('m.nii.gz', 'd.nii.gz'))
    >>> bool((distance[mask > 0] < 1).all())
    True
    """
    source = Path(in_file)
    check_options(border_mm, threads)
    outputs = [Path(path) for path in (out_file, out_mask, out_sdt) if path is not None]
    check_images(outputs, [source, default_weights() if weights is None else Path(weights)])
    model = load_weights(weights)
    before = stamps_of(source)
    file = open_image(source)
    masks: list[NDArray[np.bool_]] = []
    distances: list[NDArray[np.float32]] = []
    flags: dict[str, list[int]] = {}
    volumes = _volumes(file)
    for number in range(file.count):
        try:
            volume = next(volumes)
            found = extract(volume, model, device, threads, csf=csf)
        except PumbaError as error:
            if file.count == 1:
                raise
            reason = str(error).removeprefix(f'{file.name}: ').removeprefix('image: ')
            raise type(error)(f'{file.name}: volume {number}: {reason}') from None
        distance = found.distance()
        mask, _, _ = clean(distance < border_mm)
        if not mask.any():
            raise NothingFoundError(
                f'{file.name}: a border of {border_mm:g} mm leaves nothing of the brain'
            )
        masks.append(mask)
        # a series takes memory for all its volumes, and for the distances only where asked for
        distances += [distance] if out_sdt is not None else []
        for flag in found.quality.flags:
            flags.setdefault(flag, []).append(number)
    whole = Volume(volume.data, file.affine, source, file.notes, file.source)
    mask = masks[0] if file.count == 1 else np.stack(masks, -1)
    with all_or_none() as together:
        together.write(out_mask, lambda path: save_mask(whole, mask, path))
        together.write(out_file, lambda path: save_masked(whole, mask, path))
        if out_sdt is not None:
            field = distances[0] if file.count == 1 else np.stack(distances, -1)
            together.write(out_sdt, lambda path: save_map(whole, field, path))
        check_stamps(source, before)
    return tuple(_in_words(flag, numbers, file.count) for flag, numbers in flags.items())


def _volumes(file: ImageFile) -> Iterator[Volume]:
    """Volumes of an image, one at a time."""
    assert file.path is not None
    if file.count == 1:
        yield load_volume(file.path)
        return
    with file.stored_volumes() as volumes:
        for index in range(file.count):
            values = volumes[index] * volumes.slope + volumes.inter
            yield replace(as_volume(values, file.affine), path=file.path)


def _in_words(flag: str, numbers: list[int], count: int) -> str:
    if count == 1:
        return flag
    shown = ', '.join(map(str, numbers[:10])) + (', ...' if len(numbers) > 10 else '')
    return f'volumes {shown}: {flag}'
