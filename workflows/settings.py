"""How images are stripped, and what is written: plain values that a run shares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pumba_pipe.workflows.modalities import modality_of
from pumba_pipe.workflows.templates import Template

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.border import Csf
from pumba_pipe.extraction.options import EXTRACTION_VERSION, ExtractionOptions
from pumba_pipe.registration.options import (
    REGISTRATION_VERSION,
    RegistrationOptions,
    Transform,
)
from pumba_pipe.results.sidecars import METHOD_VERSION

# When images are corrected for intensity non-uniformity (N4): never; once they are stripped, with
# the brain's mask as weights; before that, too, so that the network sees a corrected image.
N4 = Literal['off', 'mask', 'both']
N4_CHOICES: tuple[str, ...] = get_args(N4)
N4_WORDS = {'mask': 'N4 after stripping', 'both': 'N4 before and after stripping'}  # in sidecars
# Values that mean something by themselves, and images whose bias field was taken out by the way
# they were made: dividing by an estimated field would spoil them.
NOT_CORRECTED = (
    'UNIT1', 'T1map', 'T2map', 'T2starmap', 'R1map', 'R2map', 'R2starmap', 'PDmap', 'MTRmap',
    'MTsat', 'MTVmap', 'MWFmap', 'M0map', 'S0map', 'Chimap', 'TB1map', 'RB1map',
)  # fmt: skip


def is_corrected(suffix: str) -> bool:
    """Whether images of a suffix are ever corrected for intensity non-uniformity.

    Only anatomical images are. What is computed from other images needs their values as they were
    measured: activity (PET), the calibration of blood flow (M0), a reference that is compared
    with its series or with the image of the opposite phase encoding.

    Examples
    --------
    >>> is_corrected('T1w'), is_corrected('T1map'), is_corrected('pet')
    (True, False, False)
    """
    return suffix not in NOT_CORRECTED and modality_of(suffix).datatypes == ('anat',)


@dataclass(frozen=True)
class StripSettings:
    """How images are stripped.

    Attributes
    ----------
    weights : Path
    sha256 : str
        Of the weights.
    border_mm : float
    csf : str
        A rim of the CSF around the brain: ``'include'``, ``'exclude'``, or ``'auto'``, by the
        brain's size.
    device : str
        A device known to be there: ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.
    num_threads : int
        CPU threads for each image.
    n4 : str
        Correction of intensity non-uniformity, but for maps of physical values: ``'mask'``, once,
        with the brain's mask as weights; ``'both'``, also before stripping; ``'off'``.
    spaces : tuple of Template
        Standard spaces to register each image to.
    deformable : bool
        Register with a deformation too, not only affinely; needs the extra ``ants``.
    probability : bool
        Write the probability of being brain.
    reports : bool
        Make the pictures of the report.
    sloppy : bool
        Quick and rough correction and registration, for tests.
    seed : int
        Of the voxels that a registration compares.

    Raises
    ------
    InputError
        A space is named twice: its transforms would have one name. Or `n4` is something else.

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> settings = StripSettings(weights=default_weights(), sha256='...', border_mm=1.0)
    >>> settings.n4_applies('T1w'), settings.n4_applies('T1map')
    (True, False)
    >>> settings.transform, settings.use_gpu
    ('affine', False)
    """

    weights: Path
    sha256: str
    border_mm: float = ExtractionOptions.border_mm
    csf: Csf = ExtractionOptions.csf
    device: str = 'cpu'
    num_threads: int = 1
    n4: N4 = 'mask'
    spaces: tuple[Template, ...] = ()
    deformable: bool = False
    probability: bool = False
    reports: bool = True
    sloppy: bool = RegistrationOptions.sloppy
    seed: int = RegistrationOptions.seed

    def __post_init__(self) -> None:
        if self.n4 not in N4_CHOICES:
            raise InputError(f'n4 {self.n4!r}: must be off, mask or both')
        counts = Counter(template.space.label for template in self.spaces)
        for label, count in counts.items():
            if count > 1:
                raise InputError(f'space {label}: asked for {count} times; choose one resolution')

    @property
    def use_gpu(self) -> bool:
        """Whether Nipype has to reserve a GPU."""
        return self.device != 'cpu'

    @property
    def transform(self) -> Transform:
        """Kind of registration: ``'affine'`` or ``'syn'``."""
        return 'syn' if self.deformable else 'affine'

    def n4_applies(self, suffix: str) -> bool:
        """Whether images of a suffix are corrected for intensity non-uniformity."""
        return self.n4 != 'off' and is_corrected(suffix)

    def n4_before(self, suffix: str) -> bool:
        """Whether the network is shown images of a suffix corrected."""
        return self.n4 == 'both' and self.n4_applies(suffix)

    def parameters(self, suffix: str = 'T1w') -> dict[str, Any]:
        """What the results of an image depend on, for their sidecars."""
        correction = 'none'
        if self.n4_applies(suffix):
            correction = N4_WORDS[self.n4] + (', sloppy' if self.sloppy else '')
        return {
            METHOD_VERSION: EXTRACTION_VERSION,
            'WeightsSHA256': self.sha256,
            'BorderMm': self.border_mm,
            'Csf': self.csf,
            'BiasCorrection': correction,
        }

    def registration_parameters(self) -> dict[str, Any]:
        """What transforms to standard spaces depend on besides, for their sidecars."""
        return {
            METHOD_VERSION: REGISTRATION_VERSION,
            'Transform': self.transform,
            'Sloppy': self.sloppy,
            'Seed': self.seed,
        }
