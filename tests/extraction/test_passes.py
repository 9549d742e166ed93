"""The box between the coarse and the fine pass."""

import math

import numpy as np
import pytest

from pumba_pipe.extraction.passes import (
    BOX_FILL,
    BRIGHTER,
    FINE_VIEWS,
    Pass,
    TtaView,
    box_around,
    fits,
    intensity_ceiling,
    run_fine_pass,
    run_pass,
)
from pumba_pipe.images.grids import Cube, whole_cube

ALL = (slice(None),) * 3


def both(logits: np.ndarray) -> np.ndarray:
    """The same logits for both borders."""
    return np.stack([logits, logits]).astype(np.float32)


class Rule:
    """An engine that answers by a rule, and keeps what it is shown."""

    borders = 2

    def __init__(self, size: int, rule):
        self.size, self.rule = size, rule
        self.views = []

    def predict(self, cube):
        assert cube.dtype == np.float32 and cube.flags.c_contiguous
        self.views.append(cube)
        return both(self.rule(cube))


def seen(logits: np.ndarray) -> Pass:
    """A pass with these logits, of both borders, over a cube of 2 mm voxels."""
    size = logits.shape[0]
    cube = Cube(np.full(3, float(size)), 2.0 * size, size)
    grey = np.zeros_like(logits)
    return Pass(cube, grey, grey, ALL, both(logits), 1.0)


def full(size: int, value: float) -> np.ndarray:
    return np.full((size, size, size), value, np.float32)


def test_a_doubtful_neck_stays_out_of_the_box():
    logits = full(32, -8.0)
    logits[8:24, 8:24, 16:28] = 6.0  # a brain
    logits[10:22, 10:22, 2:16] = 1.0  # below it, what may be brain
    prediction = seen(logits)
    assert prediction.mask[16, 16, 20] and not prediction.mask[16, 16, 8]
    box = box_around(prediction.mask, prediction.cube, 96)
    np.testing.assert_allclose(box.side, 16 * 2.0 / BOX_FILL)


def test_what_is_white_is_taken_from_all_that_is_likely(monkeypatch):
    """Near a coil the sure half of a brain is the bright one."""
    logits = full(32, -8.0)
    logits[8:24, 8:24, 8:24] = 6.0
    logits[8:24, 8:24, 4:8] = 1.0
    prediction = seen(logits)
    assert prediction.likely.sum() == 16 * 16 * 20 and prediction.mask.sum() == 16**3
    asked = []
    monkeypatch.setattr(
        'pumba_pipe.extraction.passes.intensity_ceiling',
        lambda _, brain: asked.append(brain) or 1.0,
    )
    image = np.random.default_rng(0).random((32, 32, 32), np.float32)
    run_fine_pass(Rule(16, lambda cube: cube - 0.5), image, np.full(3, 2.0), prediction)
    assert np.array_equal(asked[0], prediction.likely)


def test_the_likeliest_place_is_taken_where_nothing_is_sure():
    for best in (1.0, -3.0):
        logits = full(16, best - 6)
        logits[4:10, 4:10, 4:10] = best
        mask = seen(logits).mask
        assert mask.sum() == 6**3 and mask[5, 5, 5]


def test_beyond_the_field_of_view_there_is_no_brain():
    logits = full(16, -8.0)
    logits[4:10, 4:10, 2:10] = 5.0
    prediction = seen(logits)
    cut = Pass(prediction.cube, logits, logits, (slice(None), slice(None), slice(4, 16)),
               prediction.logits, 1.0)  # fmt: skip
    assert prediction.likely.sum() == 6 * 6 * 8
    for mask in (cut.likely, cut.mask):
        assert mask.shape == (16, 16, 16) and mask.sum() == 6**3 and not mask[..., :4].any()
    assert cut.volume * 1000 == pytest.approx(6**3 * 2.0**3)


def bright_is_brain(cube: np.ndarray) -> np.ndarray:
    """Takes all but what is dark for brain, and fat too where it is as bright as that."""
    fat = (cube == 1) & (cube.mean() < 0.3)
    return np.where(fat, -6.0, 30 * (cube - 0.2))


def test_fat_is_no_brighter_than_the_brain_to_the_fine_pass():
    image = full(48, 0.0)
    image[4:44, 4:44, 4:8] = 900.0  # fat
    image[12:36, 12:36, 12:36] = 300.0
    image[16:32, 16:32, 16:32] = 400.0
    voxel, engine = np.ones(3), Rule(48, bright_is_brain)
    coarse = run_pass(engine, image, voxel, whole_cube(image.shape, voxel, 48), [TtaView()])
    assert np.array_equal(coarse.values, image)
    assert engine.views[-1][24, 24, 24] < 0.5
    brain = np.zeros(image.shape, bool)
    brain[12:36, 12:36, 12:36] = True
    assert intensity_ceiling(image, brain) == 400
    fine = run_fine_pass(engine, image, voxel, coarse)
    bright = fine.values > 390
    assert (fine.scaled[bright] > 0.97).all() and (fine.scaled[~bright] < 1).all()
    assert engine.views[-1].max() == 1
    assert (engine.views[-1] > 0.97).mean() > 0.05
    brightened = [view.power != 1 for view in FINE_VIEWS].index(True)
    shown = engine.views[-len(FINE_VIEWS) :][brightened]
    assert (shown > 0.97).mean() > 0.05, 'the brightened image likewise'


def test_where_nothing_is_sure_nothing_is_cut_off():
    assert intensity_ceiling(full(4, 1.0), np.zeros((4, 4, 4), bool)) == math.inf


def bright_half(cube: np.ndarray) -> np.ndarray:
    """Finds a brain at the place of what is bright."""
    return 20 * (cube - np.float32(0.5))


def block(first: int, last: int) -> np.ndarray:
    """An image of 64 voxels a side with something bright from `first` to `last`."""
    image = full(64, 0.0)
    noise = np.random.default_rng(0).random(3 * [last - first], np.float32)
    image[first:last, first:last, first:last] = 1 + noise / 100
    return image


def test_a_box_that_does_not_fit_costs_one_view():
    image, voxel = block(20, 44), np.ones(3)
    for found, asked in ((block(20, 44), 2), (block(22, 42), 3)):
        engine = Rule(48, bright_half)
        cube = whole_cube(image.shape, voxel, 64)
        coarse = Pass(cube, image, image, ALL, both(bright_half(found)), 1)
        fine = run_fine_pass(engine, image, voxel, coarse)
        assert len(engine.views) == asked
        for (axes, power), view in zip(FINE_VIEWS, engine.views[-2:], strict=True):
            assert np.array_equal(np.flip(fine.scaled, axes) ** np.float32(power), view), axes
        assert fits(box_around(fine.mask, fine.cube, 48), fine.cube)
        assert fine.tta_dice > 0.9


@pytest.mark.parametrize(('rule', 'least', 'most'), [('steady', 0.97, 1.0), ('led', 0.2, 0.93)])
def test_a_border_that_moves_with_the_grey_scale_is_told(rule, least, most):
    """One rule finds the bright block at any power; the other takes its rim when brightened."""
    image, voxel = block(20, 44), np.ones(3)
    image[14:50, 14:50, 14:50] = np.maximum(image[14:50, 14:50, 14:50], 0.35)

    def led(cube):
        return 20 * (cube - np.float32(0.5))

    def steady(cube):
        return 20 * (cube - np.float32(0.8))

    engine = Rule(48, {'steady': steady, 'led': led}[rule])
    cube = whole_cube(image.shape, voxel, 64)
    coarse = Pass(cube, image, image, ALL, both(bright_half(block(20, 44))), 1)
    fine = run_fine_pass(engine, image, voxel, coarse)
    assert BRIGHTER < 1
    assert least <= fine.gamma_dice <= most
    assert coarse.gamma_dice == 1, 'no view of it was brightened'


def test_predictions_to_mirrored_views_are_mirrored_back():
    image = np.random.default_rng(0).random((24, 24, 24), np.float32)
    voxel, views = np.ones(3), [TtaView(axes) for axes in ((), (0,), (1, 2), (0, 1, 2))]
    engine = Rule(24, bright_half)
    result = run_pass(engine, image, voxel, whole_cube(image.shape, voxel, 24), views)
    np.testing.assert_allclose(result.logits, both(bright_half(result.scaled)), atol=1e-5)
    assert result.tta_dice == 1
