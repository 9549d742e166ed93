"""Model cards: scores in them, and what is said of a weights file in plain lines."""

import copy

import pytest

from pumba_pipe.common.errors import InputError, WeightsError
from pumba_pipe.network.model_card import declare_real_images, describe, read_scores, write_card
from pumba_pipe.network.weights import default_weights, load_weights, save_weights

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
