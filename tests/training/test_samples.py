"""Training batches: shapes, turns, and the pool on disk."""

import pytest
import torch

from pumba_pipe.synthesis import draw
from pumba_pipe.synthesis.recipe import load_recipe
from pumba_pipe.training import head_cache as pool
from pumba_pipe.training.head_cache import HeadCacheSource, cache_folder, cached_heads, fill_cache
from pumba_pipe.training.samples import SampleGenerator, StreamSource, turned


@pytest.fixture
def feed() -> SampleGenerator:
    return SampleGenerator(load_recipe('default'), size=24, box_share=0.3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pair_is_a_batch_of_one(feed):
    regions = feed.make_label_map(3)
    assert regions.shape == (feed.head_size,) * 3 and feed.head_size > feed.size
    batch = feed.make_sample(regions, 3)
    assert [tensor.shape[1] for tensor in batch] == [1, 2, 1]
    for tensor in batch:
        assert tensor.shape[0] == 1 and tensor.shape[2:] == (24, 24, 24)
        assert tensor.dtype == torch.float32
        assert tensor.min() >= 0 and tensor.max() <= 1 + 1e-5
    assert set(batch.inside.unique().tolist()) <= {0.0, 1.0}
    assert (batch.image[batch.inside == 0] == 0).all()
    assert (batch.target * batch.inside).mean() > 0


def test_pairs_repeat_with_their_seed_and_differ_without(feed):
    regions = feed.make_label_map(3)
    first, second, other = (feed.make_sample(regions, seed) for seed in (8, 8, 9))
    assert torch.equal(first.image, second.image) and torch.equal(first.target, second.target)
    assert not torch.equal(first.target, other.target)


def test_a_draw_that_shows_nothing_is_repeated(feed, monkeypatch):
    calls = []
    draw_pair = SampleGenerator._draw_sample

    def blank_at_first(self, regions, seed):
        calls.append(seed)
        batch = draw_pair(self, regions, seed)
        return batch._replace(image=batch.image * 0) if len(calls) < 3 else batch

    monkeypatch.setattr(SampleGenerator, '_draw_sample', blank_at_first)
    batch = feed.make_sample(feed.make_label_map(3), 8)
    assert len(calls) == 3 and len(set(calls)) == 3
    assert batch.image.max() > 0


def test_turns_are_all_48_views_of_a_cube():
    cube = torch.arange(8).reshape(2, 2, 2)
    rng = draw.seeded(0)
    views = {tuple(turned(cube, rng).flatten().tolist()) for _ in range(1000)}
    assert len(views) == 48
    assert all(sorted(view) == list(range(8)) for view in views)


def test_the_stream_gives_one_sample_per_seed(feed):
    source = StreamSource(feed, torch.device('cpu'))
    batch = source.batch([1, 2])
    assert batch.image.shape == (2, 1, 24, 24, 24)
    assert torch.equal(batch.image[1:], source.batch([2]).image)


def test_the_pool_grows_by_workers_and_is_the_same_again(feed, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    fill_cache(one, feed, seed=7, count=3, worker=0, workers=1)
    fill_cache(two, feed, seed=7, count=3, worker=0, workers=2)
    assert len(cached_heads(two)) == 2
    fill_cache(two, feed, seed=7, count=3, worker=1, workers=2)
    assert len(cached_heads(two)) == 3
    assert contents(one) == contents(two)


def test_the_pool_makes_only_what_is_missing(feed, tmp_path, monkeypatch):
    fill_cache(tmp_path, feed, seed=7, count=3, worker=0, workers=1)
    whole = contents(tmp_path)
    cached_heads(tmp_path)[1].unlink()
    made = []
    head = SampleGenerator.make_label_map
    monkeypatch.setattr(
        SampleGenerator,
        'make_label_map',
        lambda self, seed, *rest: made.append(seed) or head(self, seed, *rest),
    )
    fill_cache(tmp_path, feed, seed=7, count=3, worker=0, workers=1)
    assert len(made) == 1
    assert contents(tmp_path) == whole


def test_an_interrupted_head_is_not_part_of_the_pool(feed, tmp_path, monkeypatch):
    def interrupted(file, array):
        file.write(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool.np, 'save', interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill_cache(tmp_path, feed, seed=7, count=1, worker=0, workers=1)
    assert cached_heads(tmp_path) == []
    fill_cache(tmp_path, feed, seed=7, count=1, worker=0, workers=1)
    assert len(cached_heads(tmp_path)) == 1


def test_batches_from_the_pool(feed, tmp_path):
    fill_cache(tmp_path, feed, seed=7, count=2, worker=0, workers=1)
    source = HeadCacheSource(feed, tmp_path)
    batch = source.batch([0, 1, 2])
    assert batch.image.shape == batch.inside.shape == (3, 1, 24, 24, 24)
    assert batch.target.shape == (3, 2, 24, 24, 24)
    assert (batch.target[:, 1] <= batch.target[:, 0]).all(), 'the tight border lies within'
    assert torch.equal(batch.image, source.batch([0, 1, 2]).image)
    assert not torch.equal(batch.image[0], batch.image[2])


def test_each_feed_has_its_own_pool(feed, tmp_path):
    recipe = feed.recipe
    feeds = [
        feed,
        SampleGenerator(recipe, 32, 0.3),
        SampleGenerator(recipe, 24, 1.0),
        SampleGenerator(load_recipe('paper'), 24, 0.3),
    ]
    assert len({cache_folder(tmp_path, one) for one in feeds}) == 4
    assert cache_folder(tmp_path, feed) == cache_folder(tmp_path, SampleGenerator(recipe, 24, 0.3))
