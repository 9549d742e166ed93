"""Registration: a known transform is found again, and its files mean what ITK means by them."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from pumba_pipe.common.errors import InputError, PumbaError
from pumba_pipe.images.itk import resampled
from pumba_pipe.images.volume import Volume, load_volume
from pumba_pipe.registration.affine import _shrink_factors, register_affine
from pumba_pipe.registration.register import register_files

SIDE, VOXEL = 48, 4.0
LPS = np.diag([-1.0, -1.0, 1.0])
# Of the moving image: other voxel sizes, axes and field of view.
MOVING_SHAPE = (56, 60, 50)
MOVING_AFFINE = np.array(
    [[0.0, -3.6, 0, 105], [3.9, 0, 0, -108], [0, 0, 4.4, -109], [0.0, 0, 0, 1.0]]
)


def turn(axis, degrees):
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    one, other = (index for index in range(3) if index != axis)
    matrix[one, one] = matrix[other, other] = cosine
    matrix[one, other], matrix[other, one] = -sine, sine
    return matrix


def known(degrees, shift):
    """An affine transform from template points to image points."""
    transform = sitk.AffineTransform(3)
    matrix = turn(0, degrees) @ turn(2, -degrees / 2) @ np.diag([1.08, 0.93, 1.05])
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation([float(value) for value in shift])
    return transform


@pytest.fixture(scope='module')
def template():
    """A synthetic head and its brain as the template."""
    from pumba_pipe import load_recipe, synthesize

    sample = synthesize(load_recipe('easy'), 10, (SIDE,) * 3)
    affine = np.diag([VOXEL] * 3 + [1.0])
    affine[:3, 3] = -VOXEL * SIDE / 2
    return Volume(sample.image.numpy(), affine), sample.label.numpy() > 0


def moved(template, transform):
    """The image whose resampling by `transform` is the template, in another contrast."""
    fixed, brain = template
    empty = Volume(np.zeros(MOVING_SHAPE, np.float32), MOVING_AFFINE)
    head, mask = (
        resampled(data.astype(np.float32), fixed, empty, transform.GetInverse(), smooth=False)
        for data in (np.sqrt(1.1 - fixed.data) * (fixed.data > 0.02), brain)
    )
    return Volume(500 * head, MOVING_AFFINE), mask > 0.5


def errors(found, truth, template):
    """Distances in mm between where two transforms bring the points of the template's brain."""
    fixed, brain = template
    voxels = np.argwhere(brain)[::37]
    points = (LPS @ (fixed.affine[:3, :3] @ voxels.T + fixed.affine[:3, 3:])).T
    return np.array(
        [
            np.linalg.norm(np.subtract(found.TransformPoint(p), truth.TransformPoint(p)))
            for p in points.tolist()
        ]
    )


@pytest.mark.parametrize(
    ('degrees', 'shift', 'masks'),
    [
        (6, (5, -8, 4), 'neither'),
        (12, (12, -10, 18), 'moving'),
        (30, (25, -10, 15), 'both'),
    ],
)
def test_a_known_affine_is_found_to_a_fraction_of_a_voxel(template, degrees, shift, masks):
    truth = known(degrees, shift)
    moving, mask = moved(template, truth)
    found = register_affine(
        moving,
        template[0],
        None if masks == 'neither' else mask,
        template[1] if masks == 'both' else None,
        threads=1,
    )
    off = errors(found, truth, template)
    assert off.mean() < 0.5 * VOXEL and off.max() < VOXEL


def test_the_same_seed_finds_the_same(template):
    moving, mask = moved(template, known(5, (3, 4, 5)))
    runs = [
        register_affine(moving, template[0], mask, template[1], sloppy=True, seed=seed, threads=1)
        for seed in (7, 7, 8)
    ]
    first, second, third = (run.GetParameters() for run in runs)
    # Sums of threads are added in any order.
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
    assert not np.allclose(first, third, rtol=1e-5, atol=1e-5)
    assert errors(runs[0], runs[2], template).max() < VOXEL


def save(path, volume, data=None):
    nib.save(nib.Nifti1Image(volume.data if data is None else data, volume.affine), path)
    return path


@pytest.fixture
def files(template, tmp_path):
    """Image, template and their masks on disk, and the transform between them."""
    truth = known(8, (6, -4, 9))
    moving, mask = moved(template, truth)
    paths = {
        'in_file': save(tmp_path / 'in.nii.gz', moving),
        'in_mask': save(tmp_path / 'in_mask.nii.gz', moving, mask.astype(np.uint8)),
        'template': save(tmp_path / 'tpl.nii.gz', template[0]),
        'template_mask': save(
            tmp_path / 'tpl_mask.nii.gz', template[0], template[1] * np.uint8(1)
        ),
    }
    return paths, truth


def outputs(folder, suffix='.txt'):
    return {
        'forward_xfm': folder / f'forward{suffix}',
        'inverse_xfm': folder / f'inverse{suffix}',
        'warped_file': folder / 'warped.nii.gz',
        'warped_mask': folder / 'warped_mask.nii.gz',
    }


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_files_mean_what_itk_means_by_them(files, template, tmp_path):
    paths, truth = files
    out = outputs(tmp_path)
    register_files(**paths, **out, sloppy=True, threads=1)
    assert errors(sitk.ReadTransform(str(out['forward_xfm'])), truth, template).max() < VOXEL
    # Read by ITK itself, not through our own reading of headers.
    image, fixed = (sitk.ReadImage(str(paths[name])) for name in ('in_mask', 'template'))
    forward = sitk.Resample(
        image, fixed, sitk.ReadTransform(str(out['forward_xfm'])), sitk.sitkNearestNeighbor
    )
    assert dice(sitk.GetArrayFromImage(forward).T > 0, template[1]) > 0.93
    back = sitk.Resample(
        sitk.ReadImage(str(paths['template_mask'])),
        image,
        sitk.ReadTransform(str(out['inverse_xfm'])),
        sitk.sitkNearestNeighbor,
    )
    own = sitk.GetArrayViewFromImage(image) > 0
    assert dice(sitk.GetArrayFromImage(back) > 0, own) > 0.93
    warped, mask = load_volume(out['warped_file']), nib.load(out['warped_mask'])
    np.testing.assert_allclose(warped.affine, template[0].affine, atol=1e-4)
    assert warped.data.shape == mask.shape == template[0].data.shape
    assert mask.get_data_dtype() == np.uint8
    assert dice(np.asarray(mask.dataobj) > 0, template[1]) > 0.93
    source = load_volume(paths['in_file']).data
    assert warped.data.min() >= 0 and warped.data.max() <= source.max()


def test_nothing_in_common_is_one_line(files, tmp_path):
    paths, _ = files
    volume = load_volume(paths['in_file'])
    far = volume.affine.copy()
    far[:3, 3] += 5000
    save(paths['in_mask'], Volume(volume.data, far), np.ones(volume.data.shape, np.uint8))
    with pytest.raises(InputError) as caught:
        register_files(**paths, **outputs(tmp_path), threads=1)
    assert '\n' not in str(caught.value)
    save(paths['in_mask'], volume, np.zeros(volume.data.shape, np.uint8))
    with pytest.raises(InputError, match='mask is empty'):
        register_files(**paths, **outputs(tmp_path), threads=1)
    assert not outputs(tmp_path)['forward_xfm'].exists()


@pytest.mark.parametrize('which', ['in_mask', 'template_mask'])
@pytest.mark.parametrize('what', ['voxel', 'row'])
def test_a_mask_that_is_nearly_nothing_is_one_line(which, what, files, tmp_path):
    paths, _ = files
    image = load_volume(paths['in_file' if which == 'in_mask' else 'template'])
    mask = np.zeros(image.data.shape, np.uint8)
    mask[20 : 21 if what == 'voxel' else 35, 20, 20] = 1
    save(paths[which], image, mask)
    for masks in ({}, {'in_mask' if which == 'template_mask' else 'template_mask': None}):
        with pytest.raises(InputError, match=r'mask of \d+ voxels is too small') as caught:
            register_files(**paths | masks, **outputs(tmp_path), sloppy=True, threads=1)
        assert '\n' not in str(caught.value)
    assert not outputs(tmp_path)['forward_xfm'].exists()


def test_a_sheet_that_vanishes_when_shrunken_is_one_line(template):
    """Of voxels much finer than the grid of the comparison, a thin mask leaves none."""
    fine = Volume(np.random.default_rng(0).random((256, 256, 64)).astype(np.float32), np.eye(4))
    sheet = np.zeros(fine.data.shape, bool)
    sheet[101] = True
    with pytest.raises(InputError, match='mask of 16384 voxels is too small or too thin'):
        register_affine(fine, template[0], sheet, template[1], sloppy=True, threads=1)


def test_syn_without_antspyx_names_the_remedy(files, tmp_path, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(PumbaError, match='pip install antspyx'):
        register_files(**files[0], **outputs(tmp_path, '.h5'), transform='syn')
    assert not outputs(tmp_path)['warped_file'].exists()


def test_shrinking_looks_at_size_in_mm():
    thick = Volume(np.zeros((256, 256, 20), np.float32), np.diag([1.0, 1.0, 6.0, 1.0]))
    assert _shrink_factors(thick) == [2, 2, 1]
