"""Outlines, canvases, words."""

import numpy as np
import pytest
from PIL import Image

from pumba_pipe.images.drawing import OUTLINE, Canvas, fitted, outline_of, text_width

GREEN = (0, 200, 100)


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def test_the_outline_runs_along_the_border_of_the_mask():
    rows, columns = np.mgrid[:200, :200]
    away = np.hypot(rows - 100, columns - 100)
    disc = np.clip(0.5 - (away - 60) / 8, 0, 1).astype(np.float32)
    line = outline_of(disc)
    assert np.abs(away[line > 0.5] - 60).max() < 1.5
    assert 1.0 < (line.sum() / (2 * np.pi * 60)) < 2.5


def test_a_canvas_keeps_grey_and_outline_apart(tmp_path):
    canvas = Canvas(40, 10)
    canvas.grey[:] = np.linspace(0, 255, 40).astype(np.uint8)
    canvas.line()[:, 20] = 1
    canvas.save(tmp_path / 'picture.png')
    found = pixels(tmp_path / 'picture.png')
    assert tuple(found[0, 20]) == OUTLINE
    plain = np.delete(found, 20, axis=1)
    assert np.abs(plain[0, :, 0] - np.delete(np.linspace(0, 255, 40), 20)).max() < 3
    assert (plain[..., 0] == plain[..., 2]).all()


def test_lines_of_two_colours_lie_over_the_grey(tmp_path):
    canvas = Canvas(40, 10)
    canvas.grey[:] = np.linspace(0, 255, 40).astype(np.uint8)
    canvas.draw(np.ones((10, 2), np.float32), 20, 0, GREEN, seam=0)
    canvas.draw(np.ones((10, 1), np.float32), 21, 0, seam=0)
    canvas.draw(np.full((10, 1), 0.5, np.float32), 38, 0, GREEN, seam=0)
    canvas.save(tmp_path / 'picture.png')
    found = pixels(tmp_path / 'picture.png')
    assert tuple(found[0, 20]) == GREEN
    assert tuple(found[0, 21]) == OUTLINE, 'later colours lie on top'
    np.testing.assert_allclose(found[0, 38], np.array(GREEN) / 2, atol=1)  # on its own shadow
    others = np.delete(found, [20, 21, 38], axis=1)
    assert (others == others[..., :1]).all()


def test_words_may_have_the_colour_of_a_line(tmp_path):
    canvas = Canvas(200, 30)
    canvas.write('reference', 4, 4, 14, colour=GREEN)
    canvas.write('found', 100, 4, 14)
    canvas.save(tmp_path / 'picture.png')
    found = pixels(tmp_path / 'picture.png')
    assert (np.abs(found[:, :95] - GREEN).max(-1) < 20).any()
    assert (found[:, 100:].min(-1) > 200).any()


@pytest.mark.parametrize('room', [0, 30, 200])
def test_words_are_cut_to_their_room(room):
    words = 'a case with a long name: Dice 0.912, HD95 3.4 mm'
    cut = fitted(words, 14, room)
    assert cut.endswith('…') and words.startswith(cut[:-1])
    assert text_width(cut, 14) <= max(room, text_width('…', 14))
    assert fitted(words, 14, 1000) == words
