"""Brain extraction of SimpleITK images; users know this module as `pumba_pipe.sitk`.

Examples
--------
>>> import pumba_pipe
>>> import SimpleITK
>>> image = SimpleITK.ReadImage('head.nii.gz')
>>> result = pumba_pipe.sitk.extract(image)
>>> result.mask.GetSpacing() == image.GetSpacing(), result.mask.GetPixelIDTypeAsString()
(True, '8-bit unsigned integer')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction import pipeline
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.extraction.result import BrainExtraction
from pumba_pipe.images.itk import from_itk, like_itk

if TYPE_CHECKING:
    from pumba_pipe.extraction.border import Csf
    from pumba_pipe.extraction.quality import Quality
    from pumba_pipe.network.weights import Model

__all__ = ['SitkBrainExtraction', 'extract']


@dataclass(frozen=True)
class SitkBrainExtraction:
    """The result of skull stripping one SimpleITK image.

    As `pumba_pipe.BrainExtraction`, with SimpleITK images in place of arrays. They have origin,
    spacing and direction of the input.

    Attributes
    ----------
    image : SimpleITK.Image
        The input.
    mask : SimpleITK.Image of 8-bit unsigned integers
    probability : SimpleITK.Image of 32-bit floats
        Of belonging to the mask, 0..1.
    extraction : BrainExtraction
        The same as arrays and nibabel images, whose axes and affine are those of nibabel.
    """

    image: Any
    mask: Any
    probability: Any
    extraction: BrainExtraction

    @property
    def quality(self) -> Quality:
        """The quality record."""
        return self.extraction.quality

    @property
    def seconds(self) -> dict[str, float]:
        """Where the time went."""
        return self.extraction.seconds

    def distance(self) -> Any:
        """Distance in millimetres to the mask's surface, negative inside: 32-bit floats."""
        return like_itk(self.image, self.extraction.distance().astype(np.float32))

    def brain(self) -> Any:
        """The input, blank outside the mask: all volumes of a 4D image, pixel type kept."""
        return like_itk(self.image, self.extraction.brain())


def extract(
    image: Any,
    model: Model | None = None,
    device: str = ExtractionOptions.device,
    threads: int | None = ExtractionOptions.threads,
    border_mm: float = ExtractionOptions.border_mm,
    csf: Csf = ExtractionOptions.csf,
) -> SitkBrainExtraction:
    """Find the brain in a SimpleITK image.

    Parameters
    ----------
    image : SimpleITK.Image
        3D, or a 4D series; one component per pixel, of any real or complex type.
    model, device, threads, border_mm, csf
        See `pumba_pipe.extract`.

    Returns
    -------
    SitkBrainExtraction

    Raises
    ------
    InputError
        The image cannot be used.
    NothingFoundError
        No brain was found.
    """
    import SimpleITK

    if not isinstance(image, SimpleITK.Image):
        raise InputError(
            f'pumba_pipe.sitk.extract takes a SimpleITK image, not a {type(image).__name__}; '
            'pumba_pipe.extract takes paths, nibabel images and arrays'
        )
    data, affine = from_itk(image)
    found = pipeline.extract(data, model, device, threads, border_mm, csf, affine=affine)
    return SitkBrainExtraction(
        image, like_itk(image, found.mask), like_itk(image, found.probability), found
    )
