"""Options of registration, with the defaults that nodes, workflows and commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Transform = Literal['affine', 'syn']
# To be raised when the same image, template and options give another transform than before, or
# images are resampled in another way. Results of another number are made again.
REGISTRATION_VERSION = 1


@dataclass(frozen=True)
class RegistrationOptions:
    """Options of registration.

    Attributes
    ----------
    transform : str
        ``'affine'``, or ``'syn'`` for a deformation on top of it.
    sloppy : bool
        Quick and rough, for tests.
    seed : int
        Of the choice of voxels that are compared; above zero.
    threads : int or None
        CPU threads; None: what ITK chooses.
    """

    transform: Transform = 'affine'
    sloppy: bool = False
    seed: int = 1
    threads: int | None = None
