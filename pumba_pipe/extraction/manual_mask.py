"""A manual mask in the place of the network's: files of one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json
from pumba_pipe.extraction.species_volume import implausible_volume
from pumba_pipe.images.masks import dice, load_mask_of, millilitres
from pumba_pipe.images.saving import save_map, save_mask, save_masked
from pumba_pipe.images.volume import load_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pumba_pipe.images.volume import Volume

NO_BRAIN = 'the network found no brain'


def put_manual_mask(
    in_file: Path,
    manual: Path,
    network_mask: Path,
    quality: Path,
    out_mask: Path,
    out_file: Path | None = None,
    probability: Path | None = None,
    species: str = '',
) -> None:
    """Write a manual mask, and maybe the image masked with it, beside what the network found.

    Parameters
    ----------
    in_file : Path
        The image.
    manual, network_mask : Path
        Masks on its grid. Where there is no `network_mask`, because the network found no brain,
        an empty one is written.
    quality : Path
        Quality record of the network's mask, which becomes that of the manual one; see
        `manual_record`.
    out_mask : Path
        Where the mask goes.
    out_file : Path, optional
        Where the masked image goes.
    probability : Path, optional
        The network's map; one of zeros is written where it found no brain.
    species : str
        Of the head; see `pumba_pipe.extraction.species_volume`.

    Raises
    ------
    InputError
        A file cannot be read, the manual mask lies on another grid, or it is empty.
    """
    volume = load_volume(in_file)
    mask = load_mask_of(volume, manual)
    if not mask.any():
        raise InputError(f'{manual}: this mask is empty')
    if network_mask.is_file():
        network, record = load_mask_of(volume, network_mask), read_json(quality)
    else:
        network, record = np.zeros_like(mask), {'flags': [NO_BRAIN], 'notes': list(volume.notes)}
        save_mask(volume, network, network_mask)
        if probability is not None:
            save_map(volume, network, probability)
    save_mask(volume, mask, out_mask)
    if out_file is not None:
        save_masked(volume, mask, out_file)
    write_json(quality, manual_record(record, volume, mask, network, species))


def manual_record(
    record: Mapping[str, Any],
    volume: Volume,
    mask: NDArray[np.bool_],
    network: NDArray[np.bool_],
    species: str = '',
) -> dict[str, Any]:
    """Quality record of an image with a manual mask.

    It keeps the figures of the network's mask, and says that they are. The volume is that of the
    manual mask; the network's flags, which say nothing of it, stand under a name of their own.
    Its one flag is of a volume that the species cannot have, which the voxel size decides.
    """
    volume_ml = millilitres(mask, volume)
    implausible = implausible_volume(species, volume_ml)
    return {
        **record,
        'volume_ml': round(volume_ml, 4),
        'flags': [implausible] if implausible else [],
        'manual': True,
        'network_dice': round(dice(mask, network), 4),
        'network_flags': list(record.get('flags', ())),
    }
