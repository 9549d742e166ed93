"""Weights files: read once, read again when changed, never shared, refused in one line."""

import json
import os

import pytest
import torch

from pumba_pipe import strip_file
from pumba_pipe.common.errors import WeightsError
from pumba_pipe.network import weights
from pumba_pipe.network.unet import NetworkConfig, UNet
from pumba_pipe.network.weights import (
    SHIPPED,
    Stage,
    default_weights,
    initial_weights,
    load_weights,
    save_weights,
)

TINY = NetworkConfig((4, 8), 2)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(weights, '_kept', type(weights._kept)())


@pytest.fixture
def opened(monkeypatch):
    """Weights files whose content is read from now on."""
    files = []
    read = weights.read_bytes

    def watched(path, *rest):
        files.append(path)
        return read(path, *rest)

    monkeypatch.setattr(weights, 'read_bytes', watched)
    return files


def write(path, seed=1, **card):
    torch.manual_seed(seed)
    return save_weights({'coarse': Stage(UNet(TINY), 16)}, {'stages': {}, **card}, path)


def test_two_strips_read_the_weights_once(head_file, tmp_path, opened):
    for name in ('a', 'b'):
        strip_file(head_file, out_mask=tmp_path / f'{name}.nii.gz', threads=1)
    assert opened == [SHIPPED]


def test_a_changed_file_is_read_again(tmp_path, opened):
    path = tmp_path / 'w.safetensors'
    digest = write(path, seed=1)
    opened.clear()
    first = load_weights(path)
    assert load_weights(str(path)).sha256 == first.sha256 == digest
    assert len(opened) == 1
    other = write(path, seed=2)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    opened.clear()
    second = load_weights(path)
    assert len(opened) == 1
    assert second.sha256 == other != digest
    ours, theirs = (model.coarse.network.head.weight for model in (first, second))
    assert not torch.equal(ours, theirs)


def test_few_files_stay_in_memory(tmp_path, opened):
    files = [tmp_path / f'{index}.safetensors' for index in range(weights.KEPT + 1)]
    for index, path in enumerate(files):
        write(path, seed=index)
    opened.clear()
    for path in (*files, files[-1], files[0]):
        load_weights(path)
    assert opened == [*files, files[0]]


def test_what_a_caller_does_to_a_model_stays_with_the_caller(tmp_path):
    path = tmp_path / 'w.safetensors'
    write(path, seed=1, note='as written')
    first = load_weights(path)
    before = first.coarse.network.head.weight.clone()
    with torch.no_grad():
        first.coarse.network.head.weight.zero_()
    first.coarse.network.double().train().requires_grad_(True)
    first.card['note'] = 'changed'
    second = load_weights(path)
    weight = second.coarse.network.head.weight
    assert torch.equal(weight, before)
    assert (weight.dtype, weight.requires_grad) == (torch.float32, False)
    assert not second.coarse.network.training
    assert second.card['note'] == 'as written'


def test_default_is_the_shipped_file(tmp_path, monkeypatch):
    monkeypatch.setenv('PUMBA_WEIGHTS', str(tmp_path / 'other.safetensors'))
    assert initial_weights('default') == SHIPPED
    assert initial_weights(None) is None
    assert str(initial_weights('x.safetensors')) == 'x.safetensors'


@pytest.mark.parametrize('blank', ['', ' ', '\t'])
def test_a_blank_variable_names_no_weights(monkeypatch, blank):
    monkeypatch.setenv('PUMBA_WEIGHTS', blank)
    assert default_weights() == SHIPPED


def test_a_file_of_one_border_is_refused_in_one_line(tmp_path):
    """As those of the first weeks of development were; none was released."""
    from safetensors.torch import save_file

    path = tmp_path / 'old.safetensors'
    stages = {'coarse': {'network': {'widths': [4, 8], 'stem': 2}, 'size': 16}}
    metadata = {'format': weights.FORMAT, 'stages': json.dumps(stages), 'card': '{}'}
    save_file({'coarse/head.bias': torch.zeros(8)}, path, metadata=metadata)
    with pytest.raises(
        WeightsError, match=r'old\.safetensors: .*one border.*train it anew'
    ) as caught:
        load_weights(path)
    assert '\n' not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / 'w.safetensors'
    with pytest.raises(WeightsError, match='cannot read'):
        load_weights(path)
    with pytest.raises(WeightsError, match='is a folder'):
        load_weights(tmp_path)
    for content in (b'', b'rubbish, and more than eight bytes of it'):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match='damaged'):
            load_weights(path)
    write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match='damaged'):
        load_weights(path)


def test_values_that_are_not_finite_are_refused(tmp_path):
    network = UNet(TINY)
    with torch.no_grad():
        network.head.bias[0] = float('nan')
    path = tmp_path / 'w.safetensors'
    save_weights({'coarse': Stage(network, 16)}, {'stages': {}}, path)
    with pytest.raises(WeightsError, match='not finite'):
        load_weights(path)
