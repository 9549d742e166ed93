"""A manual mask in the place of the network's."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.extraction.manual_mask import NO_BRAIN
from pumba_pipe.interfaces import SkullStrip, StripWithManualMask


@pytest.fixture
def node(ball_head, tmp_path, monkeypatch):
    """The node, with a network that finds the whole left half to be brain."""
    image, mask = ball_head()
    monkeypatch.chdir(tmp_path)
    half = nib.load(mask)
    data = np.zeros(half.shape, np.uint8)
    data[: half.shape[0] // 2] = 1

    def strip(self, runtime):
        outputs = self._list_outputs()
        nib.save(nib.Nifti1Image(data, half.affine), outputs['out_mask'])
        record = {'volume_ml': 1.0, 'confidence': 0.2, 'flags': ['low confidence'], 'notes': []}
        Path(outputs['quality']).write_text(json.dumps(record))
        return runtime

    monkeypatch.setattr(SkullStrip, '_run_interface', strip)
    return StripWithManualMask(in_file=str(image), manual_mask=str(mask)), mask, data


def test_results_are_of_the_manual_mask_and_the_networks_is_kept(node):
    strip, mask, network = node
    found = strip.run().outputs
    wanted = np.asarray(nib.load(mask).dataobj) > 0
    np.testing.assert_array_equal(np.asarray(nib.load(found.out_mask).dataobj), wanted)
    np.testing.assert_array_equal(np.asarray(nib.load(found.network_mask).dataobj), network)
    assert not np.asarray(nib.load(found.out_file).dataobj)[~wanted].any()
    record = json.loads(Path(found.quality).read_text())
    overlap = 2 * (wanted & (network > 0)).sum() / (wanted.sum() + network.sum())
    assert record['network_dice'] == pytest.approx(overlap, abs=1e-4)
    assert record['volume_ml'] == pytest.approx(wanted.sum() * 8 / 1000)
    assert (record['manual'], record['flags']) == (True, [])
    assert (record['network_flags'], record['confidence']) == (['low confidence'], 0.2)


def test_a_head_in_which_the_network_finds_no_brain(node, monkeypatch):
    strip, _, _ = node

    def nothing(self, runtime):
        raise NothingFoundError('head: no brain was found in this image')

    monkeypatch.setattr(SkullStrip, '_run_interface', nothing)
    strip.inputs.out_prob = 'probability.nii.gz'
    found = strip.run().outputs
    assert not np.asarray(nib.load(found.network_mask).dataobj).any()
    assert not np.asarray(nib.load(found.out_prob).dataobj).any()
    record = json.loads(Path(found.quality).read_text())
    assert (record['network_flags'], record['network_dice']) == ([NO_BRAIN], 0.0)


def test_a_mask_that_cannot_be_used(node, tmp_path):
    strip, mask, network = node
    strip.inputs.manual_sha256 = 'another'
    with pytest.raises(InputError, match='has changed while it was worked on'):
        strip.run()
    strip = StripWithManualMask(in_file=strip.inputs.in_file, manual_mask=str(mask))
    nib.save(nib.Nifti1Image(np.zeros_like(network), nib.load(mask).affine), mask)
    with pytest.raises(InputError, match='this mask is empty'):
        strip.run()
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), mask)
    with pytest.raises(InputError, match='resample the mask to the image'):
        strip.run()
