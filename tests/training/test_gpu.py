"""What only a machine with an NVIDIA GPU can show; skipped elsewhere."""

from dataclasses import replace

import pytest
import torch

from pumba_pipe import extract
from pumba_pipe.images.masks import dice
from pumba_pipe.network.unet import NetworkConfig
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.synthesis.sample import synthesize
from pumba_pipe.training.distributed import Hardware
from pumba_pipe.training.loop import train
from pumba_pipe.training.stage_run import StageRun
from pumba_pipe.training.stage_settings import StageSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs an NVIDIA GPU')
SMALL = StageSettings(
    size=32, box_share=1.0, batch=2, steps=6, cache_size=4, warm_up=2, checkpoint_minutes=60
)


def test_masks_of_gpu_and_cpu_agree(head_file):
    there, here = (extract(head_file, device=device) for device in ('cuda', 'cpu'))
    assert not there.quality.notes, 'the CPU stood in'
    assert dice(there.mask > 0, here.mask > 0) > 0.99
    assert there.quality.expected_dice == pytest.approx(here.quality.expected_dice, abs=0.02)


def test_heads_of_gpu_and_cpu_agree():
    recipe = load_recipe()
    there, here = (synthesize(recipe, 3, (48, 48, 48), device) for device in ('cuda', 'cpu'))
    assert there.image.device.type == 'cuda'
    assert dice(there.label.cpu().numpy() > 0, here.label.numpy() > 0) > 0.99


@pytest.mark.parametrize('cache_workers', [None, 2])
@pytest.mark.parametrize('compiled', [False, True])
def test_training_runs_and_resumes(tmp_path, cache_workers, compiled):
    config = replace(SMALL, cache_workers=cache_workers)
    run = StageRun(
        recipe=load_recipe(),
        folder=tmp_path,
        settings=config,
        network_config=NetworkConfig((4, 8), 2),
        hardware=Hardware('gpu', compiled=compiled),
        quiet=True,
    )
    first = train(run)
    assert (tmp_path / 'head-cache').exists() == (cache_workers is not None)
    second = train(replace(run, settings=replace(config, steps=9), resume=True))
    assert (first.progress.step, second.progress.step) == (6, 9)
    assert all(value.isfinite().all() for value in second.network.state_dict().values())
