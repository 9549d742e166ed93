"""The intracranial space: around the brain, on the image's grid, and never made up."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe import extract, load_volume, load_weights, strip_file
from pumba_pipe.commands import strip as command
from pumba_pipe.common.errors import InputError
from pumba_pipe.network.config import FORMER_BORDERS
from pumba_pipe.network.weights import Stage, save_weights


@pytest.fixture(scope='module')
def result(head_file):
    return extract(load_volume(head_file), csf='include')


@pytest.fixture(scope='module')
def without(tmp_path_factory):
    """Weights of a network that predicts the borders of the brain alone."""
    from pumba_pipe.network.unet import UNet

    model = load_weights()
    old = model.fine.network
    config = replace(old.config, borders=FORMER_BORDERS)
    network, cells = UNet(config), config.stem**3 * FORMER_BORDERS
    state = old.state_dict()
    for name in ('head.weight', 'head.bias'):
        state[name] = state[name][:cells]
    network.load_state_dict(state)
    path = tmp_path_factory.mktemp('weights') / 'without.safetensors'
    stages = {'coarse': model.coarse, 'fine': Stage(network, model.fine.size)}
    save_weights(stages, model.card, path)
    return path


def test_the_brain_lies_within(result):
    space, brain = result.intracranial > 0, result.mask > 0
    assert space.dtype == bool and space.shape == brain.shape
    assert (brain & ~space).sum() < 0.002 * brain.sum(), 'but for holes that were filled'
    assert space.sum() > brain.sum()


def test_volume_in_the_record_is_that_of_the_image(result):
    millilitres = (result.intracranial > 0).sum() * result.volume.voxel_size.prod() / 1000
    assert result.quality.intracranial_ml == pytest.approx(millilitres, rel=0.05)
    assert result.quality.to_dict()['intracranial_ml'] > result.quality.volume_ml


def test_it_is_written_on_the_images_grid(head_file, tmp_path, capsys):
    out = tmp_path / 'tiv.nii.gz'
    assert command.main(['-i', str(head_file), '--tiv', str(out), '--csf', 'include']) == 0
    assert 'intracranial volume' in capsys.readouterr().out
    image, scan = nib.load(out), nib.load(head_file)
    assert image.shape == scan.shape and image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, scan.affine)
    np.testing.assert_array_equal(
        image.get_fdata(), extract(head_file, csf='include').intracranial
    )


def test_of_many_images(head_file, tmp_path):
    out = tmp_path / 'out'
    assert command.main([str(head_file), '--out-dir', str(out), '--write', 'tiv', '--quiet']) == 0
    assert nib.load(out / 'head_tiv.nii.gz').get_fdata().sum() > 0


def test_of_a_node(head_file, tmp_path, monkeypatch):
    from pumba_pipe.interfaces import SkullStrip

    monkeypatch.chdir(tmp_path)
    found = SkullStrip(in_file=str(head_file), num_threads=1, out_tiv='t.nii.gz').run().outputs
    assert nib.load(found.out_tiv).get_fdata().sum() > 0


def test_weights_that_do_not_predict_it_say_so_and_write_nothing(
    head_file, without, tmp_path, capsys
):
    found = extract(load_volume(head_file), load_weights(without))
    assert found.intracranial is None and found.quality.intracranial_ml is None
    with pytest.raises(InputError, match='intracranial space is not known'):
        found.intracranial_image()
    mask, tiv = tmp_path / 'mask.nii.gz', tmp_path / 'tiv.nii.gz'
    with pytest.raises(InputError, match='intracranial space is not known'):
        strip_file(head_file, out_mask=mask, out_tiv=tiv, weights=without)
    words = ['-i', str(head_file), '--tiv', str(tiv), '-m', str(mask), '--weights', str(without)]
    assert command.main(words) == 1
    assert capsys.readouterr().err.count('\n') == 1
    assert not mask.exists() and not tiv.exists()


def test_of_a_brain_that_was_stripped_before_nothing_is_said(result):
    stripped = replace(result.volume, data=np.where(result.mask > 0, result.volume.data, 0))
    found = extract(stripped)
    assert found.quality.already_stripped
    assert found.intracranial is None and found.quality.intracranial_ml is None
