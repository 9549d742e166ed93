"""The intracranial space: around the brain, on the image's grid, and never made up."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe import extract, load_volume, load_weights, strip_file
from pumba_pipe.commands import strip as command
from pumba_pipe.common.errors import InputError
from pumba_pipe.network.config import FORMER_BORDERS
from pumba_pipe.network.weights import save_weights


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """The shipped coarse network for both passes: it predicts the intracranial space."""
    model = load_weights()
    assert model.coarse.config.borders > FORMER_BORDERS
    path = tmp_path_factory.mktemp('weights') / 'with.safetensors'
    save_weights({'coarse': model.coarse}, model.card, path)
    return path


@pytest.fixture(scope='module')
def result(head_file, weights):
    return extract(load_volume(head_file), load_weights(weights), csf='include')


def test_the_brain_lies_within(result):
    space, brain = result.intracranial > 0, result.mask > 0
    assert space.dtype == bool and space.shape == brain.shape
    assert (brain & ~space).sum() < 0.002 * brain.sum(), 'but for holes that were filled'
    assert space.sum() > brain.sum()


def test_volume_in_the_record_is_that_of_the_image(result):
    millilitres = (result.intracranial > 0).sum() * result.volume.voxel_size.prod() / 1000
    assert result.quality.intracranial_ml == pytest.approx(millilitres, rel=0.05)
    assert result.quality.to_dict()['intracranial_ml'] > result.quality.volume_ml


def test_it_is_written_on_the_images_grid(head_file, weights, result, tmp_path, capsys):
    out = tmp_path / 'tiv.nii.gz'
    words = ['-i', str(head_file), '--tiv', str(out), '--csf', 'include']
    assert command.main([*words, '--weights', str(weights)]) == 0
    assert 'intracranial volume' in capsys.readouterr().out
    image, scan = nib.load(out), nib.load(head_file)
    assert image.shape == scan.shape and image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, scan.affine)
    np.testing.assert_array_equal(image.get_fdata(), result.intracranial)


def test_of_many_images(head_file, weights, tmp_path):
    out = tmp_path / 'out'
    words = [str(head_file), '--out-dir', str(out), '--write', 'tiv', '--quiet']
    assert command.main([*words, '--weights', str(weights)]) == 0
    assert nib.load(out / 'head_tiv.nii.gz').get_fdata().sum() > 0


def test_of_a_node(head_file, weights, tmp_path, monkeypatch):
    from pumba_pipe.interfaces import SkullStrip

    monkeypatch.chdir(tmp_path)
    node = SkullStrip(
        in_file=str(head_file), model=str(weights), num_threads=1, out_tiv='t.nii.gz'
    )
    found = node.run().outputs
    assert nib.load(found.out_tiv).get_fdata().sum() > 0


def test_of_weights_that_do_not_predict_it_nothing_is_known(head_file, quick_weights):
    found = extract(load_volume(head_file), load_weights(quick_weights))
    assert found.intracranial is None and 'intracranial_ml' not in found.quality.to_dict()
    with pytest.raises(InputError, match='intracranial space is not known'):
        found.intracranial_image()


def test_weights_that_do_not_predict_it_are_refused_before_any_work(
    head_file, quick_weights, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('PUMBA_WEIGHTS', str(quick_weights))

    def no_work(*_, **__):
        pytest.fail('the network ran')

    monkeypatch.setattr('pumba_pipe.extraction.pipeline._run_passes', no_work)
    monkeypatch.chdir(tmp_path)
    mask, tiv, out = tmp_path / 'mask.nii.gz', tmp_path / 'tiv.nii.gz', tmp_path / 'out'
    refused = 'do not predict the intracranial space'
    with pytest.raises(InputError, match=refused):
        strip_file(head_file, out_mask=mask, out_tiv=tiv)
    from pumba_pipe.interfaces import SkullStrip

    with pytest.raises(InputError, match=refused):
        SkullStrip(in_file=str(head_file), num_threads=1, out_tiv='tiv.nii.gz').run()
    single = ['-i', str(head_file), '--tiv', str(tiv), '-m', str(mask)]
    many = [str(head_file), '--out-dir', str(out), '--write', 'mask,tiv']
    for words in (single, many):
        assert command.main(words) == 1
        said = capsys.readouterr()
        assert said.err.count('\n') == 1 and refused in said.err and not said.out
    assert not mask.exists() and not tiv.exists() and not list(out.glob('*.nii.gz'))


def test_what_other_weights_wrote_is_no_longer_asked_for_once_it_is_removed(
    head_file, weights, quick_weights, tmp_path, monkeypatch, capsys
):
    """Else weights that do not predict it could never be used in that folder."""
    monkeypatch.setenv('PUMBA_WEIGHTS', str(quick_weights))
    out = tmp_path / 'out'
    words = [str(head_file), '--out-dir', str(out), '--quiet']
    assert command.main([*words, '--write', 'tiv', '--weights', str(weights)]) == 0
    before = (out / 'head_mask.nii.gz').read_bytes()
    assert command.main([*words, '--write', 'mask']) == 1
    assert 'head_tiv.nii.gz' in capsys.readouterr().err
    assert (out / 'head_mask.nii.gz').read_bytes() == before
    (out / 'head_tiv.nii.gz').unlink()
    assert command.main([*words, '--write', 'mask']) == 0
    assert not (out / 'head_tiv.nii.gz').exists()


def test_of_a_brain_that_was_stripped_before_nothing_is_said(result, weights):
    stripped = replace(result.volume, data=np.where(result.mask > 0, result.volume.data, 0))
    found = extract(stripped, load_weights(weights))
    assert found.quality.already_stripped
    assert found.intracranial is None and found.quality.intracranial_ml is None
