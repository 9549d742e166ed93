"""Settings of a training run, with every default: commands, nodes and workflows take them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pumba_pipe.common.errors import InputError

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Stage

DEFAULT_RECIPE = 'default'
CALIBRATION_HEADS = 120  # from which the Dice to expect is learned after a training
SIZES = {'coarse': 64, 'fine': 96}  # sides of the cubes, in voxels
MAX_WEIGHT = 1000  # of what is asked beside the labels


@dataclass(frozen=True)
class TrainingRunSettings:
    """What is trained, for how long.

    Attributes
    ----------
    stage : str
        The coarse stage sees whole heads, the fine stage boxes around brains; of both, the fine
        one starts from the coarse one.
    steps : int
        All stages together; the learning rate ends there, or where `minutes` runs out.
    minutes : float or None
        Time limit, all stages and resumed parts together.
    batch : int
        Samples a step and process.
    optimizer : str
        ``'muon'`` or ``'adamw'``.
    learning_rate, warm_up, weight_decay, clip : float
        Peak rate, steps up to it, decay, and the largest gradient norm.
    ema : float
        Memory of the running average of the weights, which is what is exported.
    curriculum_fraction : float
        Share of a run from random values, at its start, that sees images of clear contrast and
        few artefacts: without it a network predicts blobs for thousands of samples.
    seed : int
        Of everything that is drawn.
    coarse_size, fine_size : int or None
        Sides of the cubes the networks see, in voxels, multiples of the network's; None: as the
        initial weights have them, or else those in `SIZES`.
    widths : tuple of int
        Channels at each level of the network.
    teacher_share : float
        Of the prediction of trained networks in the target, where there are teachers.
    consistency : float
        Weight of the disagreement between two images of each head; 0: one image of each.
    renderings : int
        With it: images drawn of each head, of which the first and the one the network does worst
        on are kept. Above two the second is adversarial.
    plausible_shape : float
        Weight of what the network predicts off the largest piece, or leaves out within it.
    only_intracranial : bool
        Learn the intracranial space alone; what initial weights say of the brain stays as it is.
    fine_use_size : int or None
        Side of the cube in which the fine network will be used; None: as in training.
    checkpoint_minutes : float
        Time between checkpoints.
    snapshots : bool
        Keep the weights of every checkpoint, as ``weights-<samples>.safetensors``.
    cache_size : int
        Heads made ahead on the CPU.
    cache_workers : int or None
        Processes that make them. None: one where training runs on a CPU; on a GPU none, and
        every sample is of a head of its own, made there.
    """

    stage: Literal['both', 'coarse', 'fine'] = 'both'
    steps: int = 20_000
    minutes: float | None = None
    batch: int = 2
    optimizer: Literal['muon', 'adamw'] = 'muon'
    learning_rate: float = 1e-3
    warm_up: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    curriculum_fraction: float = 0.3
    seed: int = 1
    coarse_size: int | None = None
    fine_size: int | None = None
    widths: tuple[int, ...] = (16, 32, 64, 128)
    teacher_share: float = 0.65
    consistency: float = 0.0
    renderings: int = 2
    plausible_shape: float = 0.0
    only_intracranial: bool = False
    fine_use_size: int | None = None
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

    def use_size(self, stage: str) -> int:
        """Side of the cube in which a stage's network is used, in voxels."""
        return (self.fine_use_size if stage == 'fine' else None) or self.size(stage)

    def with_sizes_of(
        self, stages: Mapping[str, Stage], history: Mapping[str, Any]
    ) -> TrainingRunSettings:
        """Return settings in which sizes that are left open are those of initial weights.

        Parameters
        ----------
        stages : mapping
            Their stages, with the sizes they are used at.
        history : mapping
            What their card says of each stage, with the sizes they were trained at.
        """
        used = {name: stage.size for name, stage in stages.items()}
        trained = {name: trained_size(history, name, size) for name, size in used.items()}
        return replace(
            self,
            coarse_size=self.coarse_size or trained.get('coarse'),
            fine_size=self.fine_size or trained.get('fine'),
            fine_use_size=self.fine_use_size or used.get('fine'),
        )


def check_constraints(consistency: float, renderings: int, plausible_shape: float) -> None:
    """Refuse what would fail after hours, or have no step taken: see `TrainingRunSettings`.

    Raises
    ------
    InputError

    Examples
    --------
    >>> check_constraints(0.5, 3, 0.0)
    >>> check_constraints(0.5, 1, 0.0)
    Traceback (most recent call last):
    pumba_pipe.common.errors.InputError: renderings 1: consistency needs two or more
    """
    for name, weight in (('consistency', consistency), ('plausible shape', plausible_shape)):
        if not 0 <= weight <= MAX_WEIGHT:
            raise InputError(
                f'{name} {weight:g}: must be a weight from 0 to {MAX_WEIGHT} (labels have 1)'
            )
    if consistency and renderings < 2:
        raise InputError(f'renderings {renderings}: consistency needs two or more')


def trained_size(history: Mapping[str, Any], stage: str, used: int) -> int:
    """Side of the cube a stage was trained on: what a card says of it, or that it is used at."""
    size = history.get(stage, {}).get('size')
    return size if isinstance(size, int) else used


@dataclass(frozen=True)
class Hardware:
    """Where to train.

    Attributes
    ----------
    accelerator : str
        ``'auto'``, ``'cpu'``, ``'gpu'`` or ``'mps'``, as Lightning Fabric names them.
    devices, nodes : int
        Processes, or GPUs, a node; nodes.
    precision : str
        ``'bf16-mixed'``, ``'32-true'``, or ``'auto'``: the first where the device has bfloat16.
    threads : int or None
        CPU threads of each training process.
    compiled : bool
        Compile the network; needs a C++ compiler on the CPU.
    """

    accelerator: str = 'auto'
    devices: int = 1
    nodes: int = 1
    precision: Literal['auto', 'bf16-mixed', '32-true'] = 'auto'
    threads: int | None = None
    compiled: bool = False
