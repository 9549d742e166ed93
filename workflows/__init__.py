"""Nipype workflows: parts for other pipelines, and those of the BIDS-App with their sinks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pumba_pipe.workflows.anat import init_anat_preproc_wf, init_image_preproc_wf
    from pumba_pipe.workflows.base import init_participant_wf
    from pumba_pipe.workflows.brain_extraction import init_brain_extraction_wf
    from pumba_pipe.workflows.outputs import init_ds_brain_wf, init_ds_space_wf
    from pumba_pipe.workflows.reference import init_reference_wf
    from pumba_pipe.workflows.registration import init_registration_wf
    from pumba_pipe.workflows.settings import StripSettings
    from pumba_pipe.workflows.splicing import (
        init_infant_brain_extraction_wf,
        splice_brain_extraction,
    )
    from pumba_pipe.workflows.templates import Space, Template, find_template, parse_space
    from pumba_pipe.workflows.training import init_synthetic_training_wf

# Names are imported when first used: what needs no workflow costs no nipype.
_HOMES = {
    'Space': 'templates',
    'StripSettings': 'settings',
    'Template': 'templates',
    'find_template': 'templates',
    'init_anat_preproc_wf': 'anat',
    'init_brain_extraction_wf': 'brain_extraction',
    'init_ds_brain_wf': 'outputs',
    'init_ds_space_wf': 'outputs',
    'init_image_preproc_wf': 'anat',
    'init_infant_brain_extraction_wf': 'splicing',
    'init_participant_wf': 'base',
    'init_reference_wf': 'reference',
    'init_registration_wf': 'registration',
    'init_synthetic_training_wf': 'training',
    'parse_space': 'templates',
    'splice_brain_extraction': 'splicing',
}

__all__ = [
    'Space',
    'StripSettings',
    'Template',
    'find_template',
    'init_anat_preproc_wf',
    'init_brain_extraction_wf',
    'init_ds_brain_wf',
    'init_ds_space_wf',
    'init_image_preproc_wf',
    'init_infant_brain_extraction_wf',
    'init_participant_wf',
    'init_reference_wf',
    'init_registration_wf',
    'init_synthetic_training_wf',
    'parse_space',
    'splice_brain_extraction',
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'pumba_pipe.workflows.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
