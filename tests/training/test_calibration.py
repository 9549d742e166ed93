"""Learning from made heads which Dice to expect: what is drawn, what is learned, the command."""

import math

import numpy as np
import pytest
import torch

from pumba_pipe.commands.train import main as train_main
from pumba_pipe.commands.weights import main
from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction.evidence import AgreementMetrics, Evidence, ShapeMetrics
from pumba_pipe.extraction.expected_dice import expected_dice
from pumba_pipe.network.calibration import GOOD_DICE, POOR_DICE
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import Stage, load_weights, save_weights
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training import calibration_images, calibration_scores
from pumba_pipe.training.calibration import calibrate, calibrate_file, fit_calibration
from pumba_pipe.training.calibration_scores import ScoredMask

TINY = NetworkConfig((4, 8), 2)


@pytest.fixture
def small(monkeypatch):
    """Images of a few voxels: what is drawn is the same."""
    monkeypatch.setattr(calibration_images, 'SIZES', (40, 44))
    monkeypatch.setattr(calibration_images, 'FIELD_SIDES', (24, 30))
    return load_recipe()


# What is drawn.


def test_a_head_is_the_same_for_the_same_seed(small):
    first, again, other = (calibration_images.made_head(small, seed) for seed in (1, 1, 2))
    assert (first.values == again.values).all() and (first.voxel_size == again.voxel_size).all()
    assert first.values.shape != other.values.shape or (first.values != other.values).any()


def test_heads_have_a_brain_of_any_size_and_now_and_then_thick_slices(small):
    volumes, ratios = [], []
    for seed in range(12):
        image = calibration_images.made_head(small, seed)
        ((wide, tight),) = image.brains
        assert wide.shape == image.values.shape and wide.any()
        assert not (tight & ~wide).any()
        assert image.values.dtype == np.float32 and image.values.min() == 0
        volumes.append(np.count_nonzero(wide) * math.prod(image.voxel_size) / 1000)
        ratios.append(image.voxel_size.max() / image.voxel_size.min())
    assert min(volumes) < 10 < 100 < max(volumes)
    assert 1 < sum(ratio > 1.5 for ratio in ratios) < 9


@pytest.mark.parametrize('kind', calibration_images._FIELDS)
def test_fields_without_a_brain(kind, small):
    rng = np.random.default_rng(3)
    values = calibration_images._FIELDS[kind](small, 3, rng)
    assert values.ndim == 3 and np.isfinite(values).all() and np.ptp(values) > 0


@pytest.mark.parametrize('kind', calibration_images._ODD)
def test_odd_heads(kind, small):
    rng = np.random.default_rng(3)
    values, brains = calibration_images._ODD[kind](small, 3, rng)
    assert len(brains) == (2 if kind == 'two heads' else 1)
    for wide, tight in brains:
        assert wide.shape == tight.shape == values.shape and wide.any()
    if kind == 'two heads':
        assert not (brains[0][0] & brains[1][0]).any()


def test_kinds_are_drawn_in_turn(small):
    kinds = {calibration_images.no_brain(small, seed).kind for seed in range(30)}
    assert kinds == set(calibration_images._FIELDS)
    assert calibration_images.no_brain(small, 1).brains == []


# What is learned.


def drawn(count, seed, group='head', slope=0.8, noise=0.4, shape=None):
    """Masks whose Dice follows their agreements."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        state = rng.normal()
        doubts = np.clip(2.5 + 0.6 * (state + 0.4 * rng.normal(size=4)), 0.05, 8)
        logit = 2.2 + slope * state + noise * rng.normal()
        dice = 1 / (1 + math.exp(-logit)) if group != 'none' else 0.0
        form = rng.normal(shape or (0.8, 0.0, -2.0, 3.0), (0.05, 0.1, 0.5, 0.5))
        evidence = Evidence(AgreementMetrics(*(1 - np.exp(-doubts))), ShapeMetrics(*form))
        rows.append(ScoredMask(group, 'drawn', evidence, dice))
    return rows


PHANTOM = (1.05, 0.3, -6.0, 0.2)


@pytest.fixture(scope='module')
def made():
    rows = [*drawn(120, 1), *drawn(30, 2, 'odd'), *drawn(50, 3, 'none', shape=PHANTOM)]
    return fit_calibration(rows, {'seed': 1})


def test_the_interval_holds_for_nine_in_ten_fresh_masks(made):
    rows = drawn(2000, 9)
    told = [expected_dice(made, row.evidence) for row in rows]
    held = np.mean([one.low <= row.dice <= one.high for row, one in zip(rows, told, strict=True)])
    assert 0.83 < held < 0.97
    bias = np.mean([row.dice - one.value for row, one in zip(rows, told, strict=True)])
    assert abs(bias) < 0.03


def test_poor_masks_are_flagged_and_most_good_ones_are_not(made):
    rows = drawn(2000, 9)
    flags = np.array([expected_dice(made, row.evidence).flagged for row in rows])
    dice = np.array([row.dice for row in rows])
    assert flags[dice < POOR_DICE].mean() > 0.6
    assert 0.02 < flags[dice >= GOOD_DICE].mean() < 0.2, 'one in ten'
    assert 0.7 < made.dice.flag_below < 0.97


def test_phantoms_are_told_from_brains(made):
    told = [expected_dice(made, row.evidence) for row in drawn(200, 8, 'none', shape=PHANTOM)]
    assert np.mean([bool(one.no_brain) for one in told]) > 0.95
    brains = [expected_dice(made, row.evidence) for row in drawn(200, 9)]
    assert np.mean([bool(one.no_brain) for one in brains]) < 0.06
    # nothing but agreement makes a mask poor: it is no sign of "no brain"
    assert made.brain.below[:4] == (0,) * 4


def test_numbers_survive_the_weights_file(made, calibration):
    from pumba_pipe.network.calibration import Calibration

    again = Calibration.from_dict(made.to_dict())
    rows = drawn(20, 7)
    for row in rows:
        first, second = (expected_dice(one, row.evidence) for one in (made, again))
        assert first[:3] == pytest.approx(second[:3], abs=1e-3)
    assert made.origin == {'seed': 1, 'heads': 120, 'odd_heads': 30, 'without_brain': 50}


def test_images_in_which_nothing_was_found_teach_nothing():
    rows = [*drawn(40, 1), *(ScoredMask('none', 'noise', None, 0.0) for _ in range(9))]
    made = fit_calibration(rows, {})
    assert made.origin['without_brain'] == 0
    assert not any(expected_dice(made, row.evidence).no_brain for row in drawn(50, 4)[:20])


def test_heads_that_all_are_good_or_alike():
    """No poor head to learn a limit from, and no spread at all."""
    for rows in (drawn(30, 1, slope=0.0, noise=0.0), drawn(1, 1) * 30):
        made = fit_calibration(rows, {})
        told = expected_dice(made, rows[0].evidence)
        assert 0 <= told.low <= told.value <= told.high <= 1
        type(made).from_dict(made.to_dict())


def test_too_few_heads_are_refused():
    with pytest.raises(InputError, match='found a brain in 9 of 9'):
        fit_calibration(drawn(9, 1), {})
    missed = [row._replace(dice=0.2) for row in drawn(40, 1)]  # a mask, but not of the brain
    with pytest.raises(InputError, match='found a brain in 0 of 40'):
        fit_calibration(missed, {})
    with pytest.raises(InputError, match='5 heads'):
        calibrate(load_weights(), 5)


# The command.


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / 'tiny.safetensors'
    save_weights({'coarse': Stage(UNet(TINY), 16)}, {'stages': {}}, path)
    return path


@pytest.fixture
def drawn_for(monkeypatch):
    """No image is made or stripped: evidence is drawn; a list of the groups it was drawn for."""
    groups = []

    def draw(model, group, image, device='auto', threads=None):
        assert model.calibration is None or 'check' in groups
        groups.append(group)
        shape = PHANTOM if group == 'none' else None
        return drawn(1, len(groups), group, shape=shape)[0]

    monkeypatch.setattr(calibration_scores, 'strip_and_score', draw)
    nothing = dict.fromkeys(calibration_scores.MAKERS, lambda recipe, seed: None)
    monkeypatch.setattr(calibration_scores, 'MAKERS', nothing)
    return groups


def test_the_command_stores_what_it_learned(weights, drawn_for, capsys):
    before = load_weights(weights)
    assert main(['calibrate', str(weights), '--heads', '20', '--seed', '5']) == 0
    after = load_weights(weights)
    assert drawn_for == ['head'] * 20 + ['odd'] * 3 + ['none'] * 10
    assert after.calibration.origin['seed'] == 5 and after.calibration.origin['heads'] == 20
    printed = capsys.readouterr()
    assert after.sha256[:16] in printed.out and before.sha256 != after.sha256
    assert '33 of 33 images' in printed.err
    assert main(['info', str(weights)]) == 0
    printed = capsys.readouterr().out
    assert f'below an expected Dice of {after.calibration.dice.flag_below:.2f}' in printed
    assert 'recipe: default' in printed
    # the same images give the same numbers
    assert main(['calibrate', str(weights), '--heads', '20', '--seed', '5', '-q']) == 0
    assert load_weights(weights).sha256 == after.sha256 or len(drawn_for) == 66


def test_a_check_writes_nothing(weights, drawn_for, capsys):
    assert main(['calibrate', str(weights), '--check']) == 1
    assert 'no calibration' in capsys.readouterr().err
    assert main(['calibrate', str(weights), '--heads', '20', '-q']) == 0
    stored = weights.read_bytes()
    drawn_for[:] = ['check']
    capsys.readouterr()
    assert main(['calibrate', str(weights), '--heads', '20', '--check', '-q']) == 0
    heads, odd, none = capsys.readouterr().out.splitlines()
    assert heads.startswith('ordinary heads: 20, a brain was found in 20; Dice in the interval: ')
    assert odd.startswith('odd heads: 3, ')
    assert none == 'images without a brain: 10, a brain was found in 10, 10 of these flagged'
    assert weights.read_bytes() == stored
    assert main(['calibrate', str(weights), '--check', '--seed', '1']) == 1
    assert 'these very images' in capsys.readouterr().err


@pytest.mark.parametrize('words', [['--heads', '3'], ['--seed', '-1']])
def test_bad_wishes_are_one_line(words, weights, capsys):
    assert main(['calibrate', str(weights), *words]) == 1
    assert capsys.readouterr().err.count('\n') == 1


def test_weights_that_are_not_there(tmp_path, capsys):
    assert main(['calibrate', str(tmp_path / 'no' / 'a.safetensors')]) == 1
    assert capsys.readouterr().err.count('\n') == 1
    assert not (tmp_path / 'no').exists()


def test_weights_that_find_no_brains_stay_as_they_are(weights, monkeypatch, small):
    before = weights.read_bytes()
    lost = ScoredMask('head', 'head', None, 0.0)
    monkeypatch.setattr(calibration_scores, 'strip_and_score', lambda *words: lost)
    with pytest.raises(InputError, match='a brain in 0 of 20 made heads'):
        calibrate_file(weights)
    assert weights.read_bytes() == before


def test_a_training_ends_with_it(tmp_path, drawn_for, capsys):
    words = '--steps 2 --stage coarse --coarse-size 16 --widths 2 4 --device cpu --cache-size 2 -q'
    assert train_main([str(tmp_path / 'a'), *words.split(), '--seed', '3']) == 0
    path = tmp_path / 'a' / 'weights.safetensors'
    model = load_weights(path)
    assert model.calibration.origin['seed'] == 3 and len(drawn_for) == 120 + 18 + 60
    assert model.sha256[:16] in capsys.readouterr().out
    assert train_main([str(tmp_path / 'b'), *words.split(), '--no-calibration']) == 0
    assert load_weights(tmp_path / 'b' / 'weights.safetensors').calibration is None


def test_a_mask_is_compared_with_the_border_that_was_drawn(small):
    """One head, stripped in earnest."""
    image = calibration_images.made_head(load_recipe('easy'), 6)
    row = calibration_scores.strip_and_score(load_weights(), 'head', image, 'cpu', 1)
    assert row.kind == 'head' and row.evidence is not None
    assert 0.5 < row.dice <= 1
    assert all(0 <= value <= 1 for value in row.evidence.agreement)
