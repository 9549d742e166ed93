"""Manual masks in figures, pages and tables."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pumba_pipe.bids_app.group import write_records

from pumba_pipe.common.tables import read_table
from pumba_pipe.images.drawing import NETWORK_OUTLINE, OUTLINE
from pumba_pipe.reports.figures import write_figures
from pumba_pipe.reports.findings import find_all
from pumba_pipe.reports.group import write_group_report
from pumba_pipe.reports.index import write_index
from pumba_pipe.reports.naming import figure_names
from pumba_pipe.reports.outliers import find_outliers
from pumba_pipe.reports.records import RunSummary
from pumba_pipe.reports.subject import write_subject_report
from pumba_pipe.reports.viewer import read_viewer_data

MANUAL = {'manual': True, 'network_dice': 0.9123, 'network_flags': ['low confidence']}


@pytest.fixture
def figures(ball_head, tmp_path):
    """Figures of a mask, and of the same beside a smaller one by the network."""
    image, mask = ball_head()
    inside = nib.load(mask)
    smaller = np.asarray(inside.dataobj).copy()
    smaller[inside.shape[0] // 2 :] = 0
    network = tmp_path / 'network.nii.gz'
    nib.save(nib.Nifti1Image(smaller, inside.affine), network)
    quality = tmp_path / 'quality.json'
    quality.write_text(json.dumps(MANUAL | {'volume_ml': 12.0, 'confidence': 0.2}))

    def draw(name, other=None):
        paths = {key: tmp_path / name / file for key, file in figure_names(image).items()}
        write_figures(image, mask, paths, quality if other else None, other)
        return paths

    return draw('one'), draw('two', network)


def share_of(path, colour):
    """Share of the pixels with a line of a colour, which differs from grey as the colour does."""
    pixels = np.asarray(Image.open(path).convert('RGB')).astype(int)
    difference = (pixels[..., 2] - pixels[..., 0]) * np.sign(colour[2] - colour[0])
    return float((difference > 60).mean())


def test_both_outlines_are_drawn(figures):
    one, two = figures
    for figure in ('mosaic', 'thumbnail'):
        assert share_of(one[figure], NETWORK_OUTLINE) == 0
        assert share_of(two[figure], NETWORK_OUTLINE) > 1e-3
        assert share_of(two[figure], OUTLINE) > 1e-3


def test_the_viewer_gets_both_masks(figures):
    one, two = (read_viewer_data(paths['viewer']) for paths in figures)
    assert 'network_mask' not in one
    assert two['network_mask'] != two['mask'] == one['mask']


def test_pages_say_which_masks_are_manual(derivative):
    derivative('sub-01_T1w')
    root = derivative('sub-02_T1w', expected_dice=0.1, **MANUAL)
    texts = []
    for subject in ('01', '02'):
        page = write_subject_report(root, subject, {}, RunSummary(version='1'))
        texts.append(page.read_text('utf-8'))
    assert 'manual mask</span>' not in texts[0]
    assert 'manual mask</span>' in texts[1]
    assert 'Expected Dice (network&#39;s mask)' in texts[1]
    assert 'look at this' not in texts[1]  # somebody did
    index = write_index(root, find_all(root)).read_text('utf-8')
    assert index.count('manual mask</span>') == 1


def test_the_group_counts_manual_masks_and_compares_their_volume_alone(derivative):
    for number in range(9):
        more = MANUAL | {'confidence': 0.1, 'volume_ml': 5.0} if number == 4 else {}
        root = derivative(f'sub-{number}_T1w', **({'volume_ml': 1300.0 + number} | more))
    found = find_all(root)
    outliers = find_outliers(found)
    assert list(outliers[4]) == ['volume_ml']
    write_group_report(root / 'group_T1w.html', 'T1w', found, outliers)
    text = ' '.join((root / 'group_T1w.html').read_text('utf-8').split())
    assert '1 with a manual mask' in text
    write_records(root / 'group_T1w.tsv', found, outliers, [''] * 9)
    rows = read_table(root / 'group_T1w.tsv')
    assert [row['manual'] for row in rows] == ['false'] * 4 + ['true'] + ['false'] * 4
    assert (rows[4]['network_dice'], rows[0]['network_dice']) == ('0.9123', 'n/a')
