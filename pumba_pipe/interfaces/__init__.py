"""Nipype interfaces; importing them costs nipype, never torch."""

from pumba_pipe.interfaces.derivatives import SaveDerivative
from pumba_pipe.interfaces.strip import SkullStrip, strip_mem_gb

__all__ = ['SaveDerivative', 'SkullStrip', 'strip_mem_gb']
