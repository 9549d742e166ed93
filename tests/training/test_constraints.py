"""What training asks beside the labels, and of whom else it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, NetworkConfig
from pumba_pipe.network.unet import UNet
from pumba_pipe.network.weights import Stage, load_weights, save_weights
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training.constraints import disagreement, hardest_pairs, implausible_shape
from pumba_pipe.training.loop import train
from pumba_pipe.training.losses import dice_and_cross_entropy
from pumba_pipe.training.samples import Batch, SampleGenerator
from pumba_pipe.training.set_up import initialize
from pumba_pipe.training.settings import Hardware
from pumba_pipe.training.stage_run import StageRun
from pumba_pipe.training.stage_settings import StageSettings
from pumba_pipe.training.teacher import Teacher

TINY = NetworkConfig((4, 8), 2)
CPU = Hardware('cpu', threads=1)


def ball(radius: float, size: int = 16) -> torch.Tensor:
    """A ball in the middle of a cube, 0 or 1, shape (size, size, size)."""
    axis = torch.arange(size) - (size - 1) / 2
    x, y, z = torch.meshgrid(axis, axis, axis, indexing='ij')
    return ((x**2 + y**2 + z**2) < radius**2).float()


def logits_of(*masks: torch.Tensor) -> torch.Tensor:
    """Sure logits, the same for all borders, shape (len(masks), 3, x, y, z)."""
    return torch.stack([torch.stack([20 * (mask - 0.5)] * 3) for mask in masks])


def test_two_images_of_a_head_disagree_where_both_saw_it():
    inside = torch.ones(2, 1, 16, 16, 16)
    same = disagreement(logits_of(ball(6), ball(6)), inside)
    apart = disagreement(logits_of(ball(6), ball(4)), inside)
    assert same < 0.01 < 0.3 < apart
    half = logits_of(ball(6), ball(6))
    half[1, :, :8] = -10
    assert disagreement(half, inside) > 0.2
    inside[1, :, :8] = 0
    assert disagreement(half, inside) < 0.01


def test_disagreement_moves_both_predictions():
    logits = torch.zeros(2, 3, 8, 8, 8)
    logits[0] += 1
    logits.requires_grad_()
    disagreement(logits, torch.ones(2, 1, 8, 8, 8)).backward()
    assert (logits.grad.abs().flatten(1).sum(1) > 0).all()


def test_the_rendering_that_fools_the_network_is_kept():
    """A network that answers with the image is worst on the image least like the label."""
    target = torch.stack([torch.stack([ball(6)] * 3)] * 6)
    shown = [ball(6), ball(5), ball(3), ball(2), ball(5), ball(4)]
    batch = Batch(torch.stack(shown)[:, None], target, torch.ones(6, 1, 16, 16, 16))

    def network(image):
        return (20 * (image - 0.5)).expand(-1, 3, -1, -1, -1)

    kept = hardest_pairs(network, batch, 3)
    assert [int(image.sum()) for image in kept.image] == [
        int(shown[index].sum()) for index in (0, 2, 3, 5)
    ]
    assert len(kept.target) == len(kept.inside) == 4
    assert torch.equal(hardest_pairs(network, batch, 2).image, batch.image)


def test_a_second_piece_and_a_hole_cost_and_one_piece_is_free():
    inside = torch.ones(1, 1, 24, 24, 24)
    whole = ball(8, 24)
    assert implausible_shape(logits_of(whole), inside) == 0
    island, hole = whole.clone(), whole.clone()
    island[:2, :2, :2] = 1
    hole[11:13, 11:13, 11:13] = 0
    for mask in (island, hole):
        logits = logits_of(mask).requires_grad_()
        cost = implausible_shape(logits, inside)
        assert cost > 0
        cost.backward()
        changed = logits.grad[0, WITH_CSF] != 0
        assert torch.equal(changed, mask != whole)
    inside[..., :2] = 0
    assert implausible_shape(logits_of(island), inside) == 0


def test_what_is_not_known_costs_nothing():
    target = torch.stack([ball(6)] * 3)[None]
    right = 20 * (target - 0.5)
    wrong = right.clone()
    wrong[:, INTRACRANIAL] *= -1
    inside = torch.ones(1, 1, 16, 16, 16)
    assert dice_and_cross_entropy(wrong, target, inside) > 1
    target[:, INTRACRANIAL] = torch.nan
    assert dice_and_cross_entropy(wrong, target, inside) < 0.01
    assert torch.isfinite(
        dice_and_cross_entropy(wrong, torch.full_like(target, torch.nan), inside)
    )


def test_images_of_a_head_in_one_view_share_its_label():
    generator = SampleGenerator(load_recipe(), 24, 1.0, renderings=3)
    regions = generator.make_label_map(3)
    batch = generator.make_sample(regions, 5)
    assert batch.image.shape == (3, 1, 24, 24, 24)
    assert torch.equal(batch.target[0], batch.target[1])
    assert torch.equal(batch.target[0], batch.target[2])
    assert not torch.equal(batch.image[0], batch.image[1])
    alone = replace(generator, renderings=1).make_sample(regions, 5)
    assert torch.equal(alone.image[0], batch.image[0])


@pytest.fixture
def taught(tmp_path):
    """Weights of a network whose answer is yes everywhere, with two borders, and of its parts."""
    network = UNet(replace(TINY, borders=2))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(3.0)
    path = tmp_path / 'yes.safetensors'
    save_weights({'fine': Stage(network, 16)}, {'stages': {}}, path)
    return path


def test_a_teacher_is_heard_where_it_knows_the_head(taught):
    teacher = Teacher([taught, taught], 'fine', 0.5, 16, 'cpu')
    full = torch.ones(1, 3, 16, 16, 16)
    other = torch.stack([ball(4)] * 3)[None]
    batch = Batch(
        torch.rand(2, 1, 16, 16, 16), torch.cat([full, other]), torch.ones(2, 1, 16, 16, 16)
    )
    target = teacher.targets(batch).target
    said = 1 / (1 + np.exp(-3.0))
    assert target[0, :INTRACRANIAL].mean() == pytest.approx(0.5 + 0.5 * said, abs=1e-2)
    assert torch.equal(target[0, INTRACRANIAL], batch.target[0, INTRACRANIAL])
    assert torch.equal(target[1], batch.target[1]), 'it is wrong about this head'
    assert teacher.digests == [load_weights(taught).sha256] * 2


@pytest.mark.parametrize('share', [0.0, 1.5])
def test_a_share_that_is_none_is_refused(taught, share):
    with pytest.raises(InputError, match='teacher share'):
        Teacher([taught], 'fine', share, 16, 'cpu')


def test_a_teacher_of_another_size_is_refused(taught):
    with pytest.raises(InputError, match='cubes of 18'):
        Teacher([taught], 'fine', 0.5, 18, 'cpu')


def test_training_with_all_of_it(taught, tmp_path):
    config = StageSettings(
        size=32, box_share=1.0, batch=1, steps=3, cache_size=4, warm_up=2, checkpoint_minutes=60,
        consistency=0.5, renderings=3, plausible_shape=0.5,
    )  # fmt: skip
    teacher = Teacher([taught], 'fine', 0.5, 32, 'cpu')
    run = StageRun(recipe=load_recipe(), folder=tmp_path / 'run', settings=config,
                   network_config=TINY, hardware=CPU, quiet=True, teacher=teacher)  # fmt: skip
    result = train(run)
    assert result.progress.step == 3
    assert all(bool(p.isfinite().all()) for p in result.network.parameters())


def test_the_brain_stays_where_the_intracranial_space_alone_is_learned(tmp_path):
    from pumba_pipe.network.config import INTRACRANIAL

    config = StageSettings(
        size=32, box_share=1.0, batch=1, steps=4, cache_size=4, warm_up=1, checkpoint_minutes=60,
        learning_rate=0.05, ema=0.5, only_intracranial=True,
    )  # fmt: skip
    before = UNet(replace(TINY, borders=3))
    initialize(before, 3)
    run = StageRun(recipe=load_recipe(), folder=tmp_path / 'run', settings=config,
                   hardware=CPU, initial=before, quiet=True)  # fmt: skip
    result = train(run)
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        old, new = (network.eval()(image) for network in (before, result.network))
    assert torch.equal(old[:, :INTRACRANIAL], new[:, :INTRACRANIAL])
    assert not torch.allclose(old[:, INTRACRANIAL], new[:, INTRACRANIAL])
