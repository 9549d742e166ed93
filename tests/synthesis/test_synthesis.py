"""Whole samples: reproducible, in range, and labelled where the brain is."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.synthesis import draw, paper, regions
from pumba_pipe.synthesis.recipe import LOOKS, Recipe, load_recipe
from pumba_pipe.synthesis.regions import CSF_RIM, REGION_COUNT
from pumba_pipe.synthesis.sample import (
    Sample,
    labels,
    make_regions,
    render,
    stream,
    synthesize,
)

SHAPE = (40, 40, 40)


@pytest.fixture(scope='module', params=['default', 'paper'])
def recipe(request) -> Recipe:
    return load_recipe(request.param)


@pytest.fixture(scope='module')
def default() -> Recipe:
    return load_recipe('default')


def changed(recipe: Recipe, **sections) -> Recipe:
    """A recipe with some values of some sections replaced."""
    tables = {name: {**table, **sections.get(name, {})} for name, table in recipe.tables.items()}
    return dataclasses.replace(recipe, tables=tables)


def brain_share(sample: Sample) -> float:
    return float(sample.label.float().mean())


def test_same_seed_same_sample(recipe):
    first, second = (synthesize(recipe, 11, SHAPE) for _ in range(2))
    for name in ('image', 'label', 'inside'):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_other_seeds_give_other_heads(recipe):
    samples = [synthesize(recipe, seed, SHAPE) for seed in range(3)]
    for first, second in itertools.combinations(samples, 2):
        assert not torch.equal(first.image, second.image)
        assert not torch.equal(first.label, second.label)


def test_global_random_state_is_neither_changed_nor_read(recipe):
    def global_state():
        return torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    before = global_state()
    first = synthesize(recipe, 4, SHAPE)
    after = global_state()
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(first.image, synthesize(recipe, 4, SHAPE).image)


@pytest.mark.parametrize('seed', range(12))
def test_image_and_label_are_in_range(recipe, seed):
    sample = synthesize(recipe, seed, SHAPE, box=bool(seed % 2))
    assert sample.image.shape == sample.label.shape == sample.inside.shape == SHAPE
    assert sample.image.dtype == torch.float32 and sample.label.dtype == torch.uint8
    assert torch.isfinite(sample.image).all()
    assert sample.image.min() >= 0 and sample.image.max() <= 1
    assert (sample.image[~sample.inside] == 0).all()
    assert set(sample.label.unique().tolist()) == {0, 1}
    assert sample.seed == seed


def test_label_is_the_brain_region(recipe):
    for seed in range(4):
        region_map = make_regions(recipe, seed, SHAPE)
        image, inside = render(recipe, region_map, seed)
        sample = synthesize(recipe, seed, SHAPE)
        assert region_map.dtype == torch.uint8
        with_csf, without_csf, intracranial = labels(recipe, region_map)
        assert torch.equal(sample.label.bool(), with_csf)
        assert not (without_csf & ~with_csf).any()
        assert not (with_csf & ~intracranial).any()
        assert torch.equal(sample.image, image) and torch.equal(sample.inside, inside)


def test_regions_have_an_intensity(default):
    found = set()
    for seed in range(25):
        found |= set(make_regions(default, seed, (24, 24, 24)).unique().tolist())
    assert max(found) < REGION_COUNT
    assert len(found) > 20


def test_the_label_lies_where_a_stripped_head_is_bright(default):
    plain = dict.fromkeys(
        ('coil', 'dropout', 'thick', 'soft', 'ghost', 'ringing', 'spike', 'wrap', 'phase_noise'), 0
    )
    plain |= {'noise_low': [0, 0], 'noise_high_chance': 0, 'voxel': [1, 1], 'blur': [0, 0]}
    recipe = changed(
        default,
        artefact=plain,
        **{look: {'chance': 0} for look in LOOKS},
        intensity={'stripped': 1, 'stripped_keeps_fluid': 0, 'suppressed': 0, 'spread': [0, 0]},
    )
    for seed in range(6):
        sample = synthesize(recipe, seed, SHAPE)
        bright = sample.image > 0.01
        assert bright.any()
        assert (sample.label[bright] == 1).all()


def test_a_box_shows_a_larger_brain_than_a_whole_view(default):
    whole, box = (
        np.mean(
            [float(synthesize(default, s, SHAPE, box=b).label.float().mean()) for s in range(8)]
        )
        for b in (False, True)
    )
    assert box > 1.3 * whole


def test_the_recipes_range_sets_the_brains_size(default):
    def share(extent: float) -> float:
        recipe = changed(
            default,
            view={'whole_extent': [extent, extent]},
            brain={'lobes': [0, 0], 'bites': [0, 0], 'flat_cut': 0, 'axis_ratio': [1, 1]},
            stalk={'present': 0},
        )
        return float(
            np.mean([synthesize(recipe, s, SHAPE).label.float().mean() for s in range(4)])
        )

    for extent in (0.4, 0.6):
        assert share(extent) == pytest.approx(np.pi / 6 * extent**3, rel=0.2)


def test_a_crop_leaves_a_box_of_the_field_of_view(default):
    recipe = changed(default, artefact={'crop': 1, 'crop_fraction': [0.2, 0.2], 'slab': 0})
    inside = synthesize(recipe, 0, SHAPE).inside
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    expected[8:32, 8:32, 8:32] = True
    assert torch.equal(inside, expected)


def test_sides_of_different_length(recipe):
    sample = synthesize(recipe, 2, (32, 24, 40))
    assert sample.image.shape == (32, 24, 40)
    assert sample.label.any()


def test_a_stream_continues_where_it_is_started(default):
    ahead = list(itertools.islice(stream(default, 5, (24, 24, 24), box_share=0.5), 4))
    later = next(stream(default, 5, (24, 24, 24), box_share=0.5, start=3))
    assert torch.equal(ahead[3].image, later.image)
    assert len({sample.seed for sample in ahead}) == 4


def test_a_streams_sample_can_be_made_again_from_its_seed(default):
    sample = next(stream(default, 5, (24, 24, 24)))
    again = synthesize(default, sample.seed, (24, 24, 24))
    assert torch.equal(sample.image, again.image) and torch.equal(sample.label, again.label)


def test_the_published_recipe_has_its_proportions():
    recipe = load_recipe('paper')
    samples = [synthesize(recipe, seed, SHAPE) for seed in range(6)]
    shares = [brain_share(sample) for sample in samples]
    assert min(shares) > 0.05 and max(shares) < 0.5
    assert all(sample.inside.all() for sample in samples)


def test_each_generator_says_itself_what_is_brain():
    """The published one uses the code of the CSF rim for an eighth of its brain's boundary."""
    published, default = load_recipe('paper'), load_recipe('default')
    for seed in range(3):
        region_map = make_regions(published, seed, SHAPE)
        assert (region_map == CSF_RIM).any()
        with_csf, without_csf, intracranial = labels(published, region_map)
        assert torch.equal(with_csf, without_csf) and torch.equal(with_csf, intracranial)
        assert torch.equal(with_csf, region_map >= paper.CORE)
        region_map = make_regions(default, seed, SHAPE)
        with_csf, without_csf, _ = labels(default, region_map)
        assert torch.equal(with_csf & ~without_csf, region_map == CSF_RIM)


def test_every_region_has_a_name():
    codes = {name: code for name, code in vars(regions).items() if type(code) is int}
    assert codes.pop('BRAIN') == codes['DEEP_TISSUE'], 'the least code of the brain'
    assert codes.pop('REGION_COUNT') > max(codes.values())
    assert len(set(codes.values())) == len(codes)
    kinds = {'TISSUE': 8, 'EYE_OR_GLAND': 8, 'DEEP_TISSUE': 4, 'LESION': 3}
    named = {code + kind for name, code in codes.items() for kind in range(kinds.get(name, 1))}
    found = set()
    for seed in range(25):
        found |= set(make_regions(load_recipe(), seed, (24, 24, 24)).unique().tolist())
    assert found <= named


def test_all_bits_of_a_seed_count():
    """Although torch's generator on the CPU knows 32 of them alone."""
    recipe = load_recipe()
    assert torch.equal(*(torch.rand(3, generator=draw.seeded(s)) for s in (7, 7 + 2**32)))
    images = [synthesize(recipe, seed, (24, 24, 24)).image for seed in (7, 7 + 2**32, 7 + 2**40)]
    for first, second in itertools.combinations(images, 2):
        assert not torch.equal(first, second)
    heads = [next(stream(recipe, seed, (24, 24, 24))).image for seed in (7, 7 + 2**32)]
    assert not torch.equal(*heads)
    derived = {draw.derived_seed(7 + high * 2**32, 1) % 2**32 for high in range(100)}
    assert len(derived) == 100


def test_the_seeds_of_samples_stay_as_they_are():
    """Else the shipped weights could not be made again."""
    assert [draw.derived_seed(*parts) for parts in ((1, 0), (3, 2), (2**40, 5))] == [
        3717377838864110079,
        5737856172015057001,
        3989005993855766925,
    ]


# Mean code of a region map and mean of its image, for the seeds 1 to 3; the second shows a box.
LEVELS = {
    'clear': [(1.058, 0.0776), (6.277, 0.3120), (0.585, 0.2114)],
    'default': [(1.002, 0.0573), (2.080, 0.0577), (0.932, 0.2381)],
    'easy': [(1.002, 0.1142), (2.080, 0.0698), (0.932, 0.0356)],
    'paper': [(7.414, 0.3571), (10.360, 0.3340), (11.343, 0.3884)],
}


@pytest.mark.parametrize('name', LEVELS)
def test_the_heads_of_seeds_stay_as_they_are(name):
    """Draws keep their order and regions their codes, within what rounding changes.

    Else head caches would be of other heads than their names say, and a head's number in a log
    would not bring it back.
    """
    recipe = load_recipe(name)
    for seed, (code, intensity) in enumerate(LEVELS[name], 1):
        region_map = make_regions(recipe, seed, (24, 24, 24), box=seed == 2)
        image, _ = render(recipe, region_map, seed)
        assert float(region_map.float().mean()) == pytest.approx(code, abs=0.01)
        assert float(image.mean()) == pytest.approx(intensity, abs=0.003)


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match='seed -1'):
        draw.derived_seed(-1, 3)


def test_highlights_are_cut_off_but_not_a_small_brain(default):
    """A brain of a hundredth of the field of view was shown as one white blob."""
    always = changed(default, artefact={'percentile_high': [94.0, 94.0]})
    for seed in range(20):
        regions_of_head = make_regions(always, seed, SHAPE)
        image, inside = render(always, regions_of_head, seed)
        brain = labels(always, regions_of_head)[0] & inside
        white = (image == 1) & inside
        usual = 0.01 * inside.sum()
        assert white.sum() <= max(0.06 * inside.sum(), usual) + 2
        assert white.sum() <= max(0.25 * brain.sum(), usual) + 2
