"""Masks: files, grids, components, borders."""

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.masks import (
    check_grid,
    clean,
    dice,
    filled,
    load_mask,
    moved_border,
    signed_distance,
)


def save(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def blob():
    mask = np.zeros((12, 13, 14), bool)
    mask[5:8, 5:8, 5:8] = True
    return mask


def test_masks_of_any_type(tmp_path):
    for dtype in (np.uint8, np.float32, np.int16):
        path = save(tmp_path / 'mask.nii.gz', blob().astype(dtype)[..., None])
        mask, affine = load_mask(path)
        assert mask.dtype == bool and np.array_equal(mask, blob())
        assert np.array_equal(affine, np.eye(4))


def test_a_mask_that_cannot_be_read(tmp_path):
    broken = tmp_path / 'mask.nii.gz'
    broken.write_bytes(b'not an image')
    series = save(tmp_path / 'series.nii.gz', np.zeros((4, 4, 4, 2), np.uint8))
    for path in (broken, tmp_path / 'missing.nii.gz', series):
        with pytest.raises(InputError, match=path.name):
            load_mask(path)


def test_what_is_not_a_number_is_outside(tmp_path):
    data = blob().astype(np.float32)
    data[0] = np.nan
    assert np.array_equal(load_mask(save(tmp_path / 'mask.nii.gz', data))[0], blob())


def test_a_colour_image_is_no_mask(tmp_path):
    colours = np.zeros((4, 4, 4), [('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    path = save(tmp_path / 'mask.nii.gz', colours)
    with pytest.raises(InputError, match=r'mask\.nii\.gz: is a colour \(RGB\) image, not a mask'):
        load_mask(path)


def test_overlap():
    none = np.zeros((12, 13, 14), bool)
    assert dice(blob(), blob()) == dice(none, none) == 1
    assert dice(none, ~none) == 0
    half = blob()
    half[5] = False
    assert dice(half, blob()) == pytest.approx(2 * 18 / (18 + 27))


def test_grids_that_differ(tmp_path):
    path, affine = tmp_path / 'mask.nii.gz', np.diag([2.0, 2, 2, 1])
    check_grid(path, (8, 8, 8), affine, (8, 8, 8), affine + 1e-4)
    with pytest.raises(InputError, match=r'mask\.nii\.gz.*\(8, 8, 9\)'):
        check_grid(path, (8, 8, 9), affine, (8, 8, 8), affine)
    moved = affine.copy()
    moved[0, 3] = 6
    with pytest.raises(InputError, match=r'3\.0 voxels'):
        check_grid(path, (8, 8, 8), moved, (8, 8, 8), affine)
    with pytest.raises(InputError, match='voxels away'):
        check_grid(path, (8, 8, 8), np.diag([-2.0, 2, 2, 1]), (8, 8, 8), affine)


def test_largest_component_and_holes():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:10, 2:10, 2:10] = True
    mask[5, 5, 5] = False
    mask[15:17, 15:17, 15:17] = True
    result, count, share = clean(mask)
    assert count == 2
    assert result.sum() == 512
    assert share == pytest.approx(511 / 519)
    assert not filled(np.zeros((4, 4, 4), bool)).any()


def brute_force(mask, voxel_size):
    """Signed distance by its definition: from every centre to every voxel of the other kind."""
    core = (voxel_size - voxel_size.min()) / 2
    places = np.argwhere(np.ones(mask.shape, bool))
    expected = np.zeros(mask.shape)
    for inside, sign in ((True, -1), (False, 1)):
        others = np.argwhere(mask != inside)
        for place in places[mask.ravel() == inside]:
            away = np.maximum(np.abs(others - place) * voxel_size - core, 0)
            nearest = np.sqrt((away**2).sum(1).min())
            expected[tuple(place)] = sign * (nearest - voxel_size.min() / 2)
    return expected


@pytest.mark.parametrize(
    'voxel_size', [(1, 1, 1), (0.7, 0.7, 0.7), (1, 1, 5), (5, 1, 1), (1, 1.2, 4), (3, 0.8, 2.9)]
)
def test_signed_distance_by_its_definition(voxel_size):
    rng = np.random.default_rng(0)
    mask = np.zeros((9, 10, 11), bool)
    mask[2:7, 3:8, 2:9] = True
    mask ^= rng.random(mask.shape) < 0.03
    sides = np.array(voxel_size, float)
    found = signed_distance(mask, sides)
    np.testing.assert_allclose(found, brute_force(mask, sides), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('voxel_size', [(1, 1, 5), (2, 1, 0.5), (1, 1, 1)])
def test_the_surface_lies_on_the_faces_of_voxels(axis, voxel_size):
    sides = np.array(voxel_size, float)
    mask = np.zeros((12, 12, 12), bool)
    np.moveaxis(mask, axis, 0)[4:8] = True
    along = np.moveaxis(signed_distance(mask, sides), axis, 0)[:, 6, 6]
    centres = (np.arange(12) + 0.5) * sides[axis]
    faces = np.array([4, 8]) * sides[axis]
    expected = np.maximum(faces[0] - centres, centres - faces[1])
    np.testing.assert_allclose(along, expected, atol=1e-6)


def test_cubes_keep_the_distances_of_earlier_versions():
    """Distance to the nearest centre of a voxel of the other kind, less half a voxel."""
    from scipy import ndimage

    mask = np.random.default_rng(0).random((20, 20, 20)) < 0.5
    inside, outside = (
        ndimage.distance_transform_edt(m, sampling=[0.9] * 3) for m in (mask, ~mask)
    )
    expected = np.where(mask, 0.45 - inside, outside - 0.45).astype(np.float32)
    np.testing.assert_array_equal(signed_distance(mask, np.full(3, 0.9)), expected)
    nearly = signed_distance(mask, np.array([0.9, 0.90001, 0.89999]))
    np.testing.assert_allclose(nearly, expected, atol=1e-3)


def test_a_border_moves_as_far_along_thick_slices_as_within_them():
    mask = np.zeros((30, 30, 12), bool)
    mask[8:22, 8:22, 4:8] = True
    thick = np.array([1.0, 1.0, 5.0])

    def extent(border):
        moved = moved_border(mask, thick, border)
        return [int(n) for n in (moved.any((1, 2)).sum(), moved.any((0, 1)).sum())]

    assert extent(0) == [14, 4]
    assert extent(2) == [18, 4], 'the next slice has its centre 2.5 mm away'
    assert extent(3) == [20, 6]
    assert extent(-2) == [10, 4]
    assert extent(-3) == [8, 2], 'the centres of the end slices lie 2.5 mm below the surface'
    assert extent(7.5) == [28, 6], 'a centre at the very distance is outside, as in SynthStrip'
    assert extent(7.6) == [30, 8]


def test_a_border_in_cubes():
    mask = np.zeros((30, 30, 30), bool)
    mask[10:20] = True
    grown = moved_border(mask, np.array([2.0, 2.0, 2.0]), 4.0)
    assert grown[8].all() and not grown[7].any()


def test_a_mask_that_fills_the_image_is_not_shrunk():
    mask = np.ones((6, 7, 8), bool)
    for thick in (1.0, 4.0):
        assert moved_border(mask, np.array([1.0, 1.0, thick]), -2.0).all()
