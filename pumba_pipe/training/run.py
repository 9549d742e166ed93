"""A whole training run: both stages, one after the other, and the weights they give."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.folder_lock import only_run_in
from pumba_pipe.training.settings import SIZES, Hardware, TrainingRunSettings

if TYPE_CHECKING:
    from pumba_pipe.network.unet import UNet
    from pumba_pipe.network.weights import Model, Stage
    from pumba_pipe.synthesis.recipe import Recipe
    from pumba_pipe.training.loop import TrainingResult
    from pumba_pipe.training.protocols import FineTuning
    from pumba_pipe.training.teacher import Teacher

WEIGHTS = 'weights.safetensors'
LOG_COLUMNS = ('stage', 'quantity', 'step', 'value')


def train_weights(
    folder: Path,
    recipe: Recipe,
    settings: TrainingRunSettings = TrainingRunSettings(),
    *,
    hardware: Hardware = Hardware(),
    init: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
    finetuning: FineTuning | None = None,
    teachers: Sequence[Path] = (),
    written: Callable[[Path, str], None] = lambda path, sha256: None,
) -> Path:
    """Train the stages that are asked for, and export the weights.

    Parameters
    ----------
    folder : Path
        Of the run: receives ``weights.safetensors``, and checkpoints and TensorBoard logs of
        each stage.
    recipe : Recipe
    settings : TrainingRunSettings
    hardware : Hardware
    init : Path, optional
        Weights to start from. A stage they hold and that is not trained stays as it is.
    resume : bool
        Go on with the run in `folder`, if there is one.
    cache_dir : Path, optional
        Folder for head caches, which runs may share; default: ``folder/head-cache``.
    quiet : bool
        No progress bar.
    finetuning : FineTuning, optional
        Labelled real images to train on besides; the weights are marked as such.
    teachers : sequence of Path
        Weights whose networks, of the stage that is trained, are learned from besides.
    written : callable
        Called with the weights file and its SHA-256 by the one process that wrote it.

    Returns
    -------
    Path
        The weights file.

    Raises
    ------
    InputError
        Also when another run is at work in `folder`.
    RecipeError, WeightsError, OutputError
    """
    first = is_first_process()
    with only_run_in(folder) if first else nullcontext():
        if first:
            _check_weights(folder)
            remove_leftovers(folder)
        return _train_stages(
            folder,
            recipe,
            settings,
            hardware,
            init,
            resume,
            cache_dir,
            quiet,
            finetuning,
            teachers,
            written,
        )


def _check_weights(folder: Path) -> None:
    """Refuse a folder with weights that no training there made: these would be replaced.

    Raises
    ------
    InputError
    """
    target = folder / WEIGHTS
    if target.exists() and not any(folder.glob('*/checkpoint.pt')):
        raise InputError(
            f'{target}: there are weights, and no training that could go on; choose another '
            'folder, or move them away'
        )


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run has left half-written, in a folder that no other run is using."""
    for path in [*folder.glob('.partial-*'), *folder.glob('*/.partial-*')]:
        path.unlink(missing_ok=True)


def is_first_process() -> bool:
    """Whether this is the one process of a training, or the first of several.

    torchrun, srun and Lightning Fabric tell each process which it is.
    """
    names = ('RANK', 'SLURM_PROCID', 'LOCAL_RANK', 'NODE_RANK', 'GROUP_RANK')
    return all(os.environ.get(name, '0') in ('', '0') for name in names)


def _train_stages(
    folder: Path,
    recipe: Recipe,
    settings: TrainingRunSettings,
    hardware: Hardware,
    init: Path | None,
    resume: bool,
    cache_dir: Path | None,
    quiet: bool,
    finetuning: FineTuning | None,
    teachers: Sequence[Path],
    written: Callable[[Path, str], None],
) -> Path:
    from pumba_pipe.network.model_card import real_images, training_card
    from pumba_pipe.network.unet import NetworkConfig
    from pumba_pipe.network.weights import Stage, load_weights, save_weights
    from pumba_pipe.training.distributed import leave_group
    from pumba_pipe.training.loop import train
    from pumba_pipe.training.stage_settings import StageSettings

    start = load_weights(init) if init is not None else None
    stages, history = _kept(start)
    settings = settings.with_sizes_of(stages, history)
    real = real_images(start.card) if start is not None else []
    real += finetuning.digests if finetuning is not None else []
    for name in settings.stages:
        initial, origin = _initial(name, stages, start, init)
        config = StageSettings.of(settings, name)
        teacher = _teacher(teachers, name, settings, hardware)
        finished = _finisher(initial, finetuning)
        result = train(
            recipe,
            folder / name,
            finetuning.adapted(config) if finetuning is not None else config,
            NetworkConfig(settings.widths),
            hardware=hardware,
            initial=initial,
            resume=resume,
            cache_dir=cache_dir or folder / 'head-cache',
            quiet=quiet,
            kept=_keeper(
                folder / name,
                name,
                dict(stages),
                history,
                origin,
                recipe,
                settings,
                real,
                finished,
            ),
            finetuning=finetuning,
            teacher=teacher,
        )
        result = finished(result)
        stages[name] = Stage(result.network, settings.use_size(name))
        entry = _described(result, recipe, settings, name, origin)
        if finetuning is not None:
            entry['labelled'] = finetuning.described(result.best)
        if teacher is not None:
            entry |= {'teachers': teacher.digests, 'teacher_share': teacher.share}
        history = _with_run(history, name, entry)
    leave_group()
    target = folder / WEIGHTS
    if result.rank == 0:
        card = training_card(recipe, settings.seed, history, real)
        written(target, save_weights(stages, card, target))
    return target


def _teacher(
    files: Sequence[Path], stage: str, settings: TrainingRunSettings, hardware: Hardware
) -> Teacher | None:
    if not files:
        return None
    from pumba_pipe.network.devices import choose_device
    from pumba_pipe.training.teacher import Teacher

    names = {'gpu': 'cuda', 'auto': 'auto'}
    device = choose_device(names.get(hardware.accelerator, hardware.accelerator))
    return Teacher(files, stage, settings.teacher_share, settings.size(stage), device)


def _finisher(
    initial: UNet | None, finetuning: FineTuning | None
) -> Callable[[TrainingResult], TrainingResult]:
    """What becomes of a trained network before it is written.

    A few steps of fine-tuning do not teach the intracranial space to a network that did not know
    it, and masks of the brain do not show it: such a network is written without.
    """
    from pumba_pipe.network.unet import with_borders_of

    def finished(result: TrainingResult) -> TrainingResult:
        if initial is None or finetuning is None:
            return result
        return replace(result, network=with_borders_of(initial, result.network))

    return finished


def _keeper(
    folder: Path,
    name: str,
    stages: dict[str, Stage],
    history: dict[str, Any],
    origin: str,
    recipe: Recipe,
    settings: TrainingRunSettings,
    real: list[str],
    finished: Callable[[TrainingResult], TrainingResult],
) -> Callable[[TrainingResult], None]:
    """What is done with the weights of a checkpoint: kept, where snapshots are asked for."""
    from pumba_pipe.network.model_card import training_card
    from pumba_pipe.network.weights import Stage, save_weights

    def keep(result: TrainingResult) -> None:
        if not settings.snapshots:
            return
        result = finished(result)
        now = stages | {name: Stage(result.network, settings.use_size(name))}
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
    result: TrainingResult, recipe: Recipe, settings: TrainingRunSettings, name: str, origin: str
) -> dict[str, Any]:
    """Plain values for the model card."""
    from pumba_pipe.network.unet import parameter_count

    entry = {
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
    if settings.use_size(name) != settings.size(name):
        entry['used_at'] = settings.use_size(name)
    if settings.consistency:
        entry |= {'consistency': settings.consistency, 'renderings': settings.renderings}
    if settings.plausible_shape:
        entry['plausible_shape'] = settings.plausible_shape
    if settings.only_intracranial:
        entry['learned'] = 'the intracranial space alone'
    return entry


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
