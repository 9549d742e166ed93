"""Training batches: shapes, turns, and the head cache on disk."""

import pytest
import torch

from pumba_pipe.common.errors import InputError
from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.synthesis.regions import CSF_RIM
from pumba_pipe.training import head_cache
from pumba_pipe.training.head_cache import (
    FIRST_HEADS,
    HeadCacheSource,
    cache_folder,
    cached_heads,
    fill_cache,
    heads_in_use,
)
from pumba_pipe.training.samples import SampleGenerator, StreamSource, turned
from pumba_pipe.training.stage_settings import StageSettings


@pytest.fixture
def generator() -> SampleGenerator:
    return SampleGenerator(load_recipe('default'), size=24, box_share=0.3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pair_is_a_batch_of_one(generator):
    regions = generator.make_label_map(3)
    assert regions.shape == (generator.head_size,) * 3 and generator.head_size > generator.size
    batch = generator.make_sample(regions, 3)
    assert [tensor.shape[1] for tensor in batch] == [1, 3, 1]
    for tensor in batch:
        assert tensor.shape[0] == 1 and tensor.shape[2:] == (24, 24, 24)
        assert tensor.dtype == torch.float32
        assert tensor.min() >= 0 and tensor.max() <= 1 + 1e-5
    assert set(batch.inside.unique().tolist()) <= {0.0, 1.0}
    assert (batch.image[batch.inside == 0] == 0).all()
    assert (batch.target * batch.inside).mean() > 0


def test_pairs_repeat_with_their_seed_and_differ_without(generator):
    regions = generator.make_label_map(3)
    first, second, other = (generator.make_sample(regions, seed) for seed in (8, 8, 9))
    assert torch.equal(first.image, second.image) and torch.equal(first.target, second.target)
    assert not torch.equal(first.target, other.target)


def test_a_draw_that_shows_nothing_is_repeated(generator, monkeypatch):
    calls = []
    draw_pair = SampleGenerator._draw_sample

    def blank_at_first(self, regions, seed, view):
        calls.append(seed)
        batch = draw_pair(self, regions, seed, view)
        return batch._replace(image=batch.image * 0) if len(calls) < 3 else batch

    monkeypatch.setattr(SampleGenerator, '_draw_sample', blank_at_first)
    batch = generator.make_sample(generator.make_label_map(3), 8)
    assert len(calls) == 3 and len(set(calls)) == 3
    assert batch.image.max() > 0


def test_turns_are_all_48_views_of_a_cube():
    cube = torch.arange(8).reshape(2, 2, 2)
    rng = draw.seeded(0)
    views = {tuple(turned(cube, rng).flatten().tolist()) for _ in range(1000)}
    assert len(views) == 48
    assert all(sorted(view) == list(range(8)) for view in views)


def test_the_stream_gives_one_sample_per_seed(generator):
    source = StreamSource(torch.device('cpu'))
    batch = source.batch([1, 2], generator, 0)
    assert batch.image.shape == (2, 1, 24, 24, 24)
    assert torch.equal(batch.image[1:], source.batch([2], generator, 5).image)


def test_the_cache_grows_by_workers_and_is_the_same_again(generator, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    fill_cache(one, generator, seed=7, count=3, worker=0, workers=1)
    fill_cache(two, generator, seed=7, count=3, worker=0, workers=2)
    assert len(cached_heads(two, 7)) == 2
    fill_cache(two, generator, seed=7, count=3, worker=1, workers=2)
    assert len(cached_heads(two, 7)) == 3
    assert contents(one) == contents(two)


def test_the_cache_makes_only_what_is_missing(generator, tmp_path, monkeypatch):
    fill_cache(tmp_path, generator, seed=7, count=3, worker=0, workers=1)
    whole = contents(tmp_path)
    cached_heads(tmp_path, 7)[1].unlink()
    made = []
    head = SampleGenerator.make_label_map
    monkeypatch.setattr(
        SampleGenerator,
        'make_label_map',
        lambda self, seed, *rest: made.append(seed) or head(self, seed, *rest),
    )
    fill_cache(tmp_path, generator, seed=7, count=3, worker=0, workers=1)
    assert len(made) == 1
    assert contents(tmp_path) == whole


def test_an_interrupted_head_is_not_part_of_the_cache(generator, tmp_path, monkeypatch):
    def interrupted(file, array):
        file.write(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(head_cache.np, 'save', interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill_cache(tmp_path, generator, seed=7, count=1, worker=0, workers=1)
    assert cached_heads(tmp_path, 7) == []
    fill_cache(tmp_path, generator, seed=7, count=1, worker=0, workers=1)
    assert len(cached_heads(tmp_path, 7)) == 1


def test_batches_from_the_cache(generator, tmp_path):
    fill_cache(tmp_path, generator, seed=7, count=2, worker=0, workers=1)
    source = HeadCacheSource(tmp_path, StageSettings(seed=7, cache_size=2))
    batch = source.batch([0, 1, 2], generator, 0)
    assert batch.image.shape == batch.inside.shape == (3, 1, 24, 24, 24)
    assert batch.target.shape == (3, 3, 24, 24, 24)
    assert (batch.target[:, 1] <= batch.target[:, 0]).all(), 'the tight border lies within'
    assert torch.equal(batch.image, source.batch([0, 1, 2], generator, 0).image)
    assert not torch.equal(batch.image[0], batch.image[2])


def test_each_generator_has_its_own_cache(generator, tmp_path):
    recipe = generator.recipe
    generators = [
        generator,
        SampleGenerator(recipe, 32, 0.3),
        SampleGenerator(recipe, 24, 1.0),
        SampleGenerator(load_recipe('paper'), 24, 0.3),
    ]
    assert len({cache_folder(tmp_path, one) for one in generators}) == 4
    assert cache_folder(tmp_path, generator) == cache_folder(
        tmp_path, SampleGenerator(recipe, 24, 0.3)
    )


def drawn_heads(folder, config, seeds, drawn):
    """Numbers of the heads that these seeds draw."""
    source = HeadCacheSource(folder, config)
    return [
        int(source._head(seed, heads_in_use(config, drawn)).stem.split('-')[-1]) for seed in seeds
    ]


def test_draws_do_not_depend_on_how_many_heads_are_there(tmp_path):
    """Of a resumed run the cache is fuller; others may have filled it for their own seeds."""
    config = StageSettings(seed=7, cache_size=60)
    grown, full = tmp_path / 'grown', tmp_path / 'full'
    for folder, count in ((grown, FIRST_HEADS + 10), (full, 60)):
        folder.mkdir()
        for index in range(count):
            head_cache.head_file(folder, 7, index).touch()
    for index in range(9):
        head_cache.head_file(full, 3, index).touch()
    seeds = [draw.derived_seed(1, index) for index in range(200)]
    heads = drawn_heads(grown, config, seeds, drawn=20)
    assert heads == drawn_heads(full, config, seeds, drawn=20)
    assert set(heads) == set(range(FIRST_HEADS + 10))
    at_the_end = drawn_heads(full, config, seeds, drawn=10_000)
    assert len(set(at_the_end)) > 50
    assert at_the_end == drawn_heads(full, config, seeds, drawn=20_000)


def test_another_head_stands_in_for_one_that_is_not_made_yet(tmp_path):
    config = StageSettings(seed=7, cache_size=60)
    for index in range(5):
        head_cache.head_file(tmp_path, 7, index).touch()
    heads = drawn_heads(tmp_path, config, range(40), drawn=20)
    assert set(heads) == set(range(5))
    assert heads[3] == 3, 'one that is there is drawn'
    with pytest.raises(InputError, match='no heads here'):
        drawn_heads(tmp_path, StageSettings(seed=8), [1], drawn=0)


def test_the_labels_of_the_published_recipe_are_one_brain():
    """Its region codes are its own: none of them is taken for the CSF rim of the other."""
    generator = SampleGenerator(load_recipe('paper'), size=24, box_share=0.0)
    regions = generator.make_label_map(3)
    assert (regions == CSF_RIM).any(), 'the code of another region here'
    batch = generator.make_sample(regions, 3)
    assert torch.equal(batch.target[:, 0], batch.target[:, 1])
