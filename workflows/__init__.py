"""Nipype workflows: one per participant, and the sinks that write derivatives."""

from pumba_pipe.workflows.base import StripSettings, init_participant_wf
from pumba_pipe.workflows.outputs import init_ds_brain_wf

__all__ = ['StripSettings', 'init_ds_brain_wf', 'init_participant_wf']
