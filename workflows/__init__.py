"""Nipype workflows: one per participant, and the sinks that write derivatives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pumba_pipe.workflows.base import StripSettings, init_participant_wf
    from pumba_pipe.workflows.outputs import init_ds_brain_wf
    from pumba_pipe.workflows.templates import Space, Template, find_template, parse_space

# Names are imported when first used: what needs no workflow costs no nipype.
_HOMES = {
    'Space': 'templates',
    'StripSettings': 'base',
    'Template': 'templates',
    'find_template': 'templates',
    'init_ds_brain_wf': 'outputs',
    'init_participant_wf': 'base',
    'parse_space': 'templates',
}

__all__ = [
    'Space',
    'StripSettings',
    'Template',
    'find_template',
    'init_ds_brain_wf',
    'init_participant_wf',
    'parse_space',
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'pumba_pipe.workflows.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
