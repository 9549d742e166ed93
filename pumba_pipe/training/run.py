"""A whole training run: both stages, one after the other, and the weights they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pumba_pipe.finetuning.views import Adaptation
    from pumba_pipe.network.weights import Model, Stage
    from pumba_pipe.synthesis.recipe import Recipe
    from pumba_pipe.training.loop import Hardware, TrainingConfig, TrainingResult

SIZES = {'coarse': 64, 'fine': 96}
WIDTHS = (16, 32, 64, 128)
BOX_SHARES = {'coarse': 0.3, 'fine': 1.0}
EFFORT = {'coarse': 0.4, 'fine': 0.6}  # share of steps and time when both are trained
WEIGHTS = 'weights.safetensors'
FINETUNE_STEPS, FINETUNE_RATE = 400, 1e-4  # few and small: what is there must not be forgotten
LOG_COLUMNS = ('stage', 'quantity', 'step', 'value')


@dataclass(frozen=True)
class RunSettings:
    """What is trained, for how long.

    Attributes
    ----------
    stage : str
        The coarse stage sees whole heads, the fine stage boxes around brains; of both, the fine
        one starts from the coarse one.
    steps : int
        All stages together.
    minutes : float or None
        Time limit, all stages together.
    batch : int
        Samples a step and process.
    optimizer : str
        ``'muon'`` or ``'adamw'``.
    learning_rate : float
    seed : int
    coarse_size, fine_size : int or None
        Sides of the cubes the networks see, in voxels; None: as the initial weights have them,
        or else 64 and 96.
    widths : tuple of int
        Channels at each level of the network.
    checkpoint_minutes : float
    snapshots : bool
        Keep the weights of every checkpoint, as ``weights-<samples>.safetensors``.
    cache_size : int
        Heads made ahead on the CPU.
    cache_workers : int or None
        Processes that make them; None: one for training on a CPU, none for a GPU.
    """

    stage: Literal['both', 'coarse', 'fine'] = 'both'
    steps: int = 20_000
    minutes: float | None = None
    batch: int = 2
    optimizer: Literal['muon', 'adamw'] = 'muon'
    learning_rate: float = 1e-3
    seed: int = 1
    coarse_size: int | None = None
    fine_size: int | None = None
    widths: tuple[int, ...] = WIDTHS
    checkpoint_minutes: float = 2.0
    snapshots: bool = False
    cache_size: int = 2000
    cache_workers: int | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that are trained, in order."""
        return ('coarse', 'fine') if self.stage == 'both' else (self.stage,)

    def size(self, stage: str) -> int:
        """Side of a stage's cube, in voxels."""
        chosen = self.coarse_size if stage == 'coarse' else self.fine_size
        return SIZES[stage] if chosen is None else chosen

    def with_sizes_of(self, stages: Mapping[str, Stage]) -> RunSettings:
        """Return settings in which sizes that are left open are those of `stages`."""
        known = {name: stage.size for name, stage in stages.items()}
        return replace(
            self,
            coarse_size=self.coarse_size or known.get('coarse'),
            fine_size=self.fine_size or known.get('fine'),
        )

    def config(self, stage: str) -> TrainingConfig:
        """Settings of one stage."""
        from pumba_pipe.training.state import TrainingConfig

        effort = EFFORT[stage] if self.stage == 'both' else 1.0
        return TrainingConfig(
            size=self.size(stage),
            box_share=BOX_SHARES[stage],
            batch=self.batch,
            steps=max(1, math.floor(self.steps * effort)),
            minutes=self.minutes * effort if self.minutes else None,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            checkpoint_minutes=self.checkpoint_minutes,
            seed=self.seed,
            cache_size=self.cache_size,
            cache_workers=self.cache_workers,
        )


def train_weights(
    folder: Path,
    recipe: Recipe,
    settings: RunSettings = RunSettings(),
    *,
    hardware: Hardware | None = None,
    init: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
    adaptation: Adaptation | None = None,
    written: Callable[[Path, str], None] = lambda path, sha256: None,
) -> Path:
    """Train the stages that are asked for, and export the weights.

    Parameters
    ----------
    folder : Path
        Of the run: receives ``weights.safetensors``, and checkpoints and TensorBoard logs of
        each stage.
    recipe : Recipe
    settings : RunSettings
    hardware : Hardware, optional
    init : Path, optional
        Weights to start from. A stage they hold and that is not trained stays as it is.
    resume : bool
        Go on with the run in `folder`, if there is one.
    cache_dir : Path, optional
        Folder for pools of heads, which runs may share; default: ``folder/head-cache``.
    quiet : bool
        No progress bar.
    adaptation : Adaptation, optional
        Labelled real images to train on besides; the weights are marked as such.
    written : callable
        Called with the weights file and its SHA-256 by the one process that wrote it.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    InputError, RecipeError, WeightsError, OutputError
    """
    from pumba_pipe.finetuning.views import adapted
    from pumba_pipe.network.model_card import real_images, training_card
    from pumba_pipe.network.unet import NetworkConfig
    from pumba_pipe.network.weights import Stage, load_weights, save_weights
    from pumba_pipe.training.loop import Hardware, train

    start = load_weights(init) if init is not None else None
    stages, history = _kept(start)
    settings = settings.with_sizes_of(stages)
    real = real_images(start.card) if start is not None else []
    real += adaptation.digests if adaptation is not None else []
    for name in settings.stages:
        initial, origin = _initial(name, stages, start, init)
        config = settings.config(name)
        result = train(
            recipe,
            folder / name,
            adapted(config) if adaptation is not None else config,
            NetworkConfig(settings.widths),
            hardware=hardware or Hardware(),
            initial=initial,
            resume=resume,
            cache_dir=cache_dir or folder / 'head-cache',
            quiet=quiet,
            kept=_keeper(
                folder / name, name, dict(stages), history, origin, recipe, settings, real
            ),
            adaptation=adaptation,
        )
        stages[name] = Stage(result.network, settings.size(name))
        entry = _described(result, recipe, settings, name, origin)
        if adaptation is not None:
            entry['labelled'] = adaptation.described(result.best)
        history = _with_run(history, name, entry)
    target = folder / WEIGHTS
    if result.rank == 0:
        card = training_card(recipe, settings.seed, history, real)
        written(target, save_weights(stages, card, target))
    return target


def _keeper(
    folder: Path,
    name: str,
    stages: dict[str, Stage],
    history: dict[str, Any],
    origin: str,
    recipe: Recipe,
    settings: RunSettings,
    real: list[str],
) -> Callable[[TrainingResult], None]:
    """What is done with the weights of a checkpoint: kept, where snapshots are asked for."""
    from pumba_pipe.network.model_card import training_card
    from pumba_pipe.network.weights import Stage, save_weights

    def keep(result: TrainingResult) -> None:
        if not settings.snapshots:
            return
        now = stages | {name: Stage(result.network, settings.size(name))}
        entry = _described(result, recipe, settings, name, origin)
        card = training_card(recipe, settings.seed, _with_run(history, name, entry), real)
        save_weights(now, card, folder / f'weights-{result.progress.samples:08d}.safetensors')

    return keep


def _with_run(
    history: dict[str, Any], name: str, entry: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Add a run to a history; the one it went on from stays under ``before``."""
    from pumba_pipe.network.weights import STAGES

    if name in history:
        entry = entry | {'before': history[name]}
    both = history | {name: entry}
    return {key: both[key] for key in STAGES if key in both}


def _kept(start: Model | None) -> tuple[dict[str, Stage], dict[str, Any]]:
    """Stages of the initial weights; those that are not trained stay as they are."""
    if start is None:
        return {}, {}
    shared = {key: start.card.get(key) for key in ('recipe', 'recipe_sha256', 'seed')}
    history = {name: shared | entry for name, entry in start.card.get('stages', {}).items()}
    stages = {'coarse': start.coarse, 'fine': start.fine}
    return {name: stages[name] for name in history if name in stages}, history


def _initial(
    name: str, stages: dict[str, Stage], start: Model | None, file: Path | None
) -> tuple[Any, str]:
    """Network a stage starts from, and its origin in words."""
    if name == 'fine' and 'coarse' in stages and (start is None or 'fine' not in stages):
        return stages['coarse'].network, 'coarse stage'
    if name in stages:
        return stages[name].network, f'{name} stage of {file.name if file else "weights"}'
    return None, 'random values'


def _described(
    result: TrainingResult, recipe: Recipe, settings: RunSettings, name: str, origin: str
) -> dict[str, Any]:
    """Plain values for the model card."""
    from pumba_pipe.network.unet import parameter_count

    return {
        'recipe': recipe.name,
        'recipe_sha256': recipe.digest,
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


def log_rows(folder: Path) -> list[tuple[str, ...]]:
    """Read what a run logged: stage, quantity, step and value as text, in the order of steps.

    Empty where TensorBoard is not installed: then nothing was logged.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        return []
    rows: list[tuple[str, ...]] = []
    for stage in SIZES:
        events = EventAccumulator(str(folder / stage / 'tensorboard'), {'scalars': 0})
        if not (folder / stage / 'tensorboard').is_dir():
            continue
        events.Reload()
        for quantity in events.Tags()['scalars']:
            rows += [
                (stage, quantity, str(event.step), f'{event.value:.6g}')
                for event in events.Scalars(quantity)
            ]
    return rows
