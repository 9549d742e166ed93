"""Images that were stripped before are told from whole heads."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.extraction.already_stripped import detect_stripped_brain

REAL = Path(__file__).resolve().parents[3] / 'shared' / 'realdata'
CASES = ('human_T1w_nichart_Subj1', 'chimpanzee_T1w_yerkes', 'mouse_T2w_sammba')


@pytest.fixture
def brain():
    """Make a ball of tissue: its mask, and its noisy values."""
    axes = np.mgrid[:48, :48, :48] - 23.5
    mask = np.sqrt((axes**2).sum(0)) < 15
    values = 100 + 10 * np.random.default_rng(1).standard_normal(mask.shape)
    return mask, values.astype(np.float32)


def test_a_brain_cut_out_on_a_blank_background_is_all_of_it(brain):
    mask, values = brain
    part = mask.copy()
    part[:, :, 24:] = False
    for blank in (0.0, -1000.0):
        data = np.where(mask, values, blank).astype(np.float32)
        assert np.array_equal(detect_stripped_brain(data, part), mask)


def test_whole_heads_are_not_taken(brain):
    mask, values = brain
    noise = np.random.default_rng(2).standard_normal(mask.shape).astype(np.float32)
    assert (
        detect_stripped_brain(np.where(mask, values, noise), mask) is None
    )  # background of noise
    radius = np.sqrt(((np.mgrid[:48, :48, :48] - 23.5) ** 2).sum(0))
    skin = np.where(radius < 21, 80.0, 0.0)
    head = np.where(mask, values, np.where(radius < 18, 1.0, skin)).astype(np.float32)
    assert detect_stripped_brain(head, mask) is None  # a shell of bone
    fading = (values * np.clip((23 - radius) / 15, 0, 1)).astype(np.float32)
    assert detect_stripped_brain(fading, mask) is None  # fades out
    outside = np.zeros_like(mask)
    outside[:10] = True
    assert detect_stripped_brain(np.where(mask, values, 0), outside) is None


def test_images_without_signal_have_no_object(brain):
    mask, _ = brain
    assert detect_stripped_brain(np.zeros(mask.shape, np.float32), mask) is None


@pytest.mark.skipif(not REAL.is_dir(), reason='real heads are not part of the repository')
@pytest.mark.parametrize('case', CASES)
def test_real_brains_cut_out_by_their_reference_are_kept(case, tmp_path):
    from pumba_pipe import extract

    whole = nib.load(REAL / case / 'image.nii.gz')
    mask = np.squeeze(np.asarray(nib.load(REAL / case / 'mask.nii.gz').dataobj)) > 0
    data = np.squeeze(whole.get_fdata(dtype=np.float32))
    nib.save(nib.Nifti1Image(data * mask, whole.affine), tmp_path / 'cut.nii.gz')
    result = extract(tmp_path / 'cut.nii.gz')
    assert result.quality.already_stripped
    found = result.mask > 0
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.96
    assert detect_stripped_brain(data, mask) is None
