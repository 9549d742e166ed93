"""Model cards: scores and runs in them, and what is said of a weights file in plain lines."""

import copy
import shutil

import pytest

from pumba_pipe.common.errors import InputError, WeightsError
from pumba_pipe.common.weights_file import SHIPPED
from pumba_pipe.network.model_card import (
    SYNTHETIC_STATEMENT,
    declare_real_images,
    describe,
    markdown,
    read_scores,
    real_images,
    training_card,
    write_card,
)
from pumba_pipe.network.weights import default_weights, load_weights, save_weights
from pumba_pipe.synthesis.recipe import load_recipe

RUN = {
    'size': 64, 'parameters': 1000, 'steps': 30, 'samples': 60, 'seconds': 90, 'seed': 9,
    'hardware': '1 x CPU', 'initial': 'random values',
}  # fmt: skip
HEADER = 'case\tspecies\tmodality\tdice\thd95_mm\n'


@pytest.fixture
def scores(tmp_path):
    """A case that was found, one in which nothing overlaps, one that failed."""
    path = tmp_path / 'scores.tsv'
    rows = 'a\thuman\tT1w\t0.9000\t3.000\nb\thuman\tT1w\t0.0000\tn/a\nc\trat\tT2w\tn/a\tn/a\n'
    path.write_text(HEADER + rows, encoding='utf-8')
    return path


def test_a_mask_without_overlap_has_a_dice_and_no_distance(scores, tmp_path):
    card = tmp_path / 'card.md'
    write_card(default_weights(), scores, card)
    text = card.read_text('utf-8')
    assert '| human | T1w | 2 | 0.450 | 0.000 | 3.0 |' in text
    assert 'a 0.900, b 0.000.' in text and '| rat |' not in text
    scores.write_text(HEADER + 'b\thuman\tT1w\t0.0000\tn/a\n', encoding='utf-8')
    write_card(default_weights(), scores, card)
    assert '| human | T1w | 1 | 0.000 | 0.000 | n/a |' in card.read_text('utf-8')


def test_only_the_card_of_the_shipped_weights_calls_them_so(tmp_path):
    own = tmp_path / 'own.safetensors'
    shutil.copy(SHIPPED, own)
    for weights, title in ((SHIPPED, 'the shipped weights'), (own, 'own.safetensors')):
        write_card(weights, None, tmp_path / 'card.md')
        assert (tmp_path / 'card.md').read_text('utf-8').startswith(f'# Model card: {title}\n')


def test_teachers_are_named():
    text = markdown(load_weights().card, 'ab' * 32, 1, [], 'own')
    assert 'taught by weights with sha256 `3b552a66`, 0.65 of the target' in text


def test_another_table_is_refused(scores):
    scores.write_text('participant_id\tspecies\nsub-01\thuman\n', encoding='utf-8')
    with pytest.raises(InputError, match=r'is not a scores\.tsv of pumba-evaluate.* case, modal'):
        read_scores(scores)


def test_weights_that_do_not_say_how_they_were_made(tmp_path):
    model, path = load_weights(), tmp_path / 'bare.safetensors'
    save_weights({'fine': model.fine}, {}, path)
    with pytest.raises(WeightsError, match=r"bare\.safetensors: .*lacks 'training_data'"):
        write_card(path, None, tmp_path / 'card.md')
    assert not (tmp_path / 'card.md').exists()
    assert describe(path)[0] == f'file: {path}' and 'stage' not in ' '.join(describe(path)[3:])


def test_weights_in_plain_lines(tmp_path, monkeypatch):
    monkeypatch.delenv('PUMBA_WEIGHTS', raising=False)
    model = load_weights()
    lines = describe()
    assert f'sha256: {model.sha256}' in lines and f'recipe: {model.card["recipe"]}' in lines
    assert f'training data: {model.card["training_data"]}' in lines
    assert f'  steps: {model.card["stages"]["fine"]["steps"]}' in lines
    assert not any('{' in line or 'real images, by' in line for line in lines)
    card = declare_real_images(copy.deepcopy(model.card), ['0123456789abcdef'])
    marked = tmp_path / 'marked.safetensors'
    save_weights({'fine': model.fine}, card, marked)
    text = '\n'.join(describe(marked))
    assert '0123456789abcdef' in text and 'FINE-TUNED ON REAL IMAGES: 1 ' in text


@pytest.fixture
def card():
    stages = {'coarse': {**RUN, 'steps': 40, 'seed': 8, 'before': RUN}, 'fine': RUN}
    return training_card(load_recipe(), 8, stages)


def rows(text, word):
    return [line for line in text.splitlines() if line.startswith(f'| {word}')]


def test_a_stage_has_a_row_after_the_rows_of_the_runs_before(card):
    text = markdown(card, 'abc', 1, [], 'own')
    assert [row.split(' | ')[0] for row in rows(text, 'coarse')] == [
        '| coarse, before', '| coarse',
    ]  # fmt: skip
    before, last = (row.split(' | ') for row in rows(text, 'coarse'))
    assert (before[4], before[5], last[4], last[5]) == ('9', '30', '8', '40')
    assert len(rows(text, 'fine')) == 1
    assert '`abc`' in text and load_recipe().digest in text


def test_a_card_says_whether_real_images_took_part(card):
    assert card['training_data'] == SYNTHETIC_STATEMENT
    assert real_images(card) == []
    marked = declare_real_images(card, ['b', 'a', 'b'])
    assert real_images(marked) == ['a', 'b']
    assert 'FINE-TUNED ON REAL IMAGES: 2 ' in markdown(marked, 'abc', 1, [], 'own')
    assert real_images(card) == [], 'the first card stays as it is'
    assert declare_real_images(card, []) == card


SECTIONS = (
    'Model details', 'Intended use', 'Factors', 'Metrics', 'Training data', 'Training',
    'Evaluation data', 'Scores on real scans', 'Ethical considerations', 'Limits',
)  # fmt: skip


def sections(text):
    return [line[3:] for line in text.splitlines() if line.startswith('## ')]


def test_a_card_has_the_sections_of_the_common_form(card, scores):
    assert sections(markdown(card, 'abc', 1, read_scores(scores), 'own')) == list(SECTIONS)
    bare = markdown(card, 'abc', 1, [], 'own')
    assert sections(bare) == [name for name in SECTIONS if not name.startswith('Scores')]
    assert 'how accurate these weights are is unknown' in bare
    assert sections(SHIPPED.with_suffix('.md').read_text('utf-8')) == list(SECTIONS)


def test_the_shipped_card_is_what_the_shipped_weights_give():
    model, page = load_weights(SHIPPED), SHIPPED.with_suffix('.md').read_text('utf-8')
    without = page[: page.index('## Evaluation data')] + page[page.index('## Ethical') :]
    made = markdown(model.card, model.sha256, SHIPPED.stat().st_size, [], 'the shipped weights')
    assert without == made[: made.index('## Evaluation data')] + made[made.index('## Ethical') :]


def test_time_of_all_runs_is_told_by_hardware_and_energy_is_unknown(card):
    # coarse 90 s and before it 90 s, fine 90 s
    assert '**Time:** 4 minutes on 1 x CPU, all runs' in markdown(card, 'abc', 1, [], 'own')
    card['stages']['fine'] = {**RUN, 'hardware': '1 x GPU', 'seconds': 9000}
    text = markdown(card, 'abc', 1, [], 'own')
    assert '3 minutes on 1 x CPU, 2.5 hours on 1 x GPU, all runs' in text
    assert '**Energy and emissions:** not measured, unknown' in text


def test_what_is_said_of_privacy_depends_on_real_images(card):
    assert 'No image of a person' in markdown(card, 'abc', 1, [], 'own')
    marked = markdown(declare_real_images(card, ['b']), 'abc', 1, [], 'own')
    assert 'No image of a person' not in marked
    assert 'something of them may be found in the weights' in marked
