"""Figures of a report: what is drawn, where, and from which files."""

import base64
import gzip
import io
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pumba_pipe.common.errors import InputError
from pumba_pipe.interfaces import QualityReport, report_mem_gb
from pumba_pipe.reports.drawing import cut, picture_size
from pumba_pipe.reports.figures import brain_spans, slice_indices, write_figures
from pumba_pipe.reports.image_and_mask import load_scan
from pumba_pipe.reports.naming import figure_names, figure_paths
from pumba_pipe.reports.viewer import block_mean, read_viewer_data, shrinking_factors, stacked


def draw(in_file, in_mask, folder, quality=None):
    paths = {figure: folder / name for figure, name in figure_names(in_file).items()}
    write_figures(in_file, in_mask, paths, quality)
    return paths


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def red(picture):
    """Where the outline is."""
    return picture[..., 0] - picture[..., 2] > 100


def unpacked(viewer):
    """Image, mask and affine of what the slice viewer gets, taken apart as a page does it."""
    width, height, depth = viewer['shape']
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in viewer['image']]
    rows = np.concatenate([np.asarray(picture) for picture in pictures])
    image = rows.reshape(depth, viewer['rows'], width)[:, :height].transpose(2, 1, 0)
    bits = np.frombuffer(gzip.decompress(base64.b64decode(viewer['mask'])), np.uint8)
    mask = np.unpackbits(bits)[: image.size].reshape(width, height, depth, order='F')
    return image, mask, np.array([*viewer['affine'], [0, 0, 0, 1]])


@pytest.mark.parametrize('axes', ['LPS', 'PIR', 'SLA'])
def test_figures_do_not_depend_on_how_an_image_is_stored(ball_head, tmp_path, axes):
    plain = draw(*ball_head(), tmp_path / 'plain')
    turned = draw(*ball_head(axes=axes, folder=tmp_path / axes), tmp_path / 'turned')
    for figure in ('mosaic', 'before_after'):
        # apart from the outermost voxels, which share a median with others
        assert np.abs(pixels(plain[figure]) - pixels(turned[figure])).mean() < 1
    one, two = (json.loads(paths['viewer'].read_text()) for paths in (plain, turned))
    assert one == two


def test_pictures_have_the_shape_of_the_head(ball_head):
    scan = load_scan(*ball_head(shape=(40, 40, 10), zooms=(1.0, 1.0, 4.0)))
    spans = np.array([[0.0, side] for side in scan.image.shape])
    for axis in range(3):
        width, height = picture_size(scan, axis, spans, 3.0)
        assert (width, height) == (120, 120)
        assert cut(scan, axis, 5, spans, 3.0).grey.shape == (120, 120)


def test_left_is_left_and_front_is_up(ball_head):
    scan = load_scan(*ball_head(axes='LPS'))
    spans = np.array([[0.0, side] for side in scan.image.shape])
    axial = cut(scan, 2, 18, spans, 1.0).grey.astype(int)
    middle = axial.shape[1] // 2
    assert axial[:, :middle].sum() < 0.9 * axial[:, middle:].sum()


def test_an_outline_closes_at_the_edge_of_the_field_of_view(ball_head):
    in_file, in_mask = ball_head()
    image = nib.load(in_mask)
    mask = np.zeros(image.shape, np.uint8)
    mask[:, 10:30, 10:30] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), in_mask)
    scan = load_scan(in_file, in_mask)
    picture = cut(scan, 2, 20, brain_spans(scan), 4.0)
    outline = picture.outline()
    edge_columns = outline.max(axis=1) > 0.5
    assert outline[edge_columns][:, :8].max() > 0.5
    assert outline[edge_columns][:, -8:].max() > 0.5


def test_mosaic_shows_the_outline_and_the_quality(ball_head, tmp_path):
    in_file, in_mask = ball_head()
    quality = tmp_path / 'quality.json'
    quality.write_text(
        json.dumps({'volume_ml': 12.3, 'expected_dice': 0.9, 'flags': ['look'] * 90})
    )
    with_words = pixels(draw(in_file, in_mask, tmp_path / 'a', quality)['mosaic'])
    without = pixels(draw(in_file, in_mask, tmp_path / 'b')['mosaic'])
    assert red(without).sum() > 2000
    assert np.array_equal(with_words[30:], without[30:])
    assert with_words[:30].sum() > without[:30].sum()


def test_after_shows_the_brain_alone(ball_head, tmp_path):
    picture = pixels(draw(*ball_head(), tmp_path / 'out')['before_after'])
    half = picture.shape[0] // 2
    assert picture.shape[0] == 2 * half
    before, after = picture[30:half], picture[half + 30 :]
    grey = (before > 60).all(-1) & (before < 180).all(-1)
    assert grey.sum() > 1000
    assert (after[grey] > 60).mean() < 0.5 * (before[grey] > 60).mean()
    bright = (before > 190).all(-1)
    assert np.mean(after[bright] > 150) > 0.95
    assert not red(picture).any()


def test_viewer_gets_every_voxel_of_an_image_that_is_not_huge(ball_head, tmp_path):
    in_file, in_mask = ball_head(shape=(70, 61, 40), zooms=(0.5, 0.5, 1.5))
    scan = load_scan(in_file, in_mask)
    path = draw(in_file, in_mask, tmp_path / 'out')['viewer']
    viewer = json.loads(path.read_text())
    image, mask, affine = unpacked(viewer)
    assert viewer['factors'] == [1, 1, 1]
    assert np.array_equal(mask, scan.mask)
    grey = 255 * scan.grey(scan.image)
    assert (
        np.abs(image - grey).mean() < 3 and np.corrcoef(image.ravel(), grey.ravel())[0, 1] > 0.99
    )
    np.testing.assert_allclose(affine, nib.load(in_file).affine)
    assert read_viewer_data(path) == viewer


def test_viewer_gets_a_smaller_copy_of_a_huge_image_in_the_same_place(
    ball_head, tmp_path, monkeypatch
):
    monkeypatch.setattr('pumba_pipe.reports.viewer.shrinking_factors', lambda *_: [2, 2, 1])
    in_file, in_mask = ball_head(shape=(150, 131, 40), zooms=(0.5, 0.5, 1.5))
    viewer = json.loads(draw(in_file, in_mask, tmp_path / 'out')['viewer'].read_text())
    image, small, affine = unpacked(viewer)
    assert image.shape == small.shape == (75, 66, 40)
    large = nib.load(in_mask)
    centres = [
        nib.affines.apply_affine(matrix, np.argwhere(data).mean(0))
        for matrix, data in ((affine, small), (large.affine, np.asarray(large.dataobj)))
    ]
    assert np.abs(centres[0] - centres[1]).max() < 0.2


@pytest.mark.parametrize(
    'shape', [(300, 300, 300), (2000, 40, 40), (4000, 3000, 2), (512, 512, 64)]
)
def test_what_the_viewer_gets_fits_into_a_page(shape):
    factors = shrinking_factors(shape, np.ones(3))
    sides = [-(-side // factor) for side, factor in zip(shape, factors, strict=True)]
    assert np.prod(sides) <= 256**3 and max(sides) <= 1024
    if np.prod(shape) <= 256**3 and max(shape) <= 1024:
        assert factors == [1, 1, 1]


def test_slices_in_pictures_do_not_spoil_each_other():
    image = np.zeros((20, 13, 6), np.uint8)
    image[:, :, ::2] = 255
    rows, pictures = stacked(image)
    seen = np.concatenate([np.asarray(Image.open(io.BytesIO(one))) for one in pictures])
    found = seen.reshape(6, rows, 20)[:, :13].transpose(2, 1, 0)
    assert rows == 16 and np.array_equal(found, image)


def test_noise_can_be_compressed_too():
    noise = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 64, 200))
    _, pictures = stacked(noise)
    assert [Image.open(io.BytesIO(one)).size for one in pictures] == [(64, 8192), (64, 4608)]


def test_a_mosaic_is_larger_where_the_image_is_finer(ball_head, tmp_path):
    coarse = draw(*ball_head(folder=tmp_path / 'a'), tmp_path / 'coarse')['mosaic']
    fine = ball_head(shape=(160, 192, 144), zooms=(0.2, 0.2, 0.2), folder=tmp_path / 'b')
    fine = draw(*fine, tmp_path / 'fine')['mosaic']
    assert pixels(coarse).shape[1] <= 1404
    columns = pixels(fine).shape[1]
    brain = 0.6 * 0.2 * 144  # mm, its diameter
    assert columns > 7 * brain / 0.2  # a pixel a voxel at least
    lines = [red(pixels(path)).mean() for path in (coarse, fine)]
    assert lines[1] > 0.6 * lines[0]  # wider lines on the larger picture


def test_a_thumbnail_is_small_and_shows_the_outline(ball_head, tmp_path):
    path = draw(*ball_head(), tmp_path / 'out')['thumbnail']
    picture = pixels(path)
    assert picture.shape[0] <= 150 and picture.shape[1] <= 420
    assert path.stat().st_size < 30_000
    assert (picture[..., 0] - picture[..., 2] > 60).sum() > 200


def test_block_mean_repeats_the_last_voxel():
    data = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
    assert block_mean(data, [2, 1, 1]).ravel().tolist() == [0.5, 2.5, 4.0]


@pytest.mark.parametrize('shape', [(3, 3, 3), (64, 64, 3), (4, 90, 90), (200, 20, 20)])
def test_any_shape_can_be_drawn(ball_head, tmp_path, shape):
    in_file, in_mask = ball_head(shape=shape, zooms=(0.1, 0.1, 0.1))
    mask = np.zeros(shape, np.uint8)
    mask[1, 1, 1] = 1
    nib.save(nib.Nifti1Image(mask, nib.load(in_file).affine), in_mask)
    paths = draw(in_file, in_mask, tmp_path / 'out')
    assert max(pixels(paths['mosaic']).shape) <= 2820
    assert max(pixels(paths['before_after']).shape) <= 1300


@pytest.mark.parametrize('values', [(-900, -100), (0, 30000), (7, 7)])
def test_any_intensities_can_be_drawn(ball_head, tmp_path, values):
    in_file, in_mask = ball_head()
    affine = nib.load(in_mask).affine
    brain = np.asarray(nib.load(in_mask).dataobj) > 0
    data = np.where(brain, values[1], values[0]).astype(np.float32)
    data[0, 0, 0] = values[0] - 1  # a constant image is refused before
    nib.save(nib.Nifti1Image(data, affine), in_file)
    window = load_scan(in_file, in_mask).window
    assert window[1] > window[0]
    assert np.isfinite(pixels(draw(in_file, in_mask, tmp_path / 'out')['mosaic'])).all()


def test_slices_cover_the_brain(ball_head):
    scan = load_scan(*ball_head())
    for axis in range(3):
        indices = slice_indices(scan, axis)
        first, last = scan.box[axis]
        assert len(indices) == 7
        assert first <= indices[0] < indices[-1] <= last
        assert indices[-1] - indices[0] > 0.8 * (last - first) - 1


def test_masks_that_cannot_be_drawn(ball_head, tmp_path):
    in_file, in_mask = ball_head()
    affine = nib.load(in_file).affine
    shape = nib.load(in_file).shape
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), in_mask)
    with pytest.raises(InputError, match='the mask is empty'):
        draw(in_file, in_mask, tmp_path / 'out')
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), affine), in_mask)
    with pytest.raises(InputError, match=r'the mask is \(5, 5, 5\), its image \(40, 48, 36\)'):
        draw(in_file, in_mask, tmp_path / 'out')
    moved = affine.copy()
    moved[1, 3] += 6
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), moved), in_mask)
    with pytest.raises(InputError, match=r"3\.0 voxels away from its image's grid"):
        draw(in_file, in_mask, tmp_path / 'out')
    in_mask.write_bytes(b'not an image')
    with pytest.raises(InputError, match='not an image'):
        draw(in_file, in_mask, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_figures_have_names_of_their_own(tmp_path):
    names = [*figure_names(tmp_path / 'sub-01_ses-a_run-1_T1w.nii.gz').values()]
    names += figure_names(tmp_path / 'sub-01_ses-a_run-1_T2w.nii').values()
    assert len(set(names)) == 8
    path = figure_paths(tmp_path, tmp_path / 'sub-01_ses-a_T1w.nii.gz')['mosaic']
    assert path == tmp_path / 'sub-01/figures/sub-01_ses-a_desc-mosaic_T1w.png'


class TestQualityReport:
    def test_outputs_lie_in_the_folder_of_the_node(self, ball_head, tmp_path):
        from nipype.pipeline import engine as pe

        in_file, in_mask = ball_head()
        node = pe.Node(QualityReport(), name='report', base_dir=str(tmp_path / 'work'))
        node.inputs.in_file, node.inputs.in_mask = str(in_file), str(in_mask)
        outputs = node.run().outputs.get()
        assert set(outputs) == {'mosaic', 'before_after', 'thumbnail', 'viewer'}
        for path in outputs.values():
            assert path.startswith(str(tmp_path / 'work' / 'report'))
        assert pixels(outputs['mosaic']).size

    def test_outputs_are_known_before_it_runs(self, ball_head, tmp_path, monkeypatch):
        in_file, in_mask = ball_head()
        monkeypatch.chdir(tmp_path)
        report = QualityReport(in_file=str(in_file), in_mask=str(in_mask))
        assert report._list_outputs()['viewer'] == str(tmp_path / 'sub-01_desc-viewer_T1w.json')

    def test_memory_grows_with_the_image(self):
        assert report_mem_gb((64, 64, 64)) < report_mem_gb() < 1

    def test_drawing_imports_nothing_heavy(self, ball_head, tmp_path):
        in_file, in_mask = ball_head()
        code = (
            'import sys; from pathlib import Path\n'
            'from pumba_pipe.interfaces.report import QualityReport\n'
            'from pumba_pipe.reports.figures import write_figures\n'
            'from pumba_pipe.reports.naming import figure_names\n'
            'import pumba_pipe.reports.subject\n'
            'file, mask, out = map(Path, sys.argv[1:])\n'
            'paths = {name: out / file for name, file in figure_names(file).items()}\n'
            'write_figures(file, mask, paths)\n'
            "heavy = {'torch', 'matplotlib', 'nilearn', 'niworkflows', 'SimpleITK'}\n"
            'print(sorted(heavy & set(sys.modules)))'
        )
        words = [sys.executable, '-c', code, str(in_file), str(in_mask), str(tmp_path / 'out')]
        assert subprocess.check_output(words, text=True).strip() == '[]'
