"""``pumba-weights`` from its arguments to its files and exit code."""

import subprocess
import sys

import pytest

from pumba_pipe.commands.weights import main
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import Stage, load_weights, save_weights
from pumba_pipe.training.set_up import initialize

TASKS = ('info', 'card', 'average', 'export')


@pytest.fixture
def pair(tmp_path):
    """Two weights files with small networks."""
    made = []
    for seed in (1, 2):
        network = UNet(NetworkConfig((4, 8)))
        initialize(network, seed)
        stage = {'samples': seed, 'recipe': f'recipe-{seed}', 'seed': seed}
        card = {'recipe': f'recipe-{seed}', 'stages': {'coarse': stage, 'fine': stage}}
        path = tmp_path / f'{seed}.safetensors'
        save_weights({'coarse': Stage(network, 16), 'fine': Stage(network, 16)}, card, path)
        made.append(str(path))
    return made


def only_line(capsys):
    """What was printed as an error: one line that begins with the command."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('pumba-weights: error: ')
    return line


def test_info_is_printed(pair, capsys):
    assert main(['info', pair[0]]) == 0
    printed = capsys.readouterr().out
    assert f'sha256: {load_weights(pair[0]).sha256}' in printed
    assert 'recipe: recipe-1' in printed and 'fine stage:\n  recipe: recipe-1' in printed


def test_two_files_are_averaged(pair, tmp_path, capsys):
    out = tmp_path / 'mean.safetensors'
    assert main(['average', *pair, str(out), '0.25']) == 0
    assert load_weights(out).sha256[:16] in capsys.readouterr().out
    assert load_weights(out).card['recipe'] == 'recipe-2'
    assert '0.25 of this' in load_weights(out).card['stages']['fine']['averaged']


def test_a_card_is_written(tmp_path, capsys):
    from pumba_pipe.network.weights import default_weights

    scores, card = tmp_path / 'scores.tsv', tmp_path / 'card.md'
    scores.write_text('case\tspecies\tmodality\tdice\thd95_mm\na\trat\tT2w\t0.0000\tn/a\n')
    assert main(['card', str(default_weights()), str(scores), str(card)]) == 0
    assert str(card) in capsys.readouterr().out
    assert '| rat | T2w | 1 | 0.000 | 0.000 | n/a |' in card.read_text('utf-8')


def test_bad_input_is_one_line(pair, tmp_path, capsys):
    out = str(tmp_path / 'out.safetensors')
    bad = {
        'none.safetensors': ['info', str(tmp_path / 'none.safetensors')],
        'share 2': ['average', *pair, out, '2'],
        'none.tsv': ['card', pair[0], str(tmp_path / 'none.tsv'), str(tmp_path / 'card.md')],
        'lacks': ['card', pair[0], str(tmp_path / 'scores.tsv'), str(tmp_path / 'card.md')],
    }
    (tmp_path / 'scores.tsv').write_text('case\tspecies\tmodality\tdice\thd95_mm\na\tx\ty\t1\t1\n')
    for message, words in bad.items():
        assert main(words) == 1
        assert message in only_line(capsys)
    assert not (tmp_path / 'card.md').exists() and not (tmp_path / 'out.safetensors').exists()


@pytest.mark.parametrize(
    'words', [[], ['melt'], ['average', 'a', 'b', 'c'], ['average', 'a', 'b', 'c', 'half']]
)
def test_wrong_usage_exits_with_two(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert 'usage: pumba-weights' in capsys.readouterr().err


def test_help_of_every_task_imports_nothing_heavy():
    code = (
        'import contextlib, sys\n'
        'from pumba_pipe.commands.weights import main\n'
        f'for task in {TASKS}:\n'
        '    with contextlib.suppress(SystemExit):\n'
        "        main([task, '--help'])\n"
        "print([m for m in ('torch', 'numpy', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip().endswith('\n[]'), done.stderr
    assert all(f'usage: pumba-weights {task} ' in done.stdout for task in TASKS)
    assert done.stdout.count('example: pumba-weights') == len(TASKS)


@pytest.mark.parametrize(('words', 'lines'), [([], ['20', '40', '49']), (['-q'], [])])
def test_calibration_says_how_far_it_is(pair, words, lines, monkeypatch, capsys):
    from pumba_pipe.training import calibration, calibration_scores

    def done(path, heads, seed, *, device, threads, progress):
        assert (heads, device, threads) == (30, 'cuda', 2)
        list(calibration_scores.scored_masks(None, None, heads, seed, progress=progress))
        return 'f' * 64

    monkeypatch.setattr(calibration, 'calibrate_file', done)
    monkeypatch.setattr(calibration_scores, 'strip_and_score', lambda *image: None)
    makers = dict.fromkeys(calibration_scores.MAKERS, lambda *_: None)
    monkeypatch.setattr(calibration_scores, 'MAKERS', makers)
    asked = ['calibrate', pair[0], '--heads', '30', '-g', '--nthreads', '2']
    assert main([*asked, *words]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f'pumba-weights: {n} of 49 images' for n in lines]
    assert ('written' in printed.out) == (not words)
