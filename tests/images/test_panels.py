"""Planes of images with outlines."""

import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pumba_pipe.common.errors import OutputError
from pumba_pipe.images.panels import (
    FOUND_COLOUR,
    REFERENCE_COLOUR,
    busiest_slice,
    draw_grid,
    planes,
)

RED, GREEN = (255, 0, 0), (0, 128, 0)
AFFINE = np.diag([1.0, 2.0, 4.0, 1.0])


def blob() -> np.ndarray:
    mask = np.zeros((20, 16, 12), np.uint8)
    mask[4:9, 3:12, 5:8] = 1
    return mask


def test_panels_have_the_shape_of_the_body():
    sides, front, top = planes(blob().astype(float), [(blob(), RED)], AFFINE)
    assert sides.image.shape == (12, 16) and sides.aspect == pytest.approx(2)
    assert front.image.shape == (12, 20) and front.aspect == pytest.approx(4)
    assert top.image.shape == (16, 20) and top.aspect == pytest.approx(2)


def test_panels_do_not_depend_on_how_the_image_is_stored():
    image = np.random.default_rng(0).random((20, 16, 12))
    expected = planes(image, [(blob(), RED)], AFFINE)
    for code in ('LPS', 'SAR', 'PIL'):
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt('RAS'), nib.orientations.axcodes2ornt(code)
        )
        stored = nib.Nifti1Image(image, AFFINE).as_reoriented(turn)
        mask = nib.Nifti1Image(blob(), AFFINE).as_reoriented(turn)
        found = planes(stored.get_fdata(), [(np.asarray(mask.dataobj), RED)], stored.affine)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.image, other.image)
            assert np.array_equal(one.outlines[0].mask, other.outlines[0].mask)
            assert one.aspect == pytest.approx(other.aspect)


def test_two_masks_are_shown_where_they_differ():
    found = blob()
    found[15:18, 13:15, 10] = 1
    panels = planes(blob().astype(float), [(blob(), GREEN), (found, RED)], AFFINE)
    for panel in panels:
        reference, other = (outline.mask for outline in panel.outlines)
        assert other.sum() > reference.sum()
    assert [outline.colour for outline in panels[0].outlines] == [GREEN, RED]


def test_equal_masks_are_shown_where_they_are_largest():
    panels = planes(blob().astype(float), [(blob(), GREEN), (blob(), RED)], AFFINE)
    assert [int(panel.outlines[0].mask.sum()) for panel in panels] == [27, 15, 45]


def test_busiest_slice():
    assert [busiest_slice(blob() > 0, axis) for axis in range(3)] == [6, 7, 6]
    assert busiest_slice(np.zeros((7, 3, 3), bool), 0) == 3


def test_a_blank_image_and_an_empty_mask_are_drawn(tmp_path):
    nothing = np.zeros((8, 8, 8))
    panels = planes(nothing, [(nothing, RED), (nothing + 1, GREEN)], np.eye(4))
    draw_grid(tmp_path / 'picture.png', [panels, panels], ['one', 'two'], [('found', RED)])
    draw_grid(tmp_path / 'same.png', [panels, panels], ['one', 'two'], [('found', RED)])
    content = (tmp_path / 'picture.png').read_bytes()
    assert content.startswith(b'\x89PNG') and content == (tmp_path / 'same.png').read_bytes()


def colours(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def test_a_picture_shows_outlines_titles_and_what_they_are(tmp_path):
    found = np.roll(blob(), 2, axis=0)
    outlines = [(blob(), REFERENCE_COLOUR), (found, FOUND_COLOUR)]
    panels = planes(np.full(blob().shape, 0.5), outlines, AFFINE)
    legend = [('reference', REFERENCE_COLOUR), ('found', FOUND_COLOUR)]
    draw_grid(tmp_path / 'p.png', [panels, panels], ['first', 'second'], legend)
    picture = colours(tmp_path / 'p.png')
    blue = picture[..., 2] - picture[..., 0] > 100
    yellow = picture[..., 0] - picture[..., 2] > 100
    assert blue[:26].any() and yellow[:26].any(), 'the legend'
    assert blue[26:].sum() > 500 and yellow[26:].sum() > 500
    draw_grid(tmp_path / 'untitled.png', [panels, panels], ['', ''], legend)
    words = np.abs(picture - colours(tmp_path / 'untitled.png')).sum((1, 2)) > 0
    assert (np.diff(np.flatnonzero(words)) > 20).sum() == 1, 'two lines of words, far apart'


def test_a_long_title_ends_before_the_next(tmp_path):
    panels = planes(blob().astype(float), [(blob(), RED)], AFFINE)
    pictures = []
    for name in ('a long title ' * 30, 'a long title ' * 90):
        draw_grid(tmp_path / 'p.png', [panels], [name, 'b', name], titled=1)
        pictures.append(colours(tmp_path / 'p.png'))
    assert np.array_equal(*pictures)


def test_panels_keep_the_shape_of_the_body(tmp_path):
    """A square of 40 mm, of voxels of 1 x 4 mm."""
    mask = np.zeros((80, 8, 20), np.uint8)
    mask[20:60, :, 5:15] = 1
    front = planes(mask.astype(float), [(mask, RED)], np.diag([1.0, 1.0, 4.0, 1.0]))[1]
    draw_grid(tmp_path / 'p.png', [[front]], [''])
    picture = colours(tmp_path / 'p.png')
    red = np.argwhere(picture[..., 0] - picture[..., 2] > 100)
    height, width = np.ptp(red, axis=0)
    assert width == pytest.approx(height, abs=4) and width > 100


def test_pictures_need_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    panels = planes(blob().astype(float), [(blob(), RED)], AFFINE)
    draw_grid(tmp_path / 'p.png', [panels], ['a'])
    assert (tmp_path / 'p.png').exists()


def test_rows_may_be_short(tmp_path):
    panels = planes(blob().astype(float), [(blob(), RED)], AFFINE)
    draw_grid(tmp_path / 'p.png', [panels, panels[:1]], list('abcd'), titled=1)
    assert (tmp_path / 'p.png').stat().st_size > 1000


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    panels = planes(blob().astype(float), [(blob(), RED)], AFFINE)
    with pytest.raises(OutputError):
        draw_grid(tmp_path / 'file' / 'p.png', [panels], ['a'])
