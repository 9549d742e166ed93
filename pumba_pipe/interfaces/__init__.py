"""Nipype interfaces; importing them costs nipype, never torch or SimpleITK."""

from pumba_pipe.interfaces.bias import N4BiasFieldCorrection
from pumba_pipe.interfaces.classes import ClassifyIntensities
from pumba_pipe.interfaces.derivatives import SaveDerivative, SaveFigures
from pumba_pipe.interfaces.evaluate import EvaluateMasks
from pumba_pipe.interfaces.images import ApplyMask, ClipIntensities, Conform
from pumba_pipe.interfaces.memory import (
    bias_mem_gb,
    evaluate_mem_gb,
    image_mem_gb,
    reference_mem_gb,
    register_mem_gb,
    report_mem_gb,
    strip_mem_gb,
    synthesis_mem_gb,
    training_mem_gb,
)
from pumba_pipe.interfaces.reference import MakeReference
from pumba_pipe.interfaces.register import RegisterToTemplate
from pumba_pipe.interfaces.report import QualityReport
from pumba_pipe.interfaces.source import RecordSource
from pumba_pipe.interfaces.strip import SkullStrip, StripWithManualMask
from pumba_pipe.interfaces.synthesis import SynthesizeHeads
from pumba_pipe.interfaces.training import TrainSynthetic, WriteModelCard

__all__ = [
    'ApplyMask',
    'ClassifyIntensities',
    'ClipIntensities',
    'Conform',
    'EvaluateMasks',
    'MakeReference',
    'N4BiasFieldCorrection',
    'QualityReport',
    'RecordSource',
    'RegisterToTemplate',
    'SaveDerivative',
    'SaveFigures',
    'SkullStrip',
    'StripWithManualMask',
    'SynthesizeHeads',
    'TrainSynthetic',
    'WriteModelCard',
    'bias_mem_gb',
    'evaluate_mem_gb',
    'image_mem_gb',
    'reference_mem_gb',
    'register_mem_gb',
    'report_mem_gb',
    'strip_mem_gb',
    'synthesis_mem_gb',
    'training_mem_gb',
]
