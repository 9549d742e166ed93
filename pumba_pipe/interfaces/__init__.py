"""Nipype interfaces; importing them costs nipype, never torch or SimpleITK."""

from pumba_pipe.interfaces.bias import N4BiasFieldCorrection, bias_mem_gb
from pumba_pipe.interfaces.derivatives import SaveDerivative
from pumba_pipe.interfaces.images import ApplyMask, ClipIntensities, Conform, image_mem_gb
from pumba_pipe.interfaces.register import RegisterToTemplate, register_mem_gb
from pumba_pipe.interfaces.strip import SkullStrip, strip_mem_gb

__all__ = [
    'ApplyMask',
    'ClipIntensities',
    'Conform',
    'N4BiasFieldCorrection',
    'RegisterToTemplate',
    'SaveDerivative',
    'SkullStrip',
    'bias_mem_gb',
    'image_mem_gb',
    'register_mem_gb',
    'strip_mem_gb',
]
