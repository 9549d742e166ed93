"""Training on synthetic heads as Nipype nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype import logging
from nipype.interfaces.base import (
    BaseInterface,
    BaseInterfaceInputSpec,
    File,
    TraitedSpec,
    isdefined,
    traits,
)

from pumba_pipe.interfaces.folder import in_folder, stem
from pumba_pipe.training.log import LOG_COLUMNS, log_rows
from pumba_pipe.training.run import WEIGHTS
from pumba_pipe.training.settings import DEFAULT_RECIPE, SIZES, Hardware, TrainingRunSettings

DEFAULTS = TrainingRunSettings()

CARD, LOG = 'weights.md', 'log.tsv'


class TrainSyntheticInputSpec(BaseInterfaceInputSpec):
    """Inputs of `TrainSynthetic`."""

    recipe = traits.Str(DEFAULT_RECIPE, usedefault=True, desc='name of a recipe, or a TOML file')
    stage = traits.Enum(
        'both', 'coarse', 'fine', usedefault=True, desc='which network, or one after the other'
    )
    steps = traits.Range(low=1, value=DEFAULTS.steps, usedefault=True, desc='all stages together')
    time_limit = traits.Range(low=0.0, exclude_low=True, desc='minutes, all stages together')
    seed = traits.Int(DEFAULTS.seed, usedefault=True, desc='of everything that is drawn')
    init_weights = File(exists=True, desc='weights to start from')
    batch = traits.Range(low=1, value=DEFAULTS.batch, usedefault=True, desc='samples a step')
    learning_rate = traits.Range(
        low=0.0,
        value=DEFAULTS.learning_rate,
        exclude_low=True,
        usedefault=True,
        desc='at its peak',
    )
    coarse_size = traits.Range(
        low=1,
        desc='side of the coarse cube, in voxels; default: as in init_weights, or else '
        f'{SIZES["coarse"]}',
    )
    fine_size = traits.Range(
        low=1,
        desc='side of the fine cube, in voxels; default: as in init_weights, or else '
        f'{SIZES["fine"]}',
    )
    widths = traits.List(
        traits.Range(low=1),
        list(DEFAULTS.widths),
        usedefault=True,
        desc='channels at each level',
    )
    pool_size = traits.Int(deprecated='2.0', new_name='cache_size', desc='former name')
    cache_size = traits.Range(
        low=1,
        value=DEFAULTS.cache_size,
        usedefault=True,
        desc='heads made ahead, when training on a CPU',
    )
    resume = traits.Bool(
        True, usedefault=True, nohash=True, desc='go on where a killed run of this node stopped'
    )
    checkpoint_minutes = traits.Range(
        low=0.0, value=DEFAULTS.checkpoint_minutes, exclude_low=True, usedefault=True,
        nohash=True, desc='time between checkpoints',
    )  # fmt: skip
    calibrate = traits.Bool(
        True, usedefault=True,
        desc='at the end, learn from made heads which Dice to expect of a mask',
    )  # fmt: skip
    use_gpu = traits.Bool(
        False, usedefault=True, nohash=True, desc='train on the GPU; also reserves one'
    )
    device = traits.Enum('auto', 'cuda', 'mps', usedefault=True, nohash=True, desc='kind of GPU')
    num_threads = traits.Int(nohash=True, desc='CPU threads')
    out_dir = traits.Str('training', usedefault=True, desc='name of the folder of the run')


class TrainSyntheticOutputSpec(TraitedSpec):
    """Outputs of `TrainSynthetic`."""

    weights = File(exists=True, desc='weights of both stages, safetensors')
    model_card = File(exists=True, desc='how they were made, Markdown')
    log = File(exists=True, desc='table: stage, quantity, step, value')


class TrainSynthetic(BaseInterface):
    """Train weights on heads made of random shapes, as ``pumba-train`` does.

    A node that was killed goes on from its last checkpoint when it is run again with the same
    inputs. On a CPU a further process makes heads while the network is trained.

    Examples
    --------
    >>> train = TrainSynthetic(steps=500, stage='coarse')
    >>> train.inputs.batch, train.can_resume
    (2, True)
    """

    input_spec = TrainSyntheticInputSpec
    output_spec = TrainSyntheticOutputSpec

    @property
    def can_resume(self) -> bool:
        """Keep the folder of a killed node: its checkpoint is needed."""
        return bool(self.inputs.resume)

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.common.tables import write_table
        from pumba_pipe.network.model_card import write_card
        from pumba_pipe.synthesis.recipe import load_recipe
        from pumba_pipe.training.run import train_weights

        inputs, outputs = self.inputs, self._list_outputs()
        weights = Path(outputs['weights'])
        train_weights(
            weights.parent,
            load_recipe(inputs.recipe),
            self._settings(),
            hardware=self._hardware(),
            init=Path(inputs.init_weights) if isdefined(inputs.init_weights) else None,
            resume=inputs.resume,
            quiet=True,
            written=self._calibrate,
        )
        write_card(weights, None, Path(outputs['model_card']))
        write_table(Path(outputs['log']), LOG_COLUMNS, log_rows(weights.parent))
        return runtime

    def _calibrate(self, weights: Path, sha256: str) -> None:
        from pumba_pipe.training.calibration import calibrate_trained

        inputs = self.inputs
        if inputs.calibrate:
            calibrate_trained(
                weights,
                sha256,
                logging.getLogger('nipype.interface').warning,
                seed=inputs.seed,
                device=inputs.device if inputs.use_gpu else 'cpu',
                threads=inputs.num_threads if isdefined(inputs.num_threads) else None,
            )

    def _list_outputs(self) -> dict[str, Any]:
        folder = Path(in_folder(self.inputs.out_dir, 'out_dir'))
        names = {'weights': WEIGHTS, 'model_card': CARD, 'log': LOG}
        return {field: str(folder / name) for field, name in names.items()}

    def _settings(self) -> TrainingRunSettings:
        inputs = self.inputs
        return TrainingRunSettings(
            stage=inputs.stage,
            steps=inputs.steps,
            minutes=inputs.time_limit if isdefined(inputs.time_limit) else None,
            batch=inputs.batch,
            learning_rate=inputs.learning_rate,
            seed=inputs.seed,
            coarse_size=inputs.coarse_size if isdefined(inputs.coarse_size) else None,
            fine_size=inputs.fine_size if isdefined(inputs.fine_size) else None,
            widths=tuple(inputs.widths),
            checkpoint_minutes=inputs.checkpoint_minutes,
            cache_size=inputs.cache_size,
        )

    def _hardware(self) -> Hardware:
        inputs = self.inputs
        device = inputs.device if inputs.use_gpu else 'cpu'
        return Hardware(
            accelerator='gpu' if device == 'cuda' else device,
            threads=inputs.num_threads if isdefined(inputs.num_threads) else None,
        )


class WriteModelCardInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteModelCard`."""

    weights = File(exists=True, mandatory=True, desc='weights file')
    scores = File(exists=True, desc='scores of these weights, as EvaluateMasks writes them')
    scored_on = traits.Str('cases given', usedefault=True, desc='what was scored, in words')


class WriteModelCardOutputSpec(TraitedSpec):
    """Outputs of `WriteModelCard`."""

    model_card = File(exists=True, desc='Markdown')


class WriteModelCard(BaseInterface):
    """Describe weights: how they were made, and how they score.

    Examples
    --------
    >>> from pumba_pipe.network.weights import default_weights
    >>> found = WriteModelCard(weights=str(default_weights())).run()
    >>> Path(found.outputs.model_card).read_text().startswith('# ')
    True
    """

    input_spec = WriteModelCardInputSpec
    output_spec = WriteModelCardOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from pumba_pipe.network.model_card import write_card

        inputs = self.inputs
        scores = Path(inputs.scores) if isdefined(inputs.scores) else None
        weights, target = Path(inputs.weights), Path(self._list_outputs()['model_card'])
        write_card(weights, scores, target, inputs.scored_on)
        return runtime

    def _list_outputs(self) -> dict[str, Any]:
        return {'model_card': in_folder(f'{stem(self.inputs.weights)}.md')}
