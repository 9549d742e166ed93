"""The Dice to expect of a mask: its value, its interval, its reasons, and masks of no brain."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from pumba_pipe.extraction.evidence import (
    AgreementMetrics,
    Evidence,
    ShapeMetrics,
    compactness,
    shape_metrics,
)
from pumba_pipe.extraction.expected_dice import expected_dice
from pumba_pipe.extraction.plausibility import InnerContrast
from pumba_pipe.extraction.quality import (
    EDGE,
    NO_CALIBRATION,
    STRIPPED,
    quality_record,
)
from pumba_pipe.images.volume import Volume

BRAIN = ShapeMetrics(0.8, 0.0, -2.0, 3.0)
GOOD = AgreementMetrics(0.96, 0.98, 0.98, 0.93)


def evidence(shape=BRAIN, **agreement):
    return Evidence(GOOD._replace(**agreement), shape)


def agreeing(value):
    """All agreements at one place of the logarithmic scale."""
    return Evidence(AgreementMetrics(*[1 - math.exp(-value)] * 4), BRAIN)


def test_the_value_is_the_line_of_the_calibration(calibration):
    made = calibration()
    assert expected_dice(made, agreeing(2.0)).value == pytest.approx(1 / (1 + math.exp(-2)))
    assert expected_dice(made, agreeing(3.0)).value == pytest.approx(1 / (1 + math.exp(-3.75)))
    # beyond the range on made heads nothing is gained
    assert expected_dice(made, agreeing(7.0)).value == expected_dice(made, agreeing(5.0)).value
    assert expected_dice(made, Evidence(AgreementMetrics(1, 1, 1, 1), BRAIN)).value < 1


def test_the_interval_is_wider_where_less_is_expected(calibration):
    good, poor = (expected_dice(calibration(), agreeing(value)) for value in (3.0, 1.5))
    for one in (good, poor):
        assert 0 < one.low < one.value < one.high < 1
    assert poor.high - poor.low > good.high - good.low
    logit = math.log(poor.low / (1 - poor.low))
    assert logit == pytest.approx(1.125 - 2 * np.interp(1.125, (0, 4), (1, 0.5)))


def test_each_agreement_counts_and_the_largest_shortfalls_are_named(calibration):
    made, best = calibration(), expected_dice(calibration(), agreeing(4.0))
    assert (
        best.reasons == ()
        and not best.flagged
        and str(best) == (f'expected Dice {best.value:.2f} ({best.low:.2f}-{best.high:.2f})')
    )
    for name, words in (
        ('gamma_dice', 'the mask moves when the image is brightened'),
        ('tta_dice', 'two views of the image give different masks'),
        ('coarse_fine_dice', 'the close look changed the mask'),
        ('boundary_certainty', 'the border is unsure'),
    ):
        worse = agreeing(4.0)._replace(agreement=agreeing(4.0).agreement._replace(**{name: 0.5}))
        found = expected_dice(made, worse)
        assert found.value < best.value
        assert found.reasons == (words,)
    poor = expected_dice(made, agreeing(1.0))
    assert poor.flagged and len(poor.reasons) == 2
    assert str(poor).endswith(f': {"; ".join(poor.reasons)}')


def test_what_no_brain_is_like_is_said(calibration):
    made = calibration()
    ball = expected_dice(made, evidence(ShapeMetrics(1.3, 0.0, -2.0, 3.0)))
    assert ball.flagged and ball.low == 0
    assert ball.no_brain == 'may be no brain: rounder than brains are'
    water = expected_dice(made, evidence(ShapeMetrics(1.1, 0.0, -6.0, 0.5)))
    assert water.no_brain == 'may be no brain: rounder and plainer inside than brains are'
    body = expected_dice(made, evidence(ShapeMetrics(0.8, 2.5, -2.0, 3.0)))
    assert body.no_brain == 'may be no brain: in a larger object than brains are'
    brain = expected_dice(made, evidence())
    assert brain.no_brain == '' and brain.low > 0 and not brain.flagged


def test_a_mask_that_is_too_sure_is_doubted(calibration):
    sure = Evidence(AgreementMetrics(*[1.0] * 4), BRAIN)
    found = expected_dice(calibration(), sure)
    assert found.no_brain == 'may be no brain: surer than brains are'


def test_compactness_and_volumes():
    grid = np.indices((64, 64, 64)) - 31.5
    ball = (grid**2).sum(0) < 20**2
    assert compactness(ball) == pytest.approx(1, abs=0.05)
    assert compactness(np.zeros((9, 9, 9), bool)) == 0
    ragged = ball & (np.random.default_rng(0).random(ball.shape) < 0.7)
    assert compactness(ragged) < 0.5
    # a cube of more voxels is halved first: the same ball, the same number
    large = np.indices((128, 128, 128)) - 63.5
    assert compactness((large**2).sum(0) < 40**2) == pytest.approx(compactness(ball), abs=0.03)
    shape = shape_metrics(ball, 20.0, 10.0, InnerContrast(0.1, math.inf))
    assert shape.coarse_excess == pytest.approx(math.log(2))
    assert all(map(math.isfinite, shape))
    assert all(map(math.isfinite, shape_metrics(ball, 0.0, 0.0, InnerContrast(0.0, 0.0))))
    assert shape_metrics(ball, 1.0, 1.0, None)[2:] == (0, 0)


@pytest.fixture
def record(calibration):
    """A function that makes the record of a ball, from evidence and doubts."""
    grid = np.indices((40, 40, 40)) - 19.5
    ball = (grid**2).sum(0) < 12**2
    data = (ball * 70 + 30 + np.random.default_rng(0).normal(0, 1, ball.shape)).astype('f4')
    volume = Volume(data, np.eye(4))

    def make(found, doubts=(), calibrated=True, mask=ball):
        expected = expected_dice(calibration(), found) if calibrated else None
        return quality_record(
            volume, (slice(None),) * 3, mask, 1, found.agreement, expected, doubts
        )

    return make


def test_the_record_of_a_good_and_of_a_poor_mask(record):
    good, poor = record(agreeing(4.0)), record(agreeing(1.0))
    assert good.flags == good.reasons == () and not good.doubtful
    assert str(good) == 'expected Dice 1.00 (0.99-1.00)'
    (flag,) = poor.flags
    assert flag.startswith('expected Dice 0.56 (') and poor.reasons[0] in flag
    assert poor.doubtful
    content = poor.to_dict()
    assert content['confidence'] == content['expected_dice'] == round(poor.expected_dice, 4)
    assert content['expected_dice_low'] < content['expected_dice'] < content['expected_dice_high']
    with pytest.warns(FutureWarning, match='expected_dice'):
        assert poor.confidence == poor.expected_dice


def test_no_brain_is_flagged_instead_of_a_low_dice(record):
    quality = record(evidence(ShapeMetrics(1.3, 0.0, -2.0, 3.0)), ('another doubt',))
    assert quality.flags == ('may be no brain: rounder than brains are', 'another doubt')
    assert quality.expected_dice_low == 0


def test_without_a_calibration_no_number_is_invented(record):
    quality = record(agreeing(1.0), ('a doubt that needs none',), calibrated=False)
    content = quality.to_dict()
    for key in ('expected_dice', 'expected_dice_low', 'expected_dice_high', 'confidence'):
        assert content[key] is None
    assert quality.flags == ('a doubt that needs none',) and quality.doubtful
    assert NO_CALIBRATION in quality.notes
    assert str(quality) == 'expected Dice unknown'


def test_what_an_image_is_like_is_no_doubt_of_its_mask(record):
    everything = np.ones((40, 40, 40), bool)
    quality = record(agreeing(4.0), mask=everything)
    assert set(quality.flags) == {EDGE, STRIPPED}
    assert not quality.doubtful


def test_a_scan_without_calibration_says_so(head_file, monkeypatch):
    from dataclasses import replace

    import pumba_pipe

    model = replace(pumba_pipe.load_weights(), calibration=None)
    result = pumba_pipe.extract(head_file, model, 'cpu')
    assert result.quality.expected_dice is None
    assert NO_CALIBRATION in result.quality.notes
    assert isinstance(result.evidence, Evidence)


def test_scores_of_a_record_without_numbers():
    from pumba_pipe.evaluation.metrics import StatedQuality

    silent = SimpleNamespace(
        expected_dice=None, expected_dice_low=None, expected_dice_high=None, doubtful=False
    )
    expected = StatedQuality.of(silent)
    assert math.isnan(expected.dice) and expected.flagged == 'no'
