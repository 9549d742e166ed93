"""Every default of training is written once: options, node, workflow and page take it there."""

import inspect
import re
from argparse import SUPPRESS
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pumba_pipe.workflows.training import init_synthetic_training_wf

from pumba_pipe.commands.train import _settings, build_parser
from pumba_pipe.finetuning.settings import FINETUNING, finetuning_settings
from pumba_pipe.interfaces import TrainSynthetic
from pumba_pipe.training.settings import SIZES, TrainingRunSettings
from pumba_pipe.training.stage_settings import StageSettings

DEFAULTS = TrainingRunSettings()
PAGE = Path(__file__).parents[2] / 'docs' / 'training.md'


def settings(*words):
    return _settings(build_parser().parse_args(['OUT', *words]))


def test_the_command_has_the_defaults():
    assert settings() == DEFAULTS
    assert settings('--finetune', 'x', '--init', 'y') == FINETUNING
    assert settings('--finetune', 'x') == finetuning_settings(from_weights=False)
    assert settings('--finetune', 'x').learning_rate == DEFAULTS.learning_rate
    assert settings('--init', 'y') == DEFAULTS
    given = settings('--finetune', 'x', '--steps', '7', '--optimizer', 'muon', '--seed', '3')
    assert given == replace(
        finetuning_settings(from_weights=False), steps=7, optimizer='muon', seed=3
    )


def test_node_and_workflow_have_the_defaults():
    assert TrainSynthetic()._settings() == DEFAULTS
    parameters = inspect.signature(init_synthetic_training_wf).parameters
    assert parameters['steps'].default == DEFAULTS.steps
    assert parameters['seed'].default == DEFAULTS.seed


def test_a_stage_has_the_settings_of_the_run():
    own = {'size', 'box_share', 'steps', 'minutes'}
    shared = {field.name for field in fields(StageSettings)} - own
    assert shared <= {field.name for field in fields(TrainingRunSettings)}
    given = TrainingRunSettings(
        steps=10, minutes=20.0, batch=5, clip=0.3, warm_up=7, seed=9, fine_size=48, ema=0.5
    )
    coarse, fine = (StageSettings.of(given, stage) for stage in ('coarse', 'fine'))
    assert (coarse.steps, fine.steps, coarse.minutes, fine.minutes) == (4, 6, 8, 12)
    assert (coarse.size, fine.size) == (SIZES['coarse'], 48)
    for name in shared:
        assert getattr(fine, name) == getattr(coarse, name) == getattr(given, name)
        assert getattr(StageSettings(), name) == getattr(DEFAULTS, name)


def listed_defaults():
    """Option -> text of the column Default."""
    rows = re.findall(r'^\| (`-.*?) \|.*\| (.*?) ?\|$', PAGE.read_text('utf-8'), re.MULTILINE)
    return {option: text for options, text in rows for option in re.findall(r'`(-.*?)`', options)}


def number(value):
    return f'{value:g}' if isinstance(value, float) else str(value)


def expected(action):
    """Default of an option as the page should have it."""
    special = {
        'steps': f'{DEFAULTS.steps}; with `--finetune` {FINETUNING.steps}',
        'optimizer': f'{DEFAULTS.optimizer}; with `--finetune` {FINETUNING.optimizer}',
        'learning_rate': f'{DEFAULTS.learning_rate:g}; with `--finetune` and `--init` '
        f'{FINETUNING.learning_rate:g}',
        'coarse_size': f'as in the weights of `--init`, or else {SIZES["coarse"]}',
        'fine_size': f'as in the weights of `--init`, or else {SIZES["fine"]}',
        'fine_use_size': 'as in training',
        'cache_dir': '`OUT/head-cache`',
        'cache_workers': 'one for training on a CPU; none on a GPU, which then generates a new '
        'head for every sample',
    }
    if action.dest in special:
        return special[action.dest]
    if action.default is None or action.default is False or action.default == SUPPRESS:
        return ''
    values = action.default if isinstance(action.default, list) else [action.default]
    return ' '.join(map(number, values))


OPTIONS = [
    action
    for action in build_parser()._actions
    if action.option_strings and action.help != SUPPRESS and action.dest != 'help'
]


@pytest.mark.parametrize('action', OPTIONS, ids=lambda action: action.dest)
def test_the_page_has_the_defaults(action):
    listed = listed_defaults()
    for option in action.option_strings:
        assert listed[option] == expected(action)
