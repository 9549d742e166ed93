"""Options of brain extraction, with the defaults that Python, commands and nodes share."""

from __future__ import annotations

from dataclasses import dataclass

from pumba_pipe.extraction.border import Csf


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
