"""Whole samples: reproducible, in range, and labelled where the brain is."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch

from pumba_pipe.synthesis.recipe import Recipe, load_recipe
from pumba_pipe.synthesis.regions import BRAIN, REGION_COUNT
from pumba_pipe.synthesis.sample import Sample, make_regions, render, stream, synthesize

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
        regions = make_regions(recipe, seed, SHAPE)
        image, inside = render(recipe, regions, seed)
        sample = synthesize(recipe, seed, SHAPE)
        assert regions.dtype == torch.uint8
        assert torch.equal(sample.label.bool(), regions >= BRAIN)
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
