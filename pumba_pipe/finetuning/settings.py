"""Defaults of fine-tuning; imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import replace

from pumba_pipe.training.settings import TrainingRunSettings

# Few and small steps: what the weights know must not be forgotten.
FINETUNING = TrainingRunSettings(steps=400, optimizer='adamw', learning_rate=1e-4)
SYNTHETIC_SHARE = 0.5
HELD_OUT_SHARE = 0.25


def finetuning_settings(from_weights: bool) -> TrainingRunSettings:
    """Settings for labelled images; from random values, steps are as large as in training."""
    if from_weights:
        return FINETUNING
    return replace(FINETUNING, learning_rate=TrainingRunSettings.learning_rate)
