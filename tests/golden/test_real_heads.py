"""The real heads of tests/data, stripped with the shipped weights: masks and quality records."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.evaluation.cases import find_bids_cases
from pumba_pipe.extraction.quality import EDGE

DATA = Path(__file__).parents[1] / 'data'
BIDS = DATA / 'bids'


@dataclass(frozen=True)
class Golden:
    """What is expected of an image: Dice with the mask of a derivative, at least."""

    masks: str
    dice: float


# References: the Dice measured with the weights of version 0.1.0 (0.956 and 0.957) less 0.01.
# Stored masks of those weights: what rounding on another machine may change.
EXPECTED = {
    'sub-ixi012_T1w': Golden('golden', 0.995),
    'sub-ixi015_T1w': Golden('golden', 0.995),
    'sub-ms12_T1w': Golden('references', 0.946),
    'sub-ms12_FLAIR': Golden('references', 0.947),
}
VOLUMES = 1200, 1800  # mL, of the brains of adults


def cases(masks):
    return {case.name: case for case in find_bids_cases(DATA / masks, BIDS)}


def dice(first, second):
    assert first.shape == second.shape
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


@pytest.fixture(scope='session', params=EXPECTED)
def stripped(request):
    """Name of an image, and what the shipped weights make of it."""
    subject = request.param.split('_')[0]
    image = BIDS / subject / 'anat' / f'{request.param}.nii.gz'
    return request.param, pumba_pipe.extract(image, device='cpu')


def test_mask_is_that_of_before(stripped):
    name, result = stripped
    expected = EXPECTED[name]
    case = cases(expected.masks)[name]
    stored = nib.load(case.mask)
    assert np.allclose(stored.affine, nib.load(case.image).affine, atol=1e-3)
    assert dice(result.mask > 0, np.asarray(stored.dataobj) > 0) >= expected.dice


def test_quality_record_is_that_of_a_good_mask(stripped):
    _, result = stripped
    quality = result.quality
    # the masks of sub-ms12 reach the last slice, in which there is brain
    assert set(quality.flags) <= ({EDGE} if 'ms12' in stripped[0] else set())
    assert quality.expected_dice_low < 0.95 < quality.expected_dice_high
    assert VOLUMES[0] < quality.volume_ml < VOLUMES[1]


def test_every_image_is_looked_at():
    images = {path.name.removesuffix('.nii.gz') for path in BIDS.glob('sub-*/anat/*.nii.gz')}
    assert images == set(EXPECTED)
    assert set(cases('golden')) | set(cases('references')) == images


def test_the_phantom_of_the_demo_is_flagged(tmp_path):
    spec = importlib.util.spec_from_file_location('make_phantom', DATA / 'make_phantom.py')
    make_phantom = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_phantom)
    shutil.copy(BIDS / 'participants.tsv', tmp_path)
    for _ in range(2):
        make_phantom.add_phantom(tmp_path)
    rows = (tmp_path / 'participants.tsv').read_text().splitlines()
    assert rows[-1].split('\t')[0] == 'sub-phantom' and len(rows) == 5
    image = tmp_path / 'sub-phantom' / 'anat' / 'sub-phantom_T1w.nii.gz'
    quality = pumba_pipe.extract(image, device='cpu').quality
    assert quality.doubtful
