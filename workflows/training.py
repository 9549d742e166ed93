"""Training on synthetic heads as a workflow: validation heads, training, scores, model card.

``python -m pumba_pipe.workflows.training OUT`` runs it; ``--help`` lists the options.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.shared_options import minutes, positive_int
from pumba_pipe.common.standard_streams import tell
from pumba_pipe.interfaces.derivatives import SaveDerivative
from pumba_pipe.interfaces.evaluate import EvaluateMasks
from pumba_pipe.interfaces.memory import evaluate_mem_gb, synthesis_mem_gb, training_mem_gb
from pumba_pipe.interfaces.synthesis import SynthesizeHeads
from pumba_pipe.interfaces.training import TrainSynthetic, WriteModelCard
from pumba_pipe.training.settings import DEFAULT_RECIPE, SIZES, TrainingRunSettings, trained_size

DEFAULTS = TrainingRunSettings()
HEADS, HEAD_SIZE = 20, 96
VALIDATION = 1_000_003  # added to the seed: heads that training does not draw
RESULTS = {
    'weights': 'weights.safetensors',
    'model_card': 'weights.md',
    'log': 'log.tsv',
    'scores': 'scores.tsv',
    'summary': 'summary.tsv',
    'picture': 'worst.png',
}


def init_synthetic_training_wf(
    *,
    recipe: str = DEFAULT_RECIPE,
    steps: int = DEFAULTS.steps,
    time_limit: float | None = None,
    seed: int = DEFAULTS.seed,
    heads: int = HEADS,
    head_size: int = HEAD_SIZE,
    init_weights: Path | None = None,
    use_gpu: bool = False,
    num_threads: int = 1,
    training: Mapping[str, Any] | None = None,
    name: str = 'synthetic_training_wf',
) -> pe.Workflow:
    """Train weights on heads made of random shapes and score them on heads they never saw.

    Parameters
    ----------
    recipe : str
        Name of a recipe, or a TOML file.
    steps : int
    time_limit : float, optional
        Minutes of training; whichever comes first, this or `steps`.
    seed : int
        Of everything that is drawn.
    heads, head_size : int
        Number of validation heads, and the side in voxels of the cube they are made in.
    init_weights : Path, optional
        Weights to start from.
    use_gpu : bool
        Train on a GPU, and have Nipype reserve one.
    num_threads : int
    training : mapping, optional
        Further inputs of `TrainSynthetic`, such as ``batch``, ``fine_size`` or ``calibrate``.
    name : str

    Outputs
    -------
    weights
        Trained weights
    model_card
        How they were made, with their scores, Markdown
    log
        Table of what training measured
    scores, summary
        Tables of the scores on the validation heads
    picture
        Outlines of the worst cases
    heads
        BIDS data set of the validation heads

    Examples
    --------
    >>> wf = init_synthetic_training_wf(steps=500, heads=4, training={'fine_size': 64})
    >>> wf.get_node('make_heads').inputs.count, wf.get_node('train').inputs.fine_size
    (4, 64)
    """
    workflow = pe.Workflow(name=name)
    outputnode = pe.Node(IdentityInterface(fields=[*RESULTS, 'heads']), name='outputnode')
    make_heads = pe.Node(
        SynthesizeHeads(recipe=recipe, count=heads, size=head_size, seed=seed + VALIDATION),
        name='make_heads',
        mem_gb=synthesis_mem_gb(head_size),
    )
    trainer = TrainSynthetic(
        recipe=recipe, steps=steps, seed=seed, use_gpu=use_gpu, num_threads=num_threads
    )
    trainer.inputs.trait_set(**(training or {}))
    if time_limit is not None:
        trainer.inputs.time_limit = time_limit
    if init_weights is not None:
        trainer.inputs.init_weights = str(init_weights)
    train = pe.Node(
        trainer,
        name='train',
        mem_gb=_memory(trainer),
        n_procs=num_threads,
    )
    evaluate = pe.Node(
        EvaluateMasks(use_gpu=use_gpu, num_threads=num_threads),
        name='evaluate',
        mem_gb=evaluate_mem_gb((head_size,) * 3),
        n_procs=num_threads,
    )
    write_card = pe.Node(WriteModelCard(scored_on='synthetic heads'), name='write_card')
    workflow.connect(
        [
            (make_heads, evaluate, [('images', 'in_files'), ('labels', 'ground_truth')]),
            (train, evaluate, [('weights', 'model')]),
            (train, write_card, [('weights', 'weights')]),
            (evaluate, write_card, [('scores', 'scores')]),
            (make_heads, outputnode, [('out_dir', 'heads')]),
            (train, outputnode, [('weights', 'weights'), ('log', 'log')]),
            (
                evaluate,
                outputnode,
                [(field, field) for field in ('scores', 'summary', 'picture')],
            ),
            (write_card, outputnode, [('model_card', 'model_card')]),
        ]
    )
    return workflow


def _memory(trainer: TrainSynthetic) -> float:
    """Memory that training will need for the cubes and the network of its inputs, in GB."""
    inputs = trainer.inputs
    size, channels = SIZES['fine'], inputs.widths[0]
    if isdefined(inputs.init_weights):
        from pumba_pipe.network.weights import load_weights

        model = load_weights(inputs.init_weights)
        size = trained_size(model.card.get('stages', {}), 'fine', model.fine.size)
        channels = model.fine.config.widths[0]
    if isdefined(inputs.fine_size):
        size = int(inputs.fine_size)
    return training_mem_gb(size, inputs.batch, channels)


def init_ds_training_wf(*, out_dir: Path, name: str = 'ds_training_wf') -> pe.Workflow:
    """Write the results of a training to a folder.

    Parameters
    ----------
    out_dir : Path
    name : str

    Inputs
    ------
    weights, model_card, log, scores, summary, picture
        As `init_synthetic_training_wf` gives them
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(RESULTS)), name='inputnode')
    for field, file in RESULTS.items():
        sink = pe.Node(
            SaveDerivative(out_path=str(out_dir / file)),
            name=f'ds_{field}',
            run_without_submitting=True,
        )
        workflow.connect(inputnode, field, sink, 'in_file')
    return workflow


def train(out_dir: Path, **options: Any) -> None:
    """Run the training workflow, and write its results to a folder.

    A run that was killed goes on where it was, when it is started again with the same options.

    Parameters
    ----------
    out_dir : Path
        Intermediate files go to ``work`` in it.
    **options
        Of `init_synthetic_training_wf`.

    Raises
    ------
    PumbaError
        A step failed.
    """
    from nipype.pipeline.engine.nodes import NodeExecutionError

    work = out_dir / 'work'
    workflow = pe.Workflow(name='training_wf', base_dir=str(work))
    workflow.config['execution'] = {'crashdump_dir': str(work), 'crashfile_format': 'txt'}
    training_wf = init_synthetic_training_wf(**options)
    sinks = init_ds_training_wf(out_dir=out_dir)
    fields = [(f'outputnode.{field}', f'inputnode.{field}') for field in RESULTS]
    workflow.connect([(training_wf, sinks, fields)])
    try:
        workflow.run(plugin='Linear')
    except (NodeExecutionError, RuntimeError) as error:
        # of several failures, Nipype raises one that names none
        lines = str(error.__cause__ or error).strip().splitlines()
        reason = lines[-1].strip().removeprefix(f'{PumbaError.__module__}.')
        raise PumbaError(f'{reason}; see the crash files in {work}') from None


def main(argv: Sequence[str] | None = None) -> int:
    """Train from the command line."""
    parser = CommandParser(
        prog='python -m pumba_pipe.workflows.training',
        description='Train on synthetic heads, score the weights on others, write a model card.',
    )
    parser.add_argument('out_dir', type=Path, help='folder for the results')
    parser.add_argument(
        '--recipe', default=DEFAULT_RECIPE, help='name of a recipe, or a TOML file'
    )
    parser.add_argument(
        '--steps', type=positive_int, default=DEFAULTS.steps, help='default: %(default)s'
    )
    parser.add_argument(
        '--time-limit', type=minutes, metavar='T',
        help='90m or 1.5h, both stages together; a bare number is in minutes',
    )  # fmt: skip
    parser.add_argument('--seed', type=int, default=DEFAULTS.seed)
    parser.add_argument('--heads', type=positive_int, default=HEADS, help='validation heads')
    parser.add_argument('--init', type=Path, metavar='FILE', help='weights to start from')
    parser.add_argument(
        '--no-calibration', action='store_true',
        help='do not learn at the end which Dice to expect of a mask',
    )  # fmt: skip
    parser.add_argument('--gpu', action='store_true', help='train on the GPU')
    parser.add_argument('--threads', type=positive_int, default=1)
    given = parser.parse_args(argv)

    def body() -> int:
        out_dir = given.out_dir.absolute()
        recipe = Path(given.recipe)
        train(
            out_dir,
            # nodes run in folders of their own
            recipe=str(recipe.absolute()) if recipe.is_file() else given.recipe,
            steps=given.steps,
            time_limit=given.time_limit,
            seed=given.seed,
            heads=given.heads,
            init_weights=given.init and given.init.absolute(),
            use_gpu=given.gpu,
            num_threads=given.threads,
            training={'calibrate': not given.no_calibration},
        )
        tell(f'results: {out_dir}')
        return 0

    return guarded('pumba training', body)


if __name__ == '__main__':
    sys.exit(main())
