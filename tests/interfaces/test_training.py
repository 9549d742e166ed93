"""Training as a node: its files, and a killed node that goes on."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nipype.pipeline import engine as pe

from pumba_pipe.interfaces import TrainSynthetic, WriteModelCard
from pumba_pipe.network.weights import default_weights, load_weights
from pumba_pipe.training.settings import TrainingRunSettings

TINY = {
    'recipe': 'easy',
    'coarse_size': 32,
    'fine_size': 32,
    'widths': [4, 8],
    'cache_size': 4,
    'num_threads': 1,
    'calibrate': False,
}
# A node that is killed when it has written its first checkpoint.
KILLED = """
import os, signal
from nipype.pipeline import engine as pe
from pumba_pipe.training import loop as training
from pumba_pipe.interfaces import TrainSynthetic

save = training.save_checkpoint

def save_and_die(*arguments):
    save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == '__main__':
    training.save_checkpoint = save_and_die
    training.SyntheticValidation.dice = lambda *arguments: 0.5
    pe.Node(TrainSynthetic(**{inputs!r}), 'train', base_dir={folder!r}).run()
"""


def test_outputs_are_known_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = TrainSynthetic(out_dir='run')._list_outputs()
    assert outputs == {
        'weights': str(tmp_path / 'run' / 'weights.safetensors'),
        'model_card': str(tmp_path / 'run' / 'weights.md'),
        'log': str(tmp_path / 'run' / 'log.tsv'),
    }


def test_a_network_is_trained_under_multiproc_and_described(tmp_path):
    workflow = pe.Workflow('w', str(tmp_path))
    train = pe.Node(
        TrainSynthetic(steps=25, seed=4, checkpoint_minutes=60.0, **TINY),
        'train',
        n_procs=1,
        mem_gb=1,
    )
    card = pe.Node(WriteModelCard(), 'card')
    workflow.connect(train, 'weights', card, 'weights')
    workflow.config['execution'] = {
        'crashdump_dir': str(tmp_path),
        'poll_sleep_duration': 0.2,
        # card and log are connected to nothing here
        'remove_unnecessary_outputs': False,
    }
    workflow.run(plugin='MultiProc', plugin_args={'n_procs': 1, 'memory_gb': 4})
    folder = tmp_path / 'w' / 'train' / 'training'
    model = load_weights(folder / 'weights.safetensors')
    assert model.card['seed'] == 4
    assert model.card['stages']['coarse']['steps'] == 10
    assert model.card['stages']['fine']['initial'] == 'coarse stage'
    assert model.sha256 in (folder / 'weights.md').read_text()
    rows = [line.split('\t') for line in (folder / 'log.tsv').read_text().splitlines()]
    assert rows[0] == ['stage', 'quantity', 'step', 'value']
    assert {(row[0], row[2]) for row in rows[1:] if row[1] == 'train/loss'} == {
        ('coarse', '10'), ('fine', '10'),
    }  # fmt: skip
    assert (folder / 'weights.md').read_text().startswith('# Model card: weights.safetensors\n')
    assert (tmp_path / 'w' / 'card' / 'weights.md').read_text() == (
        folder / 'weights.md'
    ).read_text()


def test_every_input_reaches_the_run(tmp_path, monkeypatch):
    asked = {}

    def train_weights(folder, recipe, settings, **options):
        asked.update(options, folder=folder, recipe=recipe.name, settings=settings)
        shutil.copyfile(default_weights(), folder / 'weights.safetensors')

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('pumba_pipe.training.run.train_weights', train_weights)
    (tmp_path / 'own').mkdir()
    settings = {
        'stage': 'fine', 'steps': 7, 'batch': 3, 'learning_rate': 0.5, 'seed': 9,
        'coarse_size': 32, 'fine_size': 48, 'checkpoint_minutes': 5.0, 'cache_size': 11,
    }  # fmt: skip
    TrainSynthetic(
        recipe='easy', out_dir='own', time_limit=1.5, widths=[4, 8], num_threads=3,
        init_weights=str(default_weights()), resume=False, **settings,
    ).run()  # fmt: skip
    assert asked['settings'] == TrainingRunSettings(minutes=1.5, widths=(4, 8), **settings)
    assert asked['folder'] == tmp_path / 'own'
    assert (asked['recipe'], asked['init'], asked['resume']) == ('easy', default_weights(), False)
    assert asked['hardware'].threads == 3


def test_a_killed_node_goes_on(tmp_path):
    inputs = {**TINY, 'stage': 'coarse', 'steps': 6, 'checkpoint_minutes': 1e-6}
    script = tmp_path / 'node.py'
    script.write_text(KILLED.format(inputs=inputs, folder=str(tmp_path)))
    result = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    folder = tmp_path / 'train' / 'training'
    checkpoint = torch.load(folder / 'coarse' / 'checkpoint.pt', weights_only=True)
    assert checkpoint['progress']['step'] == 1
    first = min(head.stat().st_mtime_ns for head in folder.glob('head-cache/*/*.npy'))
    # How often checkpoints are written does not make it another run.
    inputs['checkpoint_minutes'] = 60.0
    node = pe.Node(TrainSynthetic(**inputs), 'train', base_dir=str(tmp_path))
    # else Nipype clears away what is no output once the node is done
    node.config = {'execution': {'remove_unnecessary_outputs': 'false'}}
    weights = node.run().outputs.weights
    stage = load_weights(weights).card['stages']['coarse']
    assert (stage['steps'], stage['samples']) == (6, 12)
    # The folder was not emptied: the heads of the killed run are still there.
    assert min(head.stat().st_mtime_ns for head in folder.glob('head-cache/*/*.npy')) == first


def test_without_resume_a_node_starts_anew():
    assert TrainSynthetic().can_resume
    assert not TrainSynthetic(resume=False).can_resume


@pytest.mark.parametrize(
    ('given', 'accelerator'), [({}, 'cpu'), ({'use_gpu': True, 'device': 'cuda'}, 'gpu')]
)
def test_a_gpu_is_used_only_when_reserved(given, accelerator):
    assert TrainSynthetic(**given)._hardware().accelerator == accelerator


def test_a_card_names_what_was_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores = tmp_path / 'scores.tsv'
    scores.write_text(
        'case\tspecies\tmodality\tdice\thd95_mm\na\tvole\tT1w\t0.9\t1.0\n', encoding='utf-8'
    )
    card = WriteModelCard(
        weights=str(default_weights()), scores=str(scores), scored_on='synthetic heads'
    )
    text = Path(card.run().outputs.model_card).read_text(encoding='utf-8')
    assert '## Scores on synthetic heads' in text
    assert '| vole | T1w | 1 | 0.900 |' in text
