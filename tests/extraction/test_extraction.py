"""From a volume to a mask: any orientation, type and field of view."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from pumba_pipe import Volume, extract, load_weights, strip_file
from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.extraction.border import csf_exclusion
from pumba_pipe.extraction.quality import edge_contact
from pumba_pipe.images.masks import dice

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture(scope='module')
def model():
    return load_weights()


@pytest.fixture(scope='module')
def reference(head, model):
    """The extraction every variant is compared with."""
    return extract(Volume(head[0], AFFINE), model)


def test_mask_is_good_on_a_generated_head(head, reference):
    assert dice(reference.mask > 0, head[1] > 0) > 0.9
    assert reference.mask.dtype == np.uint8
    assert set(np.unique(reference.mask)) == {0, 1}
    assert 0 <= reference.probability.min() <= reference.probability.max() <= 1
    quality = reference.quality
    assert 0 <= quality.expected_dice_low <= quality.expected_dice <= quality.expected_dice_high
    assert quality.expected_dice_high <= 1
    assert reference.quality.volume_ml == pytest.approx(reference.mask.sum() * 0.027)


def test_same_image_gives_the_same_mask(head, reference, model):
    again = extract(Volume(head[0], AFFINE), model)
    np.testing.assert_array_equal(again.mask, reference.mask)


@pytest.mark.parametrize('orientation', [
    [[1, 1], [0, -1], [2, 1]],
    [[2, -1], [0, 1], [1, -1]],
])  # fmt: skip
def test_mask_does_not_depend_on_storage_order(head, reference, model, orientation):
    orientation = np.array(orientation, float)
    data = apply_orientation(head[0], orientation)
    affine = AFFINE @ inv_ornt_aff(orientation, head[0].shape)
    found = extract(Volume(np.ascontiguousarray(data), affine), model)
    expected = apply_orientation(reference.mask, orientation)
    np.testing.assert_array_equal(found.mask, expected)


def test_unit_of_intensity_and_offset_do_not_matter(head, reference, model):
    found = extract(Volume(head[0] * 5000 - 1000, AFFINE), model)
    assert dice(found.mask > 0, reference.mask > 0) > 0.999


def test_unit_of_length_does_not_matter(head, reference, model):
    """A marmoset is a small macaque: where the border is the same, only ratios count."""
    marmoset = extract(Volume(head[0], np.diag([0.5, 0.5, 0.5, 1.0])), model)
    macaque = extract(Volume(head[0], np.diag([0.9, 0.9, 0.9, 1.0])), model)
    assert dice(marmoset.mask > 0, macaque.mask > 0) > 0.999


@pytest.mark.parametrize('mm', [0.1, 2.5])
def test_the_border_is_tighter_around_the_smallest_and_the_largest_brains(mm, head, model):
    fine = np.kron(head[0], np.ones((2, 2, 2), np.float32))  # coarse brains are not cut tightly
    found, middle = (
        extract(Volume(fine, np.diag([side, side, side, 1.0])), model).mask > 0
        for side in (mm, 0.5)
    )
    assert 0.8 * middle.sum() < found.sum() < middle.sum()
    assert (found & ~middle).sum() < 0.01 * found.sum()


def test_where_the_border_lies_follows_the_volume():
    fine, coarse = np.ones(3), np.full(3, 6.0)
    found = [csf_exclusion(volume, fine) for volume in (8, 599, 775, 1001, 1500)]
    assert found[:2] == [0, 0] and found[3:] == [1, 1]
    assert found[2] == pytest.approx(0.5, abs=0.01)
    finest = np.full(3, 0.05)
    found = [csf_exclusion(volume, finest) for volume in (0.4, 1.73, 3.1)]
    assert found == [1, pytest.approx(0.5, abs=0.01), 0]
    assert csf_exclusion(1500, coarse) == 0, 'too coarse an image'


def test_which_border_is_taken_can_be_asked_for(head, model):
    assert [csf_exclusion(0.4, np.ones(3), csf) for csf in ('include', 'exclude')] == [0, 1]
    small = Volume(head[0], np.diag([1.0, 1.0, 1.0, 1.0]))
    masks = {
        csf: extract(small, model, csf=csf).mask > 0 for csf in ('auto', 'include', 'exclude')
    }
    assert np.array_equal(masks['auto'], masks['include'])
    assert 0.75 * masks['include'].sum() < masks['exclude'].sum() < masks['include'].sum()
    with pytest.raises(InputError, match="csf 'some': must be auto, include or exclude"):
        extract(small, model, csf='some')


def test_empty_room_around_the_head_changes_little(head, reference, model):
    padded = np.pad(head[0], ((30, 0), (0, 30), (10, 20)))
    found = extract(Volume(padded, AFFINE), model)
    back = found.mask[30:, :64, 10:74]
    assert found.mask.sum() == back.sum()
    assert dice(back > 0, reference.mask > 0) > 0.9


def test_brain_cut_by_the_field_of_view_is_kept_to_the_edge(head, model):
    image, label = head
    middle = int(np.flatnonzero(label.any((1, 2))).mean())
    found = extract(Volume(np.ascontiguousarray(image[middle:]), AFFINE), model)
    edge, expected = found.mask[0] > 0, label[middle] > 0
    assert dice(edge, expected) > 0.75
    assert found.quality.edge_contact > 0.02
    assert any('edge of the field of view' in flag for flag in found.quality.flags)


def test_thick_slices(head, model):
    image, label = head
    thick = image.reshape(64, 64, 16, 4).mean(3)
    found = extract(Volume(thick, np.diag([3.0, 3.0, 12.0, 1.0])), model)
    assert dice(found.mask > 0, label.reshape(64, 64, 16, 4).mean(3) > 0.5) > 0.8


def test_nothing_in_an_almost_empty_image(model):
    data = np.zeros((32, 32, 32), np.float32)
    data[3, 3, 3] = 1
    with pytest.raises(NothingFoundError, match='no brain was found'):
        extract(Volume(data, AFFINE), model)


def write(path: Path, image: nib.spatialimages.SpatialImage) -> Path:
    nib.save(image, path)
    return path


@pytest.mark.parametrize('dtype', [np.uint8, np.int32, np.uint16, np.float64, np.complex64])
def test_data_types(dtype, head, reference, model, tmp_path):
    image = nib.Nifti1Image((head[0] * 250).astype(dtype), AFFINE, dtype=dtype)
    result = extract(write(tmp_path / 'x.nii.gz', image), model)
    assert dice(result.mask > 0, reference.mask > 0) > 0.98


def test_outputs_keep_grid_codes_and_type(head_file, model, tmp_path):
    source = nib.load(head_file)
    source.set_sform(source.affine, code=2)
    shifted = source.affine.copy()
    shifted[:3, 3] = 5
    source.set_qform(shifted, code=1)
    path = write(tmp_path / 'x.nii.gz', source)
    outs = {name: tmp_path / f'{name}.nii.gz' for name in ('brain', 'mask', 'prob', 'sdt')}
    result = strip_file(
        path, outs['brain'], outs['mask'], outs['prob'], outs['sdt'], tmp_path / 'q.json',
        model=model,
    )  # fmt: skip
    for out in map(nib.load, outs.values()):
        assert out.shape == source.shape
        np.testing.assert_allclose(out.get_sform(), source.get_sform(), atol=1e-5)
        np.testing.assert_allclose(out.get_qform(), source.get_qform(), atol=1e-3)
        assert int(out.header['sform_code']) == 2
        assert int(out.header['qform_code']) == 1
    mask = np.asarray(nib.load(outs['mask']).dataobj)
    assert mask.dtype == np.uint8
    brain = nib.load(outs['brain'])
    assert brain.get_data_dtype() == np.int16
    expected = np.asarray(source.dataobj) * mask
    np.testing.assert_array_equal(np.asarray(brain.dataobj), expected)
    distance = nib.load(outs['sdt']).get_fdata()
    assert (distance[mask > 0] < 0).all()
    assert (distance[mask == 0] > 0).all()
    record = json.loads((tmp_path / 'q.json').read_text())
    assert record['expected_dice'] == pytest.approx(result.quality.expected_dice, abs=1e-3)
    assert record['confidence'] == record['expected_dice'], 'its copy for older readers'


def series(head, count=4):
    return np.stack([(head[0] * (500 + 100 * i)).astype(np.int16) for i in range(count)], 3)


def test_series_mean_and_all_volumes_masked(head, reference, model, tmp_path):
    path = write(tmp_path / 'x.nii.gz', nib.Nifti1Image(series(head), AFFINE))
    result = strip_file(path, tmp_path / 'b.nii.gz', model=model)
    assert result.quality.notes == ('4D: mean of 4 of 4 volumes',)
    assert dice(result.mask > 0, reference.mask > 0) > 0.98
    brain = np.asarray(nib.load(tmp_path / 'b.nii.gz').dataobj)
    np.testing.assert_array_equal(brain, series(head) * result.mask[..., None])


def test_border_grows_and_shrinks(head, reference, model):
    wide = extract(Volume(head[0], AFFINE), model, border_mm=4).mask > 0
    narrow = extract(Volume(head[0], AFFINE), model, border_mm=-4).mask > 0
    middle = reference.mask > 0
    assert (wide | middle).sum() == wide.sum() > middle.sum() > narrow.sum()
    assert not (narrow & ~middle).any()


def test_edge_contact_counts_faces_on_the_edge():
    mask = np.zeros((10, 10, 10), bool)
    mask[:4, 3:7, 3:7] = True
    assert edge_contact(mask) == pytest.approx(1 / 6)
    mask = np.zeros((10, 10, 10), bool)
    mask[3:7, 3:7, 3:7] = True
    assert edge_contact(mask) == 0
