"""Which weights file is used; what is in it, `pumba_pipe.network.weights` knows."""

from __future__ import annotations

import os
from pathlib import Path

SHIPPED = Path(__file__).parents[1] / 'weights' / 'default.safetensors'
VARIABLE = 'PUMBA_WEIGHTS'


def default_weights() -> Path:
    """Return the file named by ``PUMBA_WEIGHTS``, or else the shipped one; blank names none."""
    name = os.environ.get(VARIABLE, '')
    return Path(name) if name.strip() else SHIPPED
