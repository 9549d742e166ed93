"""``pumba-strip --picture``: what a person looks at, without a data set in BIDS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumba_pipe.commands.strip import main
from pumba_pipe.common.errors import OutputError
from pumba_pipe.images.drawing import OUTLINE
from pumba_pipe.reports import figures


def words_for(head_file: Path, folder: Path, *words: str) -> list[str]:
    return ['-i', str(head_file), '--picture', str(folder / 'mask.png'), '-t', '1', *words]


def outlined(path: Path) -> int:
    """Pixels in the very colour of the outline."""
    with Image.open(path) as picture:
        assert picture.format == 'PNG'
        pixels = np.asarray(picture.convert('RGB')).astype(int)
    return int((np.abs(pixels - np.array(OUTLINE)).max(-1) < 8).sum())


def test_the_picture_shows_the_outline_and_needs_no_other_output(head_file, tmp_path, capsys):
    assert main(words_for(head_file, tmp_path)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ['mask.png']
    assert outlined(tmp_path / 'mask.png') > 500
    assert 'expected Dice' in capsys.readouterr().out


def test_nothing_is_left_where_the_picture_cannot_be_drawn(head_file, tmp_path, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OutputError('mask.png: no space left')

    monkeypatch.setattr(figures, 'draw_mosaic', full_disk)
    mask = tmp_path / 'mask.nii.gz'
    assert main(words_for(head_file, tmp_path, '-m', str(mask))) == 1
    assert list(tmp_path.iterdir()) == []
    mask.write_bytes(b'of a run before')
    assert main(words_for(head_file, tmp_path, '-m', str(mask))) == 1
    assert mask.read_bytes() == b'of a run before'
    assert list(tmp_path.iterdir()) == [mask]


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('mask.jpg', 'let it end with .png'),
        ('quality.png', 'two outputs are the same file'),
    ],
)
def test_a_picture_that_cannot_be_is_refused_before_any_work(
    name, says, head_file, tmp_path, capsys
):
    words = ['-i', head_file, '-q', tmp_path / 'quality.png', '--picture', tmp_path / name]
    assert main([str(word) for word in words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert list(tmp_path.iterdir()) == []
