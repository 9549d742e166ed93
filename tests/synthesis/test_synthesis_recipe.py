"""Recipes: what is shipped, what a user may change, and what is refused."""

import pytest

from pumba_pipe.common.errors import RecipeError
from pumba_pipe.synthesis import draw, paper
from pumba_pipe.synthesis.artefacts import draw_artefacts
from pumba_pipe.synthesis.contrast import draw_contrast
from pumba_pipe.synthesis.head import draw_head
from pumba_pipe.synthesis.recipe import (
    LOOK_TABLES,
    LOOKS,
    Section,
    draw_look,
    load_recipe,
    shipped_recipes,
)


@pytest.fixture
def written(tmp_path):
    """Write a recipe file."""

    def write(text: str):
        path = tmp_path / 'mine.toml'
        path.write_text(text)
        return path

    return write


@pytest.fixture
def values_read(monkeypatch):
    """The (section, value) pairs that are read from recipes from now on."""
    read = set()
    lookup = Section.__getitem__

    def watched(section, key):
        read.add((section.name, key))
        return lookup(section, key)

    monkeypatch.setattr(Section, '__getitem__', watched)
    return read


def values_of(recipe) -> set[tuple[str, str]]:
    return {(name, key) for name, table in recipe.tables.items() for key in table}


def test_shipped_recipes():
    assert shipped_recipes() == ['clear', 'default', 'easy', 'paper']
    assert load_recipe('default').generator == 'shapes'
    assert load_recipe('paper').generator == 'paper'


def test_every_value_of_the_default_recipe_is_used(values_read):
    recipe = load_recipe('default')
    for seed in range(400):  # rare artefacts have a probability of 0.04
        rng = draw.seeded(seed)
        draw_look(recipe, rng)
        draw_head(recipe, rng, box=bool(seed % 2))
        draw_contrast(recipe, rng)
        draw_artefacts(recipe, rng)
    assert values_read == values_of(recipe)


def test_every_value_of_the_paper_recipe_is_used(values_read):
    recipe = load_recipe('paper')
    rng = draw.seeded(0)
    paper.draw_head(recipe, rng)
    paper.draw_contrast(recipe, rng)
    assert values_read == values_of(recipe)


def test_a_users_file_changes_only_what_it_says(written):
    shipped = load_recipe('default')
    mine = load_recipe(written('[brain]\nlobes = [7, 7]\n'))
    assert mine.name == 'mine'
    assert mine['brain']['lobes'] == [7, 7]
    assert mine['brain']['bites'] == shipped['brain']['bites']
    assert mine['artefact'].values == shipped['artefact'].values
    assert len(draw_head(mine, draw.seeded(0), box=False).brain.lobes) == 7


def test_a_users_paper_recipe(written):
    mine = load_recipe(written("generator = 'paper'\n[shape]\nhole_count = [0, 0]\n"))
    assert paper.draw_head(mine, draw.seeded(0)).holes == []


def test_the_digest_follows_the_content_alone(written):
    shipped = load_recipe('default')
    same = load_recipe(written('# a comment\n[brain]\nflat_cut = 0.5\n'))
    assert same.digest == shipped.digest
    other = load_recipe(written('[brain]\nflat_cut = 0.36\n'))
    assert other.digest != shipped.digest
    assert load_recipe('paper').digest != shipped.digest


@pytest.mark.parametrize(
    ('text', 'named'),
    [
        ('[brian]\nlobes = [1, 2]\n', '[brian]'),
        ('[brain]\nlobs = [1, 2]\n', "'lobs'"),
        ('[brain]\nlobes = [3, 1]\n', 'lobes'),
        ('[brain]\nlobes = 3\n', 'lobes'),
        ('[brain]\nlobes = [1, 2, 3]\n', 'lobes'),
        ("[brain]\nlobes = ['a', 'b']\n", 'lobes'),
        ('[brain]\nflat_cut = true\n', 'flat_cut'),
        ('[brain]\nlobe_radius = [nan, nan]\n', 'lobe_radius'),
        ('brain = 3\n', 'brain'),
        ("generator = 'other'\n", "'other'"),
        ('[brain\n', 'is not TOML'),
    ],
)
def test_what_is_refused_is_named_in_one_line(written, text, named):
    path = written(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert named in message and str(path) in message
    assert '\n' not in message


def test_binary_rubbish_is_refused(tmp_path):
    path = tmp_path / 'rubbish.toml'
    path.write_bytes(bytes(range(256)))
    with pytest.raises(RecipeError, match='not UTF-8 text'):
        load_recipe(path)


@pytest.mark.parametrize('name', ['nope', 'nope.toml', 'folder/nope.toml'])
def test_a_missing_recipe_names_the_shipped_ones(name):
    with pytest.raises(RecipeError, match='clear, default, easy, paper'):
        load_recipe(name)


def test_missing_sections_and_values_are_recipe_errors():
    recipe = load_recipe('default')
    with pytest.raises(RecipeError, match=r'\[nothing\]'):
        recipe['nothing']
    with pytest.raises(RecipeError, match='nothing'):
        recipe['brain']['nothing']


NO_OTHER = '[surface_coil]\nchance = 0\n[pet]\nchance = 0\n'


def test_a_look_stands_in_for_values_of_the_same_name(written):
    drawn = load_recipe(written(f'[epi]\nchance = 1.0\nsuppressed = 0.7\n{NO_OTHER}'))
    looked = draw_look(drawn, draw.seeded(1))
    assert looked['intensity']['suppressed'] == 0.7
    assert looked['artefact']['dropout'] == drawn['epi']['dropout'] != drawn['artefact']['dropout']
    assert looked['intensity']['hard_dark'] == drawn['intensity']['hard_dark']
    never = load_recipe(
        written('[epi]\nchance = 0\n[surface_coil]\nchance = 0\n[pet]\nchance = 0\n')
    )
    assert draw_look(never, draw.seeded(1)) is never


def test_looks_come_as_often_as_the_recipe_says():
    recipe = load_recipe('default')
    coils = [draw_look(recipe, draw.seeded(seed))['artefact']['coil'] for seed in range(1000)]
    blurs = [draw_look(recipe, draw.seeded(seed))['artefact']['soft'] for seed in range(1000)]
    assert coils.count(1.0) / 1000 == pytest.approx(recipe['surface_coil']['chance'], abs=0.04)
    assert blurs.count(recipe['epi']['soft']) / 1000 == pytest.approx(
        recipe['epi']['chance'], abs=0.04
    )


def test_every_value_of_a_look_is_one_of_another_table():
    recipe = load_recipe('default')
    for look in LOOKS:
        known = set().union(*(recipe.tables[table] for table in LOOK_TABLES))
        assert set(recipe.tables[look]) - {'chance'} <= known
