"""The result of skull stripping one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.evidence import Evidence
from pumba_pipe.extraction.quality import Quality
from pumba_pipe.images.masks import signed_distance
from pumba_pipe.images.saving import grid_image, masked_image
from pumba_pipe.images.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_INTRACRANIAL = (
    'the intracranial space is not known: the image was stripped before, or these weights do not '
    'predict it'
)


@dataclass(frozen=True)
class BrainExtraction:
    """The result of skull stripping one image.

    What the network said is kept in attributes; what follows from it is computed by methods. The
    methods that end in ``_image`` return a `nibabel.Nifti1Image` (`nibabel.Nifti2Image` where the
    input is one) on the input's grid, with its affine, codes and units.

    Attributes
    ----------
    volume : Volume
        The image that was stripped, of a 4D input the mean that was looked at.
    mask : ndarray of uint8, shape (x, y, z)
    probability : ndarray of float32, shape (x, y, z)
        Of belonging to the mask, 0..1, before the largest component was chosen and holes were
        filled; the mask is cut at 0.5. Computed when it is first asked for.
    quality : Quality
    seconds : dict
        Where the time went.
    evidence : Evidence or None
        What the expected Dice is computed from.
    intracranial : ndarray of uint8, shape (x, y, z), or None
        Intracranial space: the brain and all CSF around it, up to the dura. Computed when it is
        first asked for; None where the weights do not predict it, or after an earlier stripping.

    Examples
    --------
    >>> import numpy as np
    >>> import pumba_pipe
    >>> ball = np.linalg.norm(np.indices((8, 8, 8)) - 3.5, axis=0) < 3
    >>> scan = pumba_pipe.Volume(ball * np.float32(700), np.diag([3.0, 3.0, 3.0, 1.0]))
    >>> result = pumba_pipe.BrainExtraction(scan, ball.astype('u1'), ball * 0.9, None, {})
    >>> bool(result.distance().max() > 0 > result.distance().min())
    True
    >>> result.mask_image().get_data_dtype().name, result.brain_image().shape
    ('uint8', (8, 8, 8))
    """

    volume: Volume
    mask: NDArray[np.uint8]
    _probability: NDArray[np.float32] | Callable[[], NDArray[np.float32]] = field(repr=False)
    quality: Quality
    seconds: dict[str, float]
    evidence: Evidence | None = field(default=None, repr=False)
    _intracranial: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """Probability of belonging to the mask, see above."""
        return self._probability() if callable(self._probability) else self._probability

    @cached_property
    def intracranial(self) -> NDArray[np.uint8] | None:
        """Intracranial space, see above."""
        return None if self._intracranial is None else self._intracranial()

    def distance(self) -> NDArray[np.float32]:
        """Distance in millimetres to the mask's surface, negative inside, (x, y, z)."""
        return signed_distance(self.mask > 0, self.volume.voxel_size)

    def brain(self) -> NDArray[Any]:
        """Values of the input, blank outside the mask, in the input's shape.

        Blank is zero, or the least value of the input where that is below zero.

        All volumes of a 4D input are masked. Integers keep their type, and so do floating-point
        arrays; complex values become their magnitude, scaled data of a file float32. An input
        file is read again.

        Raises
        ------
        InputError
            The input file is not there any more, or was changed.
        """
        return np.asarray(self.brain_image().dataobj)

    def mask_image(self) -> Any:
        """Return the mask as a nibabel image of uint8."""
        return grid_image(self.volume, self.mask.astype(np.uint8))

    def probability_image(self) -> Any:
        """Return the probability as a nibabel image of float32."""
        return grid_image(self.volume, self.probability.astype(np.float32))

    def distance_image(self) -> Any:
        """Return the distance to the mask's surface, see `distance`, as a nibabel image."""
        return grid_image(self.volume, self.distance().astype(np.float32))

    def intracranial_image(self) -> Any:
        """Return the intracranial space as a nibabel image of uint8.

        Raises
        ------
        InputError
            It is not known.
        """
        return grid_image(self.volume, known_intracranial(self))

    def brain_image(self) -> Any:
        """Return the values inside the mask, see `brain`, as a nibabel image."""
        return masked_image(self.volume, self.mask)


def known_intracranial(result: BrainExtraction) -> NDArray[np.uint8]:
    """The intracranial space of an image.

    Raises
    ------
    InputError
        It is not known.
    """
    if result.intracranial is None:
        raise InputError(f'{result.volume.name}: {NO_INTRACRANIAL}')
    return result.intracranial
