"""A training that meets a full disk, damaged heads or another run keeps what it had."""

import errno
import io
import logging
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from pumba_pipe.commands.train import main
from pumba_pipe.common.errors import OutputError, PumbaError
from pumba_pipe.common.folder_lock import only_run_in
from pumba_pipe.network.unet import NetworkConfig
from pumba_pipe.network.weights import Stage, load_weights, save_weights
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training import head_cache
from pumba_pipe.training.checkpoint import write_state
from pumba_pipe.training.distributed import launch
from pumba_pipe.training.head_cache import (
    HeadCacheSource,
    cached_heads,
    fill_cache,
    filling_cache,
    head_file,
    read_head,
)
from pumba_pipe.training.log import Log
from pumba_pipe.training.samples import SampleGenerator
from pumba_pipe.training.settings import Hardware
from pumba_pipe.training.stage_settings import StageProgress, StageSettings

SMALL = StageSettings(
    size=24, box_share=0.3, batch=1, steps=4, cache_size=4, warm_up=2, checkpoint_minutes=60
)
TINY = NetworkConfig((4, 8), 2)
CPU = Hardware('cpu', threads=1)
WORDS = (
    '-q --no-calibration --stage coarse --coarse-size 24 --widths 4 8 --batch 1 --cache-size 4 '
    '--threads 1'
)


@pytest.fixture
def small_disk(monkeypatch):
    """A function after which no file may grow beyond so many bytes: what a full disk replies."""
    resource = pytest.importorskip('resource')
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def generator():
    return SampleGenerator(load_recipe(), SMALL.size, SMALL.box_share)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('limit', [1, 1000, 60_000])
def test_the_old_checkpoint_stays_when_the_disk_is_full(tmp_path, small_disk, limit):
    path = tmp_path / 'checkpoint.pt'
    write_state(path, {'values': torch.zeros(10)})
    small_disk(limit)
    with pytest.raises(OutputError, match=r'checkpoint\.pt: cannot write this file \(File too'):
        write_state(path, {'values': torch.rand(100_000)})
    assert torch.equal(torch.load(path, weights_only=True)['values'], torch.zeros(10))
    assert names(tmp_path) == ['checkpoint.pt']


def test_a_full_disk_at_a_checkpoint_is_one_line(tmp_path, small_disk, capsys):
    folder = tmp_path / 'run'
    words = [str(folder), *WORDS.split(), '--cache-dir', str(tmp_path / 'cache')]
    assert main([*words, '--steps', '4']) == 0
    kept = (folder / 'coarse/checkpoint.pt').read_bytes()
    capsys.readouterr()
    small_disk(60_000)  # a head has 22 kB, a checkpoint 95
    assert main([*words, '--steps', '8', '--resume']) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith('pumba-train: error: ')
    assert 'checkpoint.pt: cannot write this file' in lines[-1]
    assert not any('Traceback' in line for line in lines), lines
    assert (folder / 'coarse/checkpoint.pt').read_bytes() == kept
    assert not list(folder.rglob('.partial-*'))


def test_the_old_weights_stay_when_the_disk_is_full(tmp_path, small_disk):
    from pumba_pipe.network.unet import UNet

    path = tmp_path / 'weights.safetensors'
    save_weights({'coarse': Stage(UNet(TINY), 16)}, {'stages': {}}, path)
    before = load_weights(path).sha256
    small_disk(2000)
    with pytest.raises(OutputError, match=r'weights\.safetensors: cannot write'):
        save_weights({'coarse': Stage(UNet(TINY), 16)}, {'stages': {}}, path)
    assert load_weights(path).sha256 == before
    assert names(tmp_path) == ['weights.safetensors']


DAMAGES = {
    'truncated': lambda path: os.truncate(path, 100),
    'truncated in its values': lambda path: os.truncate(path, path.stat().st_size // 2),
    'empty': lambda path: os.truncate(path, 0),
    'text': lambda path: path.write_text('no head'),
    'another type': lambda path: np.save(path, np.zeros((28, 28, 28), np.float64)),
    'another size': lambda path: np.save(path, np.zeros((20, 28, 28), np.uint8)),
    'unknown regions': lambda path: np.save(path, np.full((28, 28, 28), 250, np.uint8)),
    'objects': lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    'huge': lambda path: path.write_bytes(
        b'\x93NUMPY\x01\x00v\x00'
        + str({'descr': '|u1', 'fortran_order': False, 'shape': (10**6,) * 3}).encode().ljust(118)
    ),
    'an archive': lambda path: np.savez(path.open('wb'), a=np.zeros(3)),
}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_head_is_made_again(tmp_path, generator, damage):
    fill_cache(tmp_path, generator, 1, 1, 0, 1)
    path = head_file(tmp_path, 1, 0)
    sound = np.load(path)
    assert sound.shape == (28, 28, 28)
    damage(path)
    assert read_head(path, generator.head_size) is None
    source = HeadCacheSource(tmp_path, replace(SMALL, cache_size=1))
    source.batch([5], generator, 0)
    assert np.array_equal(np.load(path), sound)
    if damage is not DAMAGES['unknown regions']:  # which only reading it shows
        damage(path)
        fill_cache(tmp_path, generator, 1, 1, 0, 1)
        assert np.array_equal(np.load(path), sound)


def test_files_that_are_no_heads_are_passed_over(tmp_path):
    for name in ('head-1-abc.npy', 'head-1-00001.npy', 'head-12-000001.npy', 'head-1-000001.tmp'):
        (tmp_path / name).touch()
    assert cached_heads(tmp_path, 1) == []


def test_a_damaged_head_in_a_read_only_cache_is_made_for_this_run(
    tmp_path, generator, monkeypatch
):
    fill_cache(tmp_path, generator, 1, 1, 0, 1)
    path = head_file(tmp_path, 1, 0)
    os.truncate(path, 50)

    def refuse(*_):
        raise OutputError('read-only')

    monkeypatch.setattr(head_cache, 'write_head', refuse)
    source = HeadCacheSource(tmp_path, replace(SMALL, cache_size=1))
    assert source.batch([5], generator, 0).image.shape == (1, 1, 24, 24, 24)


def test_why_no_head_can_be_made_is_said(tmp_path, generator):
    (tmp_path / 'cache').write_text('a file where a folder is needed')
    with (
        pytest.raises(Exception, match=r'stopped \(.*cache.*\)') as caught,
        filling_cache(tmp_path / 'cache', generator, SMALL, 1),
    ):
        pass
    assert '\n' not in str(caught.value)


def half_done(cache, generator, seed, count, worker, workers, reason):
    """A process that makes heads and ends, and one that ends before it has made any."""
    if worker:
        os._exit(1)
    fill_cache(cache, generator, seed, count, worker, workers)


def test_training_does_not_wait_for_the_heads_of_a_killed_process(
    tmp_path, generator, monkeypatch
):
    monkeypatch.setattr(head_cache, '_generate', half_done)
    config = replace(SMALL, cache_size=4)
    with (
        pytest.raises(PumbaError, match='killed, or out of memory'),
        filling_cache(tmp_path / 'cache', generator, config, 2),
    ):
        pass
    assert len(cached_heads(tmp_path / 'cache', config.seed)) == 2


def test_a_second_run_in_the_folder_is_refused(tmp_path, capsys):
    words = [str(tmp_path), *WORDS.split(), '--steps', '2']
    with only_run_in(tmp_path):
        assert main(words) == 1
    printed = capsys.readouterr().err
    assert printed.count('\n') == 1
    assert 'another run is at work here' in printed
    assert names(tmp_path) == []


def test_tensorboard_on_a_full_disk_does_not_end_a_training(tmp_path, caplog):
    pytest.importorskip('tensorboard')

    class Full:
        def add_scalar(self, *_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Log(tmp_path, active=True, quiet=True) as log:
        log.writer.close()
        log.writer = Full()
        log.validation(StageProgress(), 0.5)
        log.validation(StageProgress(), 0.6)
    assert len(caplog.records) == 1
    assert 'No space left' in caplog.text


def test_the_thread_of_tensorboard_prints_no_traceback(tmp_path, small_disk, monkeypatch, caplog):
    """It meets the full disk first, when nobody is waiting for it."""
    pytest.importorskip('tensorboard')
    ended = []
    monkeypatch.setattr(threading, 'excepthook', ended.append)
    with Log(tmp_path, active=True, quiet=True) as log:
        thread = threading.enumerate()[-1]
        assert 'tensorboard' in type(thread).__module__
        small_disk(1)
        log.writer.add_scalar('a', 1.0, 1)
        thread.join(60)
        assert not thread.is_alive()
        log.validation(StageProgress(), 0.5)
    assert ended == []
    assert len(caplog.records) == 1
    other = threading.Thread(target=lambda: 1 / 0)
    other.start()
    other.join()
    assert len(ended) == 1


def test_a_disk_too_full_for_tensorboard_from_the_start(tmp_path, caplog):
    pytest.importorskip('tensorboard')
    (tmp_path / 'tensorboard').write_text('a file where its folder would be')
    with Log(tmp_path, active=True, quiet=True) as log:
        log.validation(StageProgress(), 0.5)
    assert len(caplog.records) == 1
    assert 'no more is logged for TensorBoard' in caplog.text


def test_lightning_prints_nothing_where_stderr_was_another_when_it_was_imported(
    monkeypatch, capsys
):
    import lightning  # noqa: F401

    closed = io.StringIO()
    closed.close()
    for handler in logging.getLogger('lightning').handlers:
        monkeypatch.setattr(handler, 'stream', closed)
    launch(Hardware('cpu', precision='bf16-mixed'))
    assert capsys.readouterr().err == ''


def test_what_a_killed_run_left_is_removed(tmp_path):
    for place in ('.', 'coarse', 'head-cache/a'):
        path = tmp_path / place / '.partial-abcdefgh.pt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    words = [str(tmp_path), *WORDS.split(), '--steps', '1']
    assert main(words) == 0
    assert not list(tmp_path.rglob('.partial-*'))


@pytest.mark.parametrize('name', ['checkpoint.pt'])
@pytest.mark.parametrize('content', [b'', b'rubbish', b'PK\x03\x04' + bytes(100)])
def test_a_damaged_checkpoint_is_one_line(tmp_path, capsys, name, content):
    (tmp_path / 'coarse').mkdir()
    (tmp_path / 'coarse' / name).write_bytes(content)
    assert main([str(tmp_path), *WORDS.split(), '--steps', '1', '--resume']) == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[-1].startswith('pumba-train: error: ')
    assert name in printed[-1]
    assert (tmp_path / 'coarse' / name).read_bytes() == content


@pytest.mark.parametrize('resume', [[], ['--resume']])
def test_weights_that_no_training_here_made_are_kept(tmp_path, capsys, resume):
    """They were replaced, also those of a run whose checkpoints had been removed."""
    (tmp_path / 'weights.safetensors').write_bytes(b'mine')
    assert main([str(tmp_path), *WORDS.split(), '--steps', '1', *resume]) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith('pumba-train: error: ')
    assert 'there are weights' in printed[-1]
    assert (tmp_path / 'weights.safetensors').read_bytes() == b'mine'
    assert not (tmp_path / 'coarse').exists()
