"""Brain extraction of SimpleITK images: `pumba_pipe.extraction.simpleitk` under a short name.

Examples
--------
>>> from pumba_pipe import sitk
>>> callable(sitk.extract)
True
"""

from __future__ import annotations

from pumba_pipe.extraction.simpleitk import SitkBrainExtraction, extract

__all__ = ['SitkBrainExtraction', 'extract']
