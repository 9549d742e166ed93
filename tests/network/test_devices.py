"""A GPU that fails: the CPU stands in, and the user hears of it. The failures are simulated."""

import json
import logging
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from nipype.pipeline import engine as pe

from pumba_pipe import extract, strip_file
from pumba_pipe.common.errors import InputError
from pumba_pipe.extraction import pipeline as extraction
from pumba_pipe.interfaces import SkullStrip
from pumba_pipe.network import devices
from pumba_pipe.network.devices import choose_device, with_fallback
from pumba_pipe.training.distributed import Hardware, chosen_precision

GPU = 'cuda:0'
NO_MEMORY = torch.cuda.OutOfMemoryError(
    'CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB.'
)
NO_START = RuntimeError('CUDA driver initialization failed, you might not have a CUDA gpu.\nSee x')
WORDS = {
    NO_MEMORY: 'computed on the CPU, because cuda:0 failed: CUDA out of memory',
    NO_START: 'computed on the CPU, because cuda:0 failed: CUDA driver initialization failed, '
    'you might not have a CUDA gpu.',
}


@pytest.fixture(params=[NO_MEMORY, NO_START], ids=['memory', 'start'])
def failure(request, monkeypatch):
    """A GPU on which the network cannot run; what a user must be told."""
    run_passes = extraction._run_passes

    def failing(model, shown, device, threads, stopwatch):
        if device != 'cpu':
            raise request.param
        return run_passes(model, shown, device, threads, stopwatch)

    monkeypatch.setattr(extraction, '_run_passes', failing)
    monkeypatch.setattr(extraction, 'choose_device', lambda name: 'cpu' if name == 'cpu' else GPU)
    return WORDS[request.param]


def test_the_cpu_gives_the_mask_when_the_gpu_fails(head_file, failure):
    on_cpu, fallen_back = extract(head_file, device='cpu'), extract(head_file)
    np.testing.assert_array_equal(fallen_back.mask, on_cpu.mask)
    assert not on_cpu.quality.notes
    assert fallen_back.quality.notes == (failure,)


def test_a_node_warns_and_records_it(head_file, failure, tmp_path):
    heard = []

    class Ear(logging.Handler):
        def emit(self, record):
            heard.append((record.levelname, record.getMessage()))

    node = pe.Node(
        SkullStrip(in_file=str(head_file), use_gpu=True), name='strip', base_dir=str(tmp_path)
    )
    logger, ear = logging.getLogger('nipype.interface'), Ear()
    level = logger.level
    logger.setLevel(logging.WARNING)  # other tests quieten Nipype
    logger.addHandler(ear)
    try:
        outputs = node.run().outputs
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
    assert ('WARNING', f'{head_file}: {failure}') in heard
    assert json.loads(Path(outputs.quality).read_text())['notes'] == [failure]
    assert Path(outputs.out_mask).exists()


def test_the_gpu_is_left_empty_before_the_cpu_takes_over(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(True))
    kept = []

    def work(device):
        if device == GPU:
            volume = torch.zeros(3)
            kept.append(weakref.ref(volume))
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        assert kept[0]() is None and emptied == [True]
        return 'mask'

    assert with_fallback(work, GPU) == (
        'mask',
        'computed on the CPU, because cuda:0 failed: CUDA out of memory',
    )


def test_memory_is_given_back_after_every_image(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(True))
    assert with_fallback(lambda device: device, GPU) == (GPU, None)
    assert emptied == [True]
    assert with_fallback(lambda device: device, 'cpu') == ('cpu', None)
    assert emptied == [True]


def test_faults_that_are_not_the_gpus_are_not_hidden(head_file, tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError('shapes do not match')

    monkeypatch.setattr(extraction, '_run_passes', broken)
    for device in (GPU, 'cpu'):
        monkeypatch.setattr(extraction, 'choose_device', lambda name, device=device: device)
        with pytest.raises(RuntimeError, match='shapes'):
            strip_file(head_file, out_mask=tmp_path / 'mask.nii.gz')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('accelerator', 'has_it', 'precision'),
    [('cpu', True, 'bf16-mixed'), ('cpu', False, '32-true'), ('mps', True, '32-true')],
)
def test_training_uses_bfloat16_where_the_device_has_it(
    accelerator, has_it, precision, monkeypatch
):
    # elsewhere it is imitated, and a training seems to hang
    monkeypatch.setattr(devices, '_cpu_has_bfloat16', lambda: has_it)
    assert chosen_precision(Hardware(accelerator)) == precision
    for asked in ('bf16-mixed', '32-true'):
        assert chosen_precision(Hardware(accelerator, precision=asked)) == asked


def test_torch_is_not_asked_where_no_gpu_can_be(monkeypatch):
    monkeypatch.setattr(devices, 'may_have_gpu', lambda: False)
    monkeypatch.setattr(devices.sys, 'platform', 'linux')
    monkeypatch.setitem(sys.modules, 'torch', None)  # whoever imports it fails
    assert choose_device() == choose_device('cpu') == 'cpu'
    for name, words in {
        'cuda': 'no such GPU', 'cuda:3': 'no such GPU', 'mps': 'not available', 'tpu': 'unknown',
        'cuda:': 'unknown', '': 'unknown', 'CUDA': 'unknown',
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=words):
            choose_device(name)


def test_torch_says_which_gpus_there_are(monkeypatch):
    monkeypatch.setattr(devices, 'may_have_gpu', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert choose_device() == 'cuda'
    assert [choose_device(name) for name in ('cuda', 'cuda:1', 'cpu')] == ['cuda', 'cuda:1', 'cpu']
    with pytest.raises(InputError, match='no such GPU'):
        choose_device('cuda:2')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for available, best in ((True, 'mps'), (False, 'cpu')):
        monkeypatch.setattr(torch.backends.mps, 'is_available', lambda answer=available: answer)
        assert choose_device() == best


@pytest.mark.parametrize('driver', devices.LINUX_DRIVERS)
def test_a_driver_shows_that_there_may_be_a_gpu(driver, monkeypatch):
    monkeypatch.setattr(devices.sys, 'platform', 'linux')
    monkeypatch.setattr(devices.os.path, 'exists', lambda file: file == driver)
    assert devices.may_have_gpu()
    monkeypatch.setattr(devices.os.path, 'exists', lambda file: False)
    assert not devices.may_have_gpu()
