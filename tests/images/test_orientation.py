"""Axes in one order, however an image is stored."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.images.orientation import (
    canonical_axes,
    in_memory_order,
    oriented,
    oriented_affine,
    oriented_sizes,
    restored,
)

SIZES = np.array([1.0, 2.0, 4.0])
AFFINE = np.diag([*SIZES, 1.0])
CODES = [
    ''.join(ends)
    for order in itertools.permutations(('RL', 'AP', 'SI'))
    for ends in itertools.product(*order)
]


@pytest.mark.parametrize('code', CODES)
def test_every_order_of_axes_is_brought_into_one_and_back(code):
    data = np.arange(60).reshape(3, 4, 5)
    turn = nib.orientations.axcodes2ornt(code)
    stored = nib.Nifti1Image(data.astype(np.int16), AFFINE).as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt('RAS'), turn)
    )
    values = np.asarray(stored.dataobj)
    assert nib.aff2axcodes(stored.affine) == tuple(code)
    axes = canonical_axes(stored.affine)
    found = oriented(values, axes)
    np.testing.assert_array_equal(found, data)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(restored(found, axes), values)
    sizes = nib.affines.voxel_sizes(stored.affine)
    np.testing.assert_allclose(oriented_sizes(sizes, axes), SIZES)
    np.testing.assert_allclose(oriented_affine(stored.affine, axes, stored.shape), AFFINE)


def test_oblique_axes_are_brought_to_the_nearest():
    cosine, sine = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:2, :2] = [[sine, -cosine], [cosine, sine]]
    data = np.arange(24).reshape(2, 3, 4)
    found = oriented(data, canonical_axes(affine))
    np.testing.assert_array_equal(found, data.transpose(1, 0, 2)[::-1])


def test_arrays_are_turned_to_the_order_in_which_the_first_lies_in_memory():
    first = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))[::-1]
    second = np.arange(24).reshape(2, 3, 4)
    turned, other = in_memory_order(first, second)
    assert turned.shape == other.shape == (4, 3, 2)
    np.testing.assert_array_equal(turned, first.T)
    np.testing.assert_array_equal(other, second.T)
    assert abs(turned.strides[2]) == 8
