"""Weights in the course of a training run: its stages so far, and what their card will say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.network.model_card import real_images, training_card
from pumba_pipe.network.unet import parameter_count
from pumba_pipe.network.weights import STAGES, Model, Stage, save_weights

if TYPE_CHECKING:
    from pumba_pipe.synthesis.recipe import Recipe
    from pumba_pipe.training.settings import TrainingRunSettings
    from pumba_pipe.training.stage_run import StageResult


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Stages that are trained, or were there before, and what their card will say.

    Attributes
    ----------
    recipe : Recipe
    settings : TrainingRunSettings
    stages : dict
        Name to `Stage`.
    history : dict
        Name to what the card says of the stage's runs.
    real : list of str
        Digests of real images that took part.
    """

    recipe: Recipe
    settings: TrainingRunSettings
    stages: dict[str, Stage]
    history: dict[str, Any]
    real: list[str]

    @classmethod
    def starting_from(
        cls,
        start: Model | None,
        recipe: Recipe,
        settings: TrainingRunSettings,
        labelled: list[str],
    ) -> TrainedWeights:
        """Take up the stages of initial weights: those that are not trained stay as they are.

        Sizes that `settings` leave open are those of the initial weights; `labelled` are the
        digests of images to train on.
        """
        stages, history = _stages_of(start)
        return cls(
            recipe=recipe,
            settings=settings.with_sizes_of(stages, history),
            stages=stages,
            history=history,
            real=(real_images(start.card) if start is not None else []) + labelled,
        )

    def with_stage(
        self, name: str, result: StageResult, origin: str, more: Mapping[str, Any]
    ) -> TrainedWeights:
        """Add a stage that was trained; `more` is what the card says of it besides."""
        stage = Stage(result.network, self.settings.use_size(name))
        entry = self._described(name, result, origin) | dict(more)
        return replace(
            self,
            stages=self.stages | {name: stage},
            history=_with_run(self.history, name, entry),
        )

    def save(self, path: Path) -> str:
        """Write a weights file, and return its SHA-256."""
        card = training_card(self.recipe, self.settings.seed, self.history, self.real)
        return save_weights(self.stages, card, path)

    def _described(self, name: str, result: StageResult, origin: str) -> dict[str, Any]:
        """Plain values for the model card."""
        settings = self.settings
        entry = {
            'recipe': self.recipe.name,
            'recipe_sha256': self.recipe.digest,
            'seed': settings.seed,
            'batch': settings.batch,
            'optimizer': settings.optimizer,
            'learning_rate': settings.learning_rate,
            'size': settings.size(name),
            'parameters': parameter_count(result.network),
            'steps': result.progress.step,
            'samples': result.progress.samples,
            'seconds': round(result.progress.seconds),
            'hardware': result.hardware,
            'initial': origin,
        }
        if settings.use_size(name) != settings.size(name):
            entry['used_at'] = settings.use_size(name)
        if settings.consistency:
            entry |= {'consistency': settings.consistency, 'renderings': settings.renderings}
        if settings.plausible_shape:
            entry['plausible_shape'] = settings.plausible_shape
        if settings.only_intracranial:
            entry['learned'] = 'the intracranial space alone'
        return entry


def _with_run(
    history: dict[str, Any], name: str, entry: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Add a run to a history; the one it went on from stays under ``before``."""
    if name in history:
        entry = entry | {'before': history[name]}
    both = history | {name: entry}
    return {key: both[key] for key in STAGES if key in both}


def _stages_of(start: Model | None) -> tuple[dict[str, Stage], dict[str, Any]]:
    """Stages of initial weights, and what their card says of each."""
    if start is None:
        return {}, {}
    shared = {key: start.card.get(key) for key in ('recipe', 'recipe_sha256', 'seed')}
    history = {name: shared | entry for name, entry in start.card.get('stages', {}).items()}
    stages = {'coarse': start.coarse, 'fine': start.fine}
    return {name: stages[name] for name in history if name in stages}, history
