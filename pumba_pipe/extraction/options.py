"""Options of brain extraction, with the defaults that Python, commands and nodes share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.border import CSF, Csf, csf_choice

# To be raised when the same image, weights and options give other results than before: another
# border or cleaning of masks, another N4, another reference of a series. Results of another number
# are made again.
EXTRACTION_VERSION = 1


@dataclass(frozen=True)
class ExtractionOptions:
    """Options of brain extraction.

    Attributes
    ----------
    border_mm : float
        Grow the mask by this many millimetres; negative shrinks it.
    csf : str
        A rim of the CSF around the brain: ``'include'``, ``'exclude'``, or ``'auto'``, by the
        brain's size.
    device : str
        ``'auto'``, ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.
    threads : int or None
        CPU threads; None: as many as there are, or ``OMP_NUM_THREADS``.
    """

    border_mm: float = 0.0
    csf: Csf = 'auto'
    device: str = 'auto'
    threads: int | None = None


def check_options(border_mm: Any, threads: Any, csf: Any = ExtractionOptions.csf) -> None:
    """Refuse values that would fail, or mean nothing, only after the work.

    Raises
    ------
    InputError
    """
    if not isinstance(border_mm, Real) or not math.isfinite(border_mm):
        raise InputError(f'border_mm {border_mm!r}: must be a number of millimetres')
    # 0 is as None: what torch chooses
    if threads is not None and (not isinstance(threads, Integral) or threads < 0):
        raise InputError(f'threads {threads!r}: must be a whole number, or None')
    if not isinstance(csf, str) or csf_choice(csf) not in CSF:
        raise InputError(f'csf {csf!r}: must be auto, include or exclude')
