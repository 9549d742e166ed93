"""Scores of masks with known overlap and distances, and their tables."""

import math

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import as_text
from pumba_pipe.evaluation.cases import chosen_cases, find_bids_cases, find_cases
from pumba_pipe.evaluation.metrics import (
    SCORE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseScore,
    Overlap,
    compare,
    species_group,
    summarize,
    surface_distances,
)

ANISOTROPIC = (2.0, 1.0, 0.5)


def rod(start: int, stop: int) -> np.ndarray:
    """A row of voxels along the first axis."""
    mask = np.zeros((48, 12, 12), bool)
    mask[start:stop, 6, 6] = True
    return mask


def cube(*low: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((32, 32, 32), bool)
    mask[tuple(slice(first, first + side) for first in low)] = True
    return mask


def ball(radius_mm: float, voxel_size=ANISOTROPIC) -> np.ndarray:
    """A ball in the middle of 60 x 60 x 60 mm."""
    axes = [(np.arange(round(60 / v)) + 0.5) * v - 30 for v in voxel_size]
    grid = np.meshgrid(*axes, indexing='ij')
    return sum(axis**2 for axis in grid) <= radius_mm**2


def save(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


class TestCompare:
    def test_equal_masks(self):
        overlap = compare(cube(5, 5, 5), cube(5, 5, 5), ANISOTROPIC)
        assert overlap == Overlap(1.0, 0.0, 0.0, 1.0, 1.0, 1.0)

    def test_offset_cubes(self):
        overlap = compare(cube(5, 5, 5), cube(8, 5, 5), (1, 1, 1))
        assert overlap.dice == pytest.approx(0.7)
        assert overlap.sensitivity == pytest.approx(0.7)
        assert overlap.specificity == pytest.approx(1 - 300 / (32**3 - 1000))
        assert overlap.volume_ratio == 1
        assert overlap.hd95_mm == pytest.approx(3)

    def test_offset_rods_have_distances_to_count(self):
        # Five voxels of each rod stick out: 5, 4, 3, 2, 1 voxels from the other; 15 touch it.
        overlap = compare(rod(10, 30), rod(15, 35), ANISOTROPIC)
        assert overlap.dice == pytest.approx(0.75)
        assert overlap.assd_mm == pytest.approx(2.0 * 15 / 20)
        assert overlap.hd95_mm == pytest.approx(2.0 * 4.05)

    @pytest.mark.parametrize(('axis', 'expected'), [(0, 6.0), (1, 3.0), (2, 1.5)])
    def test_distances_are_in_mm_along_each_axis(self, axis, expected):
        first, second = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
        first[5, 5, 5] = True
        second[tuple(5 + 3 * (a == axis) for a in range(3))] = True
        overlap = compare(first, second, ANISOTROPIC)
        assert overlap.dice == 0 and overlap.sensitivity == 0
        assert overlap.hd95_mm == pytest.approx(expected)
        assert overlap.assd_mm == pytest.approx(expected)

    def test_balls_of_two_sizes(self):
        overlap = compare(ball(22), ball(18), ANISOTROPIC)
        small, large = 18**3, 22**3
        assert overlap.dice == pytest.approx(2 * small / (small + large), abs=0.01)
        assert overlap.volume_ratio == pytest.approx(large / small, rel=0.01)
        assert overlap.sensitivity == 1
        assert overlap.assd_mm == pytest.approx(4, abs=0.4)
        assert overlap.hd95_mm == pytest.approx(4, abs=1)

    def test_one_far_voxel_in_one_direction_is_not_averaged_away(self):
        found = cube(5, 5, 5, side=3)
        found[5:30, 20, 20] = True
        overlap = compare(found, cube(5, 5, 5, side=3), (1, 1, 1))
        reverse = compare(cube(5, 5, 5, side=3), found, (1, 1, 1))
        assert overlap.hd95_mm == reverse.hd95_mm > 25
        assert overlap.assd_mm == pytest.approx(reverse.assd_mm)

    def test_empty_found_mask_scores_zero_without_distances(self):
        overlap = compare(np.zeros((32, 32, 32)), cube(5, 5, 5), (1, 1, 1))
        assert overlap.dice == 0 and overlap.specificity == 1 and overlap.volume_ratio == 0
        assert math.isnan(overlap.hd95_mm) and math.isnan(overlap.assd_mm)

    def test_mask_that_fills_the_image(self):
        overlap = compare(np.ones((32, 32, 32)), cube(11, 11, 11), (1, 1, 1))
        assert overlap.specificity == 0 and overlap.sensitivity == 1
        assert overlap.hd95_mm > 11

    def test_what_cannot_be_compared(self):
        with pytest.raises(InputError, match='empty'):
            compare(cube(5, 5, 5), np.zeros((32, 32, 32)), (1, 1, 1))
        with pytest.raises(InputError, match='32'):
            compare(cube(5, 5, 5), np.ones((3, 3, 3)), (1, 1, 1))


def test_distances_agree_with_all_pairs_of_surface_voxels():
    rng = np.random.default_rng(0)
    first, second = (rng.random((12, 11, 10)) > 0.6 for _ in range(2))
    first[:, :4], second[8:] = False, False

    def surface_points(mask):
        padded = np.pad(mask, 1)
        whole = padded.copy()
        for axis in range(3):
            for step in (-1, 1):
                whole &= np.roll(padded, step, axis)
        return np.argwhere(padded & ~whole) * np.array(ANISOTROPIC)

    pairs = np.linalg.norm(surface_points(first)[:, None] - surface_points(second)[None], axis=-1)
    forward, backward = surface_distances(first, second, ANISOTROPIC)
    np.testing.assert_allclose(np.sort(forward), np.sort(pairs.min(1)), rtol=1e-6)
    np.testing.assert_allclose(np.sort(backward), np.sort(pairs.min(0)), rtol=1e-6)


@pytest.mark.parametrize(
    ('species', 'group'),
    [
        ('human', 'human'),
        ('human (child)', 'human'),
        ('Homo sapiens', 'human'),
        ('chimpanzee', 'monkey and ape'),
        ('great apes (mixed)', 'monkey and ape'),
        ('macaque/old-world monkey', 'monkey and ape'),
        ('marmoset', 'monkey and ape'),
        ('mouse', 'rodent'),
        ('Rattus norvegicus', 'rodent'),
        ('rat', 'rodent'),
        ('ferret', 'other'),
        ('synthetic', 'other'),
    ],
)
def test_species_belong_to_groups(species, group):
    assert species_group(species) == group


class TestTables:
    def score(self, case, species, dice, hd95=1.0, modality='T1w'):
        return CaseScore(case, species, modality, Overlap(dice, hd95, 0.5, 0.9, 0.99, 1.1))

    def test_columns(self):
        assert (
            *('case', 'species', 'modality', 'dice', 'hd95_mm', 'assd_mm', 'sensitivity'),
            *('specificity', 'volume_ratio', 'expected_dice', 'expected_dice_low'),
            *('expected_dice_high', 'seconds', 'peak_mb', 'flagged'),
        ) == SCORE_COLUMNS

    def test_a_row_has_a_cell_for_every_column(self):
        row = self.score('a', 'human', 0.91234, 2.34567).cells()
        assert len(row) == len(SCORE_COLUMNS)
        assert row[3:6] == ['0.9123', '2.346', '0.500']
        assert row[-6:] == ['n/a'] * 6
        failed = CaseScore('b', 'human', 'T1w', failed=True).cells()
        assert failed == ['b', 'human', 'T1w', *['n/a'] * 12]

    def test_summary_of_all_of_groups_and_of_species(self):
        scores = [
            self.score('a', 'human', 0.9, 1.0),
            self.score('b', 'human (child)', 0.8, 3.0),
            self.score('c', 'human', 0.95, math.nan, 'T2w'),
            self.score('d', 'rat', 0.7, 2.0),
            CaseScore('e', 'rat', 'T1w', failed=True),
        ]
        rows = [dict(zip(SUMMARY_COLUMNS, row, strict=True)) for row in summarize(scores)]
        by_name = {(row['level'], row['species'], row['modality']): row for row in rows}
        everything = by_name['all', 'all', 'all']
        assert (everything['n'], everything['failed']) == ('4', '1')
        assert everything['median_dice'] == '0.8500'
        human = by_name['group', 'human', 'all']
        assert (human['n'], human['median_dice'], human['min_dice']) == ('3', '0.9000', '0.8000')
        assert human['median_hd95_mm'] == '2.000'
        assert by_name['group', 'rodent', 'all']['failed'] == '1'
        assert by_name['species', 'human', 'T2w']['median_hd95_mm'] == 'n/a'
        assert ('group', 'monkey and ape', 'all') not in by_name

    def test_text_has_straight_columns(self):
        lines = as_text(['a', 'b'], [['long', '1'], ['x', '2']]).splitlines()
        assert [line.index(last) for line, last in zip(lines, 'b12', strict=True)] == [6, 6, 6]


class TestFiles:
    def test_cases_of_a_folder(self, tmp_path):
        image = np.zeros((4, 4, 4), np.uint8)
        for name in ('rat_T2w_a', 'human_FLAIR_b', 'plain'):
            save(tmp_path / name / 'image.nii.gz', image)
        save(tmp_path / 'rat_T2w_a' / 'mask.nii.gz', image)
        (tmp_path / 'notes').mkdir()
        (tmp_path / 'MANIFEST.tsv').write_text(
            'case\tnotes\tspecies\tmodality\nhuman_FLAIR_b\t-\thuman (child)\tT2-FLAIR\n'
        )
        cases = {case.name: case for case in find_cases(tmp_path)}
        assert list(cases) == ['human_FLAIR_b', 'plain', 'rat_T2w_a']
        described = {name: (case.species, case.modality) for name, case in cases.items()}
        assert described == {
            'human_FLAIR_b': ('human (child)', 'T2-FLAIR'),
            'plain': ('n/a', 'n/a'),
            'rat_T2w_a': ('rat', 'T2w'),
        }
        assert cases['rat_T2w_a'].mask is not None and cases['plain'].mask is None
        assert [case.name for case in chosen_cases(list(cases.values()), ['plain'])] == ['plain']
        with pytest.raises(InputError, match='nobody'):
            chosen_cases(list(cases.values()), ['plain', 'nobody'])

    def test_folders_without_cases(self, tmp_path):
        for folder in (tmp_path, tmp_path / 'missing'):
            with pytest.raises(InputError, match=folder.name):
                find_cases(folder)
        with pytest.raises(InputError, match='desc-brain_mask'):
            find_bids_cases(tmp_path, tmp_path)

    def test_cases_of_a_bids_derivative(self, tmp_path):
        raw, masks = tmp_path / 'raw', tmp_path / 'masks'
        image = np.zeros((4, 4, 4), np.uint8)
        for name in ('sub-a_T1w', 'sub-a_T2w', 'sub-a_run-1_T1w', 'sub-b_T1w', 'sub-b_T2w'):
            save(raw / name[:5] / 'anat' / f'{name}.nii.gz', image)
        for name in ('sub-a_desc-brain_mask', 'sub-b_label-brain_mask', 'sub-a_label-csf_mask'):
            save(masks / name[:5] / 'anat' / f'{name}.nii.gz', image)
        (masks / 'sub-a/anat/sub-a_desc-brain_mask.json').write_text(
            '{"Sources": ["bids:raw:sub-a/anat/sub-a_T2w.nii.gz"]}'
        )
        (raw / 'participants.tsv').write_text('participant_id\tspecies\nsub-b\tmus musculus\n')
        found = [(c.name, c.species, c.modality) for c in find_bids_cases(masks, raw)]
        assert found == [
            ('sub-a_T2w', 'human', 'T2w'),
            ('sub-b_T1w', 'mus musculus', 'T1w'),
            ('sub-b_T2w', 'mus musculus', 'T2w'),
        ]

    def test_an_image_has_one_reference(self, tmp_path):
        raw, masks, image = tmp_path / 'raw', tmp_path / 'masks', np.zeros((4, 4, 4), np.uint8)
        for name in ('sub-a_T1w', 'sub-a_FLAIR'):
            save(raw / 'sub-a/anat' / f'{name}.nii.gz', image)
        kinds = ('desc-brain', 'label-brain', 'space-FLAIR_desc-brain')
        for kind in kinds:
            save(masks / 'sub-a/anat' / f'sub-a_{kind}_mask.nii.gz', image)
        said = []
        found = [(c.name, c.mask.name) for c in find_bids_cases(masks, raw, said.append)]
        assert found == [
            ('sub-a_T1w', 'sub-a_desc-brain_mask.nii.gz'),
            ('sub-a_FLAIR', 'sub-a_space-FLAIR_desc-brain_mask.nii.gz'),
        ]
        assert said[-1] == (
            'left out: sub-a_label-brain_mask.nii.gz: sub-a_T1w.nii.gz has the reference '
            'sub-a_desc-brain_mask.nii.gz already'
        )
        assert len(said) == 3  # the other two are about the FLAIR

    def test_cases_that_are_left_out_are_said(self, tmp_path):
        image = np.zeros((4, 4, 4), np.uint8)
        save(tmp_path / 'good/image.nii.gz', image)
        save(tmp_path / 'plain/image.nii', image)
        save(tmp_path / 'alone/mask.nii.gz', image)
        table = tmp_path / 'MANIFEST.tsv'
        table.write_text('case\tspecies\ngood\trat\ngone\trat\ngood\trat\n')
        said = []
        assert [case.name for case in find_cases(tmp_path, said.append)] == ['good']
        assert said == [f'left out, no image.nii.gz in {tmp_path}/<case>: alone, gone, plain']
        table.write_text('case\tspecies\ngood\trat\ngood\tmouse\n')
        with pytest.raises(
            InputError, match=r'MANIFEST\.tsv: line 3, column case: .* of good than line 2'
        ):
            find_cases(tmp_path)

    def test_masks_that_are_left_out_are_said(self, tmp_path):
        """And participants are known by their labels with and without `sub-`."""
        raw, masks = tmp_path / 'raw', tmp_path / 'masks'
        image = np.zeros((4, 4, 4), np.uint8)
        save(raw / 'sub-a/anat/sub-a_T1w.nii.gz', image)
        save(raw / 'sub-c/anat/sub-c_T1w.nii.gz', image)
        for name in ('sub-a_desc-brain', 'sub-a_space-MNI_desc-brain', 'sub-b_desc-brain'):
            save(masks / name[:5] / f'anat/{name}_mask.nii.gz', image)
        save(masks / 'sub-c/anat/sub-c_desc-brain_mask.nii', image)
        (raw / 'participants.tsv').write_text('participant_id\tspecies\na\tmouse\nsub-c\trat\n')
        said = []
        found = [(case.name, case.species) for case in find_bids_cases(masks, raw, said.append)]
        assert found == [('sub-a_T1w', 'mouse')]
        assert said == [
            f'left out, no image of their names in {raw}: sub-b_desc-brain_mask.nii.gz',
            'left out, masks have to be compressed (.nii.gz): sub-c_desc-brain_mask.nii',
        ]

    def test_masks_named_by_pumba_find_the_image_of_their_contrast(self, tmp_path):
        raw, masks = tmp_path / 'raw', tmp_path / 'masks'
        image = np.zeros((4, 4, 4), np.uint8)
        for name in ('sub-a_T1w', 'sub-a_FLAIR', 'sub-a_space-MNI_T1w'):
            save(raw / 'sub-a/anat' / f'{name}.nii.gz', image)
        for space in ('FLAIR', 'MNI', 'T2w', 'LAIR'):
            save(masks / f'sub-a/anat/sub-a_space-{space}_desc-brain_mask.nii.gz', image)
        found = {(case.mask.name.split('_')[1], case.name) for case in find_bids_cases(masks, raw)}
        assert found == {('space-FLAIR', 'sub-a_FLAIR'), ('space-MNI', 'sub-a_space-MNI_T1w')}
