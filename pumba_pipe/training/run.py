"""A whole training run: both stages, one after the other, and the weights they give."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.folder_lock import only_run_in
from pumba_pipe.common.partial_files import PARTIAL, remove_old_partials
from pumba_pipe.training.settings import Hardware, TrainingRunSettings

if TYPE_CHECKING:
    from pumba_pipe.network.unet import UNet
    from pumba_pipe.network.weights import Model, Stage
    from pumba_pipe.synthesis.recipe import Recipe
    from pumba_pipe.training.protocols import FineTuning
    from pumba_pipe.training.stage_run import StageResult
    from pumba_pipe.training.teacher import Teacher
    from pumba_pipe.training.trained_weights import TrainedWeights

WEIGHTS = 'weights.safetensors'


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
            _TrainingRun(
                folder=folder,
                recipe=recipe,
                settings=settings,
                hardware=hardware,
                init=init,
                resume=resume,
                cache_dir=cache_dir or folder / 'head-cache',
                quiet=quiet,
                finetuning=finetuning,
                teachers=teachers,
                written=written,
            )
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
    """Remove what a killed run has left half-written long ago, also of heads."""
    for place in ('.', '*', 'head-cache/*'):
        remove_old_partials(folder.glob(f'{place}/{PARTIAL}*'))


def is_first_process() -> bool:
    """Whether this is the one process of a training, or the first of several.

    torchrun, srun and Lightning Fabric tell each process which it is.
    """
    names = ('RANK', 'SLURM_PROCID', 'LOCAL_RANK', 'NODE_RANK', 'GROUP_RANK')
    return all(os.environ.get(name, '0') in ('', '0') for name in names)


@dataclass(frozen=True, kw_only=True)
class _TrainingRun:
    """What `train_weights` was given."""

    folder: Path
    recipe: Recipe
    settings: TrainingRunSettings
    hardware: Hardware
    init: Path | None
    resume: bool
    cache_dir: Path
    quiet: bool
    finetuning: FineTuning | None
    teachers: Sequence[Path]
    written: Callable[[Path, str], None]


def _train_stages(run: _TrainingRun) -> Path:
    """Train one stage after the other, and write the weights."""
    from pumba_pipe.network.weights import load_weights
    from pumba_pipe.training.distributed import leave_group
    from pumba_pipe.training.trained_weights import TrainedWeights

    start = load_weights(run.init) if run.init is not None else None
    labelled = run.finetuning.digests if run.finetuning is not None else []
    weights = TrainedWeights.starting_from(start, run.recipe, run.settings, labelled)
    run = replace(run, settings=weights.settings)
    for name in run.settings.stages:
        weights, rank = _train_stage(run, name, start, weights)
    leave_group()
    target = run.folder / WEIGHTS
    if rank == 0:
        run.written(target, weights.save(target))
    return target


def _train_stage(
    run: _TrainingRun, name: str, start: Model | None, weights: TrainedWeights
) -> tuple[TrainedWeights, int]:
    """Train a stage; return the weights with it, and the rank of this process."""
    from pumba_pipe.network.config import NetworkConfig
    from pumba_pipe.training.loop import train
    from pumba_pipe.training.stage_run import StageRun
    from pumba_pipe.training.stage_settings import StageSettings

    settings = StageSettings.of(run.settings, name)
    if run.finetuning is not None:
        settings = run.finetuning.adapted(settings)
    initial, origin = _initial(name, weights.stages, start, run.init)
    teacher = _teacher(run, name)

    def with_result(result: StageResult, more: Mapping[str, Any]) -> TrainedWeights:
        if initial is not None and run.finetuning is not None:
            result = _without_what_was_not_learned(result, initial)
        return weights.with_stage(name, result, origin, more)

    def keep(result: StageResult) -> None:
        if run.settings.snapshots:
            file = f'weights-{result.progress.samples:08d}.safetensors'
            with_result(result, {}).save(run.folder / name / file)

    result = train(
        StageRun(
            recipe=run.recipe,
            folder=run.folder / name,
            settings=settings,
            network_config=NetworkConfig(run.settings.widths),
            hardware=run.hardware,
            initial=initial,
            resume=run.resume,
            cache_dir=run.cache_dir,
            quiet=run.quiet,
            keep=keep,
            finetuning=run.finetuning,
            teacher=teacher,
        )
    )
    more: dict[str, Any] = {}
    if run.finetuning is not None:
        more['labelled'] = run.finetuning.described(result.best)
    if teacher is not None:
        more |= {'teachers': teacher.digests, 'teacher_share': teacher.share}
    return with_result(result, more), result.rank


def _teacher(run: _TrainingRun, stage: str) -> Teacher | None:
    if not run.teachers:
        return None
    from pumba_pipe.network.devices import choose_device
    from pumba_pipe.training.teacher import Teacher

    settings, hardware = run.settings, run.hardware
    names = {'gpu': 'cuda', 'auto': 'auto'}
    device = choose_device(names.get(hardware.accelerator, hardware.accelerator))
    return Teacher(run.teachers, stage, settings.teacher_share, settings.size(stage), device)


def _without_what_was_not_learned(result: StageResult, initial: UNet) -> StageResult:
    """Return what is written of a network that was fine-tuned.

    A few steps of fine-tuning do not teach the intracranial space to a network that did not know
    it, and masks of the brain do not show it: such a network is written without.
    """
    from pumba_pipe.network.unet import with_borders_of

    return replace(result, network=with_borders_of(initial, result.network))


def _initial(
    name: str, stages: dict[str, Stage], start: Model | None, file: Path | None
) -> tuple[Any, str]:
    """Network a stage starts from, and its origin in words."""
    if name == 'fine' and 'coarse' in stages and (start is None or 'fine' not in stages):
        return stages['coarse'].network, 'coarse stage'
    if name in stages:
        return stages[name].network, f'{name} stage of {file.name if file else "weights"}'
    return None, 'random values'
