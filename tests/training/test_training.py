"""Training: it learns, resumes, survives a kill, and exports weights that load."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pumba_pipe.commands.train import main
from pumba_pipe.common.errors import InputError, WeightsError
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import load_weights
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training import validation
from pumba_pipe.training.head_cache import cache_folder, fill_cache
from pumba_pipe.training.loop import train
from pumba_pipe.training.losses import dice_and_cross_entropy, soft_dice
from pumba_pipe.training.samples import SampleGenerator
from pumba_pipe.training.set_up import initialize
from pumba_pipe.training.settings import Hardware, TrainingRunSettings
from pumba_pipe.training.stage_run import StageRun
from pumba_pipe.training.stage_settings import StageProgress, StageSettings, finished, schedule

SMALL = StageSettings(
    size=32, box_share=1.0, batch=2, steps=6, cache_size=4, warm_up=2, checkpoint_minutes=60
)
TINY = NetworkConfig((4, 8), 2)
CPU = Hardware('cpu', threads=1)


def small_run(folder, **changed):
    given = {'recipe': load_recipe(), 'settings': SMALL, 'network_config': TINY, **changed}
    return StageRun(folder=folder, hardware=CPU, quiet=True, **given)


def state(network):
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-6)


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / 'tensorboard'))
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()['scalars']}


def test_loss_is_low_when_right_and_blind_outside():
    target = torch.zeros(1, 1, 8, 8, 8)
    target[..., :4] = 1
    inside = torch.ones_like(target)
    right, wrong = 20 * (target - 0.5), -20 * (target - 0.5)
    assert dice_and_cross_entropy(right, target, inside) < 0.01
    assert dice_and_cross_entropy(wrong, target, inside) > 2
    inside[..., 4:] = 0
    wrong_outside = right.clone()
    wrong_outside[..., 4:] = 50
    assert dice_and_cross_entropy(wrong_outside, target, inside) < 0.01
    assert soft_dice(target, target) == pytest.approx(1)


def test_both_borders_count():
    target = torch.zeros(1, 2, 8, 8, 8)
    target[:, 0, ..., :4] = target[:, 1, ..., :3] = 1
    inside = torch.ones(1, 1, 8, 8, 8)
    right = 20 * (target - 0.5)
    assert dice_and_cross_entropy(right, target, inside) < 0.01
    assert soft_dice(target, target).shape == (1, 2)
    for border in (0, 1):
        wrong = right.clone()
        wrong[:, border] = right[:, 1 - border]
        assert dice_and_cross_entropy(wrong, target, inside) > 0.5


def test_schedule_warms_up_and_decays():
    config = StageSettings(steps=1000, warm_up=10)
    assert schedule(StageProgress(0), config) == pytest.approx(0.1)
    assert schedule(StageProgress(10), config) > 0.99
    assert schedule(StageProgress(1000), config) == pytest.approx(0.02)
    by_time = StageSettings(steps=10**6, minutes=1)
    assert not finished(StageProgress(5, 10, 59), by_time)
    assert finished(StageProgress(5, 10, 60), by_time)


def test_initial_weights_follow_the_seed_and_nothing_else():
    before = torch.get_rng_state()
    networks = [UNet(TINY) for _ in range(3)]
    torch.set_rng_state(before)
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        initialize(network, seed)
    assert torch.equal(torch.get_rng_state(), before)
    first, second, third = (network.head.weight for network in networks)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_training_lowers_the_loss(tmp_path):
    config = StageSettings(
        size=32, box_share=1.0, batch=2, steps=40, cache_size=4, warm_up=5, learning_rate=4e-3
    )
    train(small_run(tmp_path, settings=config))
    losses = [event.value for event in scalars(tmp_path)['train/loss']]
    assert len(losses) == 4
    assert np.mean(losses[-2:]) < losses[0] - 0.1


def test_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    """Also when more heads are there by then than the unbroken run has had."""
    recipe = load_recipe()
    config = replace(SMALL, cache_size=30)
    few, many = tmp_path / 'few', tmp_path / 'many'
    generator = SampleGenerator(recipe, config.size, config.box_share)
    for cache, count in ((few, 13), (many, 30)):
        fill_cache(cache_folder(cache, generator), generator, config.seed, count, 0, 1)
    whole = train(small_run(tmp_path / 'whole', settings=config, cache_dir=few))
    # A schedule by steps: stop after three of six by a checkpoint made there.
    part = tmp_path / 'part'
    with pytest.raises(KeyboardInterrupt):
        interrupted(part, config, few)
    resumed = train(small_run(part, settings=config, resume=True, cache_dir=many))
    assert resumed.progress.step == whole.progress.step == 6
    assert resumed.progress.samples == 12
    assert_same(state(resumed.network), state(whole.network))


def interrupted(folder, config, cache):
    """Train with a checkpoint after every step, and stop in the fourth."""
    from unittest import mock

    from pumba_pipe.training import loop

    calls = []

    def stopping_loss(*args):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return dice_and_cross_entropy(*args)

    config = replace(config, checkpoint_minutes=1e-9)
    with mock.patch.object(loop, 'dice_and_cross_entropy', stopping_loss):
        train(small_run(folder, settings=config, cache_dir=cache))


def test_validation_heads_are_made_once_a_run_and_on_the_first_process_alone(monkeypatch):
    made = []
    make = SampleGenerator.make_label_map
    monkeypatch.setattr(
        SampleGenerator,
        'make_label_map',
        lambda self, seed, *rest: made.append(seed) or make(self, seed, *rest),
    )
    monkeypatch.setattr(validation, 'VALIDATION_HEADS', 3)
    generator = SampleGenerator(load_recipe(), 24, 1.0)
    logged = []

    class Log:
        def __init__(self, active):
            self.active = active

        def validation(self, progress, dice):
            logged.append((progress.step, dice))

    networks = [UNet(TINY) for _ in range(3)]
    for seed, network in enumerate(networks):
        initialize(network, seed)
    device = torch.device('cpu')
    for active in (False, True):
        monitor = validation.SyntheticValidation(generator, SMALL, device, Log(active))
        for step in (0, 1, 2, 0):
            monitor.at_checkpoint(networks[step], StageProgress(step))
            assert not monitor.should_stop(networks[step], StageProgress(step))
    assert len(made) == len(set(made)) == 3
    assert [step for step, _ in logged] == [0, 1, 2, 0]
    assert logged[0][1] == logged[3][1], 'the same images each time'
    assert len({dice for _, dice in logged}) == 3


def test_a_run_is_not_overwritten_and_settings_must_match(tmp_path):
    run = small_run(tmp_path)
    train(run)
    going_on = replace(run, resume=True)
    with pytest.raises(InputError, match='resume'):
        train(run)
    other = replace(SMALL, learning_rate=0.5)
    with pytest.raises(WeightsError, match=r'other settings \(learning_rate 0.001, not 0.5\)'):
        train(replace(going_on, settings=other))
    with pytest.raises(WeightsError, match='another recipe'):
        train(replace(going_on, recipe=load_recipe('clear')))
    with pytest.raises(WeightsError, match=r'widths \[4, 8\], not \[8, 8\]'):
        train(replace(going_on, network_config=replace(TINY, widths=(8, 8))))
    content = bytearray((tmp_path / 'checkpoint.pt').read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / 'checkpoint.pt').write_bytes(content)
    with pytest.raises(WeightsError, match='damaged'):
        train(going_on)
    (tmp_path / 'checkpoint.pt').write_bytes(b'damaged')
    with pytest.raises(WeightsError, match='cannot resume'):
        train(going_on)


def arguments(out, *more):
    sizes = ['--coarse-size', '32', '--fine-size', '32', '--widths', '4', '8']
    machine = ['--device', 'cpu', '--threads', '1', '--cache-size', '4', '-q', '--no-calibration']
    return [str(out), *sizes, *machine, *more]


@pytest.mark.parametrize('recipe', ['default', 'paper'])
def test_command_trains_both_stages_and_exports(recipe, tmp_path, capsys):
    assert main(arguments(tmp_path, '--steps', '5', '--recipe', recipe)) == 0
    model = load_weights(tmp_path / 'weights.safetensors')
    assert model.card['recipe'] == recipe
    assert model.card['recipe_sha256'] == load_recipe(recipe).digest
    assert model.card['stages']['coarse']['steps'] == 2
    assert model.card['stages']['fine']['samples'] == 6
    assert model.card['stages']['fine']['initial'] == 'coarse stage'
    assert model.coarse.size == model.fine.size == 32
    with safe_open(tmp_path / 'weights.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['card']) == model.card


def test_command_starts_from_weights_and_keeps_the_other_stage(tmp_path, capsys):
    assert main(arguments(tmp_path / 'a', '--steps', '2', '--stage', 'coarse')) == 0
    first = tmp_path / 'a' / 'weights.safetensors'
    more = ('--steps', '2', '--stage', 'fine', '--init', str(first))
    assert main(arguments(tmp_path / 'b', *more)) == 0
    model = load_weights(tmp_path / 'b' / 'weights.safetensors')
    assert_same(state(model.coarse.network), state(load_weights(first).coarse.network))
    assert list(model.card['stages']) == ['coarse', 'fine']
    more = ('--steps', '3', '--stage', 'coarse', '--seed', '9', '--init', str(first))
    assert main(arguments(tmp_path / 'c', *more)) == 0
    card = load_weights(tmp_path / 'c' / 'weights.safetensors').card
    coarse = card['stages']['coarse']
    assert (coarse['steps'], coarse['seed']) == (3, 9)
    assert (coarse['before']['steps'], coarse['before']['seed']) == (2, 1)


def test_sizes_left_open_are_those_of_the_initial_weights(tmp_path, capsys):
    assert main(arguments(tmp_path / 'a', '--steps', '1', '--stage', 'coarse')) == 0
    first = tmp_path / 'a' / 'weights.safetensors'
    more = ['--stage', 'coarse', '--steps', '1', '--init', str(first), '--cache-size', '4']
    assert main([str(tmp_path / 'b'), *more, '--device', 'cpu', '--threads', '1', '-q']) == 0
    model = load_weights(tmp_path / 'b' / 'weights.safetensors')
    assert model.coarse.size == model.card['stages']['coarse']['size'] == 32
    settings = TrainingRunSettings(fine_size=48).with_sizes_of({'fine': model.coarse}, {})
    assert (settings.size('coarse'), settings.size('fine')) == (64, 48)
    going_on = TrainingRunSettings().with_sizes_of({'fine': model.coarse}, {'fine': {'size': 16}})
    assert (going_on.size('fine'), going_on.use_size('fine')) == (16, 32)


def test_command_refuses_bad_settings_in_one_line(tmp_path, capsys):
    bad = ['--recipe', str(tmp_path / 'none.toml')]
    assert main(arguments(tmp_path / 'x', *bad)) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert main([str(tmp_path / 'y'), '--coarse-size', '50', '-q', '--device', 'cpu']) == 1
    assert 'multiple of 16' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / 'z'), '--time-limit', 'soon'])
    assert stop.value.code == 2


def test_killed_run_resumes_and_its_log_continues(tmp_path):
    """kill -9 in the middle: the next run goes on from the last checkpoint."""
    command = [sys.executable, '-m', 'pumba_pipe.commands.train'] + arguments(
        tmp_path, '--stage', 'coarse', '--checkpoint-minutes', '0.001'
    )
    process = subprocess.Popen(
        [*command, '--steps', '100000'], stderr=subprocess.PIPE, start_new_session=True
    )
    checkpoint = tmp_path / 'coarse' / 'checkpoint.pt'
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if checkpoint.exists() and saved_step(checkpoint) >= 10:
            break
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists(), process.stderr.read()
    reached = saved_step(checkpoint)
    assert reached >= 10
    result = subprocess.run(
        [*command, '--steps', str(reached + 12), '--resume'], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    steps = [event.step for event in scalars(tmp_path / 'coarse')['train/loss']]
    assert max(steps) >= reached + 2
    assert min(steps) == 10
    assert load_weights(tmp_path / 'weights.safetensors').card['stages']['coarse']['steps'] == (
        reached + 12
    )


def saved_step(checkpoint):
    return torch.load(checkpoint, weights_only=True)['progress']['step']


def test_training_needs_neither_nipype_nor_nibabel(tmp_path):
    code = (
        'import sys\n'
        'class Block:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] in ("nipype", "nibabel", "bids", "SimpleITK"):\n'
        '            raise ImportError(name)\n'
        'sys.meta_path.insert(0, Block())\n'
        'from pumba_pipe.commands.train import main\n'
        f'sys.exit(main({arguments(tmp_path, "--steps", "2", "--stage", "coarse")!r}))\n'
    )
    script = tmp_path / 'run.py'
    script.write_text(f'if __name__ == "__main__":\n{indented(code)}')
    result = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def indented(code):
    return ''.join(f'    {line}\n' for line in code.splitlines())


@pytest.mark.parametrize(
    ('asked', 'device', 'wanted'),
    [(None, 'cpu', 1), (None, 'cuda', 0), (3, 'cpu', 3), (3, 'cuda', 3)],
)
def test_heads_are_made_ahead_on_a_cpu_and_where_asked_for(asked, device, wanted):
    config = StageSettings(cache_workers=asked)
    assert config.cache_workers_on(torch.device(device)) == wanted


def test_generators_end_with_a_killed_training(tmp_path):
    """A head cache that would take hours must not go on filling for nobody."""
    command = [sys.executable, '-m', 'pumba_pipe.commands.train'] + arguments(
        tmp_path, '--stage', 'coarse', '--steps', '100000', '--cache-size', '100000'
    )
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob('head-cache/*/head-*.npy')):
        time.sleep(0.2)
    process.kill()
    process.wait()
    time.sleep(4)
    count = len(list(tmp_path.glob('head-cache/*/head-*.npy')))
    assert count > 0
    time.sleep(3)
    assert len(list(tmp_path.glob('head-cache/*/head-*.npy'))) == count
