"""The box between the coarse and the fine pass."""

import math

import numpy as np
import pytest
import torch

from pumba_pipe.extraction.passes import (
    BOX_FILL,
    BRIGHTER,
    FINE_VIEWS,
    Pass,
    TtaView,
    box_around,
    fits,
    gamma_dice,
    intensity_ceiling,
    run_fine_pass,
    run_pass,
)
from pumba_pipe.images.grids import Cube, whole_cube
from pumba_pipe.network.unet import Committee, NetworkConfig, UNet
from pumba_pipe.network.weights import Stage


def seen(logits: torch.Tensor) -> Pass:
    """A pass with these logits, of both borders, over a cube of 2 mm voxels."""
    size = logits.shape[0]
    cube = Cube(np.full(3, float(size)), 2.0 * size, size)
    inside = torch.ones_like(logits, dtype=torch.bool)
    grey = torch.zeros_like(logits)
    return Pass(cube, grey, grey, inside, torch.stack([logits, logits]), 1.0)


def test_a_doubtful_neck_stays_out_of_the_box():
    logits = torch.full((32, 32, 32), -8.0)
    logits[8:24, 8:24, 16:28] = 6.0  # a brain
    logits[10:22, 10:22, 2:16] = 1.0  # below it, what may be brain
    prediction = seen(logits)
    assert prediction.mask[16, 16, 20] and not prediction.mask[16, 16, 8]
    box = box_around(prediction.mask, prediction.cube, 96)
    np.testing.assert_allclose(box.side, 16 * 2.0 / BOX_FILL)


def test_what_is_white_is_taken_from_all_that_is_likely(monkeypatch):
    """Near a coil the sure half of a brain is the bright one."""
    logits = torch.full((32, 32, 32), -8.0)
    logits[8:24, 8:24, 8:24] = 6.0
    logits[8:24, 8:24, 4:8] = 1.0
    prediction = seen(logits)
    assert prediction.likely.sum() == 16 * 16 * 20 and prediction.mask.sum() == 16**3
    asked = []
    monkeypatch.setattr(
        'pumba_pipe.extraction.passes.intensity_ceiling',
        lambda _, brain: asked.append(brain) or 1.0,
    )
    stage = Stage(UNet(NetworkConfig((4, 8))).eval(), 16)
    with torch.inference_mode():
        run_fine_pass(stage, torch.rand(32, 32, 32), np.full(3, 2.0), prediction)
    assert torch.equal(asked[0], torch.from_numpy(prediction.likely))


def test_the_likeliest_place_is_taken_where_nothing_is_sure():
    for best in (1.0, -3.0):
        logits = torch.full((16, 16, 16), best - 6)
        logits[4:10, 4:10, 4:10] = best
        mask = seen(logits).mask
        assert mask.sum() == 6**3 and mask[5, 5, 5]


class Bright(UNet):
    """Takes all but what is dark for brain, and fat too where it is as bright as that."""

    def forward(self, image):
        self.seen = image
        fat = (image == 1) & (image.mean() < 0.3)
        return torch.where(fat, -6.0, 30 * (image - 0.2)).expand(-1, 2, -1, -1, -1)


def test_fat_is_no_brighter_than_the_brain_to_the_fine_pass():
    image = torch.zeros(48, 48, 48)
    image[4:44, 4:44, 4:8] = 900.0  # fat
    image[12:36, 12:36, 12:36] = 300.0
    image[16:32, 16:32, 16:32] = 400.0
    voxel, stage = np.ones(3), Stage(Bright(NetworkConfig((4, 8))), 48)
    coarse = run_pass(stage, image, voxel, whole_cube(image.shape, voxel, 48), [TtaView()])
    assert torch.equal(coarse.values, image)
    assert stage.network.seen[0, 0, 24, 24, 24] < 0.5
    brain = torch.zeros(48, 48, 48, dtype=torch.bool)
    brain[12:36, 12:36, 12:36] = True
    assert intensity_ceiling(image, brain) == 400
    fine = run_fine_pass(stage, image, voxel, coarse)
    bright = fine.values > 390
    assert (fine.scaled[bright] > 0.97).all() and (fine.scaled[~bright] < 1).all()
    assert stage.network.seen.max() == 1
    assert (stage.network.seen > 0.97).float().mean() > 0.05
    gamma_dice(stage, fine)
    assert (stage.network.seen > 0.97).float().mean() > 0.05, 'the brightened image likewise'


def test_where_nothing_is_sure_nothing_is_cut_off():
    assert (
        intensity_ceiling(torch.ones(4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.bool)) == math.inf
    )


class Counting(UNet):
    """Finds a brain at the place of what is bright, and counts how often it is asked."""

    def __init__(self, config):
        super().__init__(config)
        self.views = []

    def forward(self, image):
        self.views.append(image)
        return (20 * (image - 0.5)).expand(-1, 2, -1, -1, -1)


def committee_of(count: int) -> tuple[Stage, list[Counting]]:
    """A fine stage whose networks count."""
    config = NetworkConfig((4, 8), others=((4, 8),) * (count - 1))
    committee = Committee(config)
    committee.members = torch.nn.ModuleList(Counting(alone) for alone in config.alone)
    return Stage(committee, 48), list(committee.members)


def block(first: int, last: int) -> torch.Tensor:
    """An image of 64 voxels a side with something bright from `first` to `last`."""
    image = torch.zeros(64, 64, 64)
    image[first:last, first:last, first:last] = 1 + torch.rand(3 * [last - first]) / 100
    return image


@pytest.mark.parametrize(
    ('count', 'fitting', 'moved'), [(1, [6], [8]), (2, [3, 3], [4, 4]), (3, [2, 2, 2], [3, 3, 2])]
)
def test_networks_share_the_views_and_a_box_that_does_not_fit_costs_two(count, fitting, moved):
    image, voxel = block(20, 44), np.ones(3)
    for found, asked in ((block(20, 44), fitting), (block(22, 42), moved)):
        stage, networks = committee_of(count)
        cube = whole_cube(image.shape, voxel, 64)
        coarse = Pass(
            cube,
            image,
            image,
            torch.ones_like(image) > 0,
            torch.stack([20 * (found - 0.5)] * 2),
            1,
        )
        with torch.inference_mode():
            fine = run_fine_pass(stage, image, voxel, coarse)
        assert [len(network.views) for network in networks] == asked
        share = len(FINE_VIEWS) // count
        kept = [view[0, 0] for network in networks for view in network.views[-share:]]
        for axes, power in FINE_VIEWS:
            image_seen = fine.scaled.flip(axes) ** power
            assert any(torch.equal(image_seen, view) for view in kept), axes
        assert fits(box_around(fine.mask, fine.cube, 48), fine.cube)
        assert fine.tta_dice == 1


def test_the_network_that_sees_brightened_views_is_asked_about_grey_values():
    image, voxel = block(20, 44), np.ones(3)
    stage, networks = committee_of(3)
    logits = torch.stack([20 * (image - 0.5)] * 2)
    coarse = Pass(whole_cube(image.shape, voxel, 64), image, image, image > -1, logits, 1)
    with torch.inference_mode():
        fine = run_fine_pass(stage, image, voxel, coarse)
        powers = [view.power for view in FINE_VIEWS[1::3]]
        assert max(powers) < 1
        before = [len(network.views) for network in networks]
        assert gamma_dice(stage, fine) > 0.9
    asked = [len(network.views) - count for network, count in zip(networks, before, strict=True)]
    assert asked == [0, 1, 0]
    assert torch.equal(networks[1].views[-1][0, 0], fine.scaled**BRIGHTER)
