"""Blank planes at the edges of an image."""

from dataclasses import replace

import numpy as np
import pytest

from pumba_pipe import extract, load_volume
from pumba_pipe.common.errors import NothingFoundError
from pumba_pipe.images.field_of_view import content_block
from pumba_pipe.images.masks import dice


def padded(volume, before, after, value=0.0):
    """The same image with planes of one value around it."""
    data = np.pad(volume.data, list(zip(before, after, strict=True)), constant_values=value)
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(before)
    return replace(volume, data=data.astype(np.float32), affine=affine)


def test_planes_of_one_value_at_the_edges_are_left_out():
    image = np.zeros((8, 9, 10), np.float32)
    image[2:5, 3:6, 4:8] = np.arange(4)
    assert content_block(image) == (slice(2, 5), slice(3, 6), slice(5, 8))
    assert content_block(image + 7) == content_block(image)
    image[0, 0, 0] = image[-1, -1, -1] = 1
    image[4] = 5.0
    assert content_block(image) == (slice(0, 8), slice(0, 9), slice(0, 10)), 'none is at the edge'


def test_an_image_with_next_to_no_content_is_left_whole():
    image = np.full((3, 4, 5), 2.0, np.float32)
    whole = (slice(0, 3), slice(0, 4), slice(0, 5))
    assert content_block(image) == whole
    image[:, 1:3] = np.arange(5)
    assert content_block(image) == whole, 'two planes are no volume'


@pytest.mark.parametrize('value', [0.0, -3.0])
def test_padding_changes_neither_mask_nor_record(head_file, value):
    volume = load_volume(head_file)
    plain = extract(volume)
    wide = extract(padded(volume, (5, 0, 31), (2, 9, 0), value))
    inner = tuple(slice(b, b + n) for b, n in zip((5, 0, 31), volume.data.shape, strict=True))
    assert wide.mask[inner].sum() == wide.mask.sum()
    assert dice(wide.mask[inner] > 0, plain.mask > 0) > 0.999
    assert wide.quality.edge_contact == pytest.approx(plain.quality.edge_contact, abs=1e-3)
    assert wide.quality.expected_dice == pytest.approx(plain.quality.expected_dice, abs=0.01)


def test_a_padded_slab_ends_where_its_slices_end(head_file):
    volume = load_volume(head_file)
    low = int(np.argwhere(extract(volume).mask)[:, 2].mean())
    slab = replace(volume, data=np.ascontiguousarray(volume.data[:, :, low - 5 : low + 5]))
    result = extract(padded(slab, (0, 0, 6), (0, 0, 6)))
    assert not result.mask[:, :, :6].any() and not result.mask[:, :, -6:].any()
    assert result.quality.edge_contact > 0.02
    assert 'the brain touches the edge of the field of view' in result.quality.flags


@pytest.mark.parametrize('planes', [slice(20, 21), slice(20, 22)])
def test_hardly_any_content(head_file, planes):
    volume = load_volume(head_file)
    data = np.zeros((40, 40, 40), np.float32)
    data[planes, 10:12, 20] = 50.0
    with pytest.raises(NothingFoundError):
        extract(replace(volume, data=data))
