"""Recipes: every range of the synthesis, read from a TOML file.

Values keep the names that users' files and the recipes' hashes hold. The code has the words of
anatomy: `stalk` is the brainstem, `fluid` CSF, `hard` the skull, `membrane` the dura, `marrow` the
diploe, `soft` (of the shells) the scalp, `ribbon` the cortex, `folds` the sulci, `centre` the
ventricles, `sheets` the falx, `bites` notches, `blobs` eyes and glands.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pumba_pipe.common.arguments import path_of
from pumba_pipe.common.documents import brief, read_toml
from pumba_pipe.common.errors import InputError, RecipeError
from pumba_pipe.synthesis import draw

# Values that a kind of image has together; of these tables the rest is drawn as ever.
LOOKS = ('epi', 'surface_coil', 'pet')
LOOK_TABLES = ('intensity', 'artefact')

RECIPE_FOLDER = Path(__file__).parent / 'recipes'

# Region codes leave room for this many; fewer than these make no image.
COUNT_LIMITS = {
    'blobs': (0, 8),
    'coil_count': (1, 32),
    'dropout_count': (1, 8),
    'ghost_count': (2, 64),
    'lesion_count': (0, 3),
    'regions': (1, 4),
    'squarings': (0, 12),
    'tissues': (1, 8),
    'velocity_knots': (4, 64),
}
# Lengths that something is divided by.
POSITIVE = ('cell', 'extent', 'ratio', 'voxel', 'factor', 'reach', 'radius', 'size')


@dataclass(frozen=True)
class Section:
    """One table of a recipe: names with numbers, `[low, high]` ranges or probabilities."""

    name: str
    values: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        """Return the raw value of `key`."""
        try:
            return self.values[key]
        except KeyError:
            raise RecipeError(f'recipe: [{self.name}] has no value {key!r}') from None

    def uniform(self, key: str, rng: torch.Generator) -> float:
        """Draw from the range `key`."""
        low, high = self[key]
        return draw.uniform(rng, low, high)

    def integer(self, key: str, rng: torch.Generator) -> int:
        """Draw a whole number from the range `key`, both ends included."""
        low, high = self[key]
        return draw.integer(rng, low, high)

    def chance(self, key: str, rng: torch.Generator) -> bool:
        """Draw True with the probability `key`."""
        return draw.chance(rng, self[key])


@dataclass(frozen=True)
class Recipe:
    """How training heads are drawn.

    Attributes
    ----------
    name : str
    generator : str
        ``'shapes'`` (the grammar of docs/architecture.md) or ``'paper'`` (Park et al. 2025).
    tables : mapping
        Section name to section content.
    """

    name: str
    generator: str
    tables: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, name: str) -> Section:
        """Return a section by its name."""
        if name not in self.tables:
            raise RecipeError(f'recipe {self.name}: section [{name}] is missing')
        return Section(name, self.tables[name])

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's content, independent of comments and layout."""
        content = json.dumps(
            {'generator': self.generator, 'tables': self.tables}, sort_keys=True
        ).encode()
        return hashlib.sha256(content).hexdigest()


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob('*.toml'))


def load_recipe(name_or_file: str | Path = 'default') -> Recipe:
    """Load a shipped recipe by name, or a user's by its path.

    A user's file may leave out what it does not change: the shipped recipe of the same
    `generator` fills in the rest. Names that recipe does not know are refused.

    Raises
    ------
    RecipeError
        The file is missing, not TOML, or holds unknown or malformed values.
    InputError
        `name_or_file` is neither.

    Examples
    --------
    >>> import pumba_pipe
    >>> pumba_pipe.load_recipe('paper').generator
    'paper'
    """
    path = path_of(name_or_file, 'name_or_file')
    shipped = RECIPE_FOLDER / f'{name_or_file}.toml'
    if path.suffix != '.toml' and shipped.is_file():
        path = shipped
    content = _read_toml(path)
    generator = content.pop('generator', 'shapes')
    base_file = RECIPE_FOLDER / ('paper.toml' if generator == 'paper' else 'default.toml')
    if generator not in ('paper', 'shapes'):
        raise RecipeError(f"{path}: generator must be 'shapes' or 'paper', not {brief(generator)}")
    base = _read_toml(base_file)
    base.pop('generator')
    return Recipe(path.stem, generator, _merged(base, content, path))


def curriculum_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe with the clear contrast and few artefacts of ``easy.toml``.

    Shapes stay as they are, so both share a head cache. The published recipe has no artefacts
    and is returned as it is.
    """
    if recipe.generator == 'paper':
        return recipe
    changes = _read_toml(RECIPE_FOLDER / 'easy.toml')
    changes.pop('generator')
    tables = {name: {**table, **changes.get(name, {})} for name, table in recipe.tables.items()}
    return Recipe(f'{recipe.name}, easy start', recipe.generator, tables)


def draw_look(recipe: Recipe, rng: torch.Generator) -> Recipe:
    """Return the recipe of one image: mostly as it is, or with the values of a look."""
    share = draw.uniform(rng, 0, 1)
    for look in LOOKS:
        chance = recipe[look]['chance'] if look in recipe.tables else 0.0
        if share < chance:
            return _with_look(recipe, look)
        share -= chance
    return recipe


def _with_look(recipe: Recipe, look: str) -> Recipe:
    tables = dict(recipe.tables)
    for name in LOOK_TABLES:
        values = {key: recipe[look][key] for key in recipe[look].values if key in tables[name]}
        tables[name] = {**tables[name], **values}
    return Recipe(recipe.name, recipe.generator, tables)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path, what='recipe')
    except InputError as error:
        known = '' if path.exists() else f'; shipped ones are: {", ".join(shipped_recipes())}'
        raise RecipeError(f'{error}{known}') from None


def _merged(base: dict[str, Any], content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Lay a user's tables over the shipped ones, refusing what those do not know."""
    for section, values in content.items():
        if section not in base:
            raise RecipeError(f'{path}: unknown section [{brief(section)[1:-1]}]')
        if not isinstance(values, dict):
            raise RecipeError(f'{path}: {section} must be a table, as [{section}]')
        for key, value in values.items():
            if key not in base[section]:
                raise RecipeError(
                    f'{path}: unknown value {brief(key)} in [{brief(section)[1:-1]}]'
                )
            problem = _problem(key, value, base[section][key])
            if problem:
                raise RecipeError(f'{path}: [{section}] {key} = {brief(value)} {problem}')
        base[section] = {**base[section], **values}
    return base


def _problem(key: str, value: Any, shipped: Any) -> str:
    """Say what is wrong with a user's value, or nothing."""
    if _form(value) != _form(shipped):
        return f'must look like {shipped!r}'
    numbers = value if isinstance(value, list) else [value]
    pattern = shipped if isinstance(shipped, list) else [shipped]
    if not all(math.isfinite(number) for number in numbers):
        return 'must be finite'
    low, high = _limits(key, shipped)
    if all(isinstance(number, int) for number in pattern):
        if not all(isinstance(number, int) for number in numbers):
            return 'must be whole numbers'
        low, high = COUNT_LIMITS.get(key, (0, 64))
    if min(numbers) < low or max(numbers) > high:
        return f'must lie within {low:g} and {high:g}'
    return ''


def _limits(key: str, shipped: Any) -> tuple[float, float]:
    """Bounds of a value, from what its name and form say it is."""
    if key.startswith('percentile'):
        return 0.0, 100.0
    if key.endswith('degrees'):
        return -180.0, 180.0
    if key.endswith(POSITIVE):
        return 0.02, 1000.0
    if not isinstance(shipped, list) and shipped <= 1:
        return 0.0, 1.0  # a probability
    return -1000.0, 1000.0


def _form(value: Any) -> str:
    """Describe a value's form: a number, or an ordered range of two numbers."""
    if isinstance(value, list) and len(value) == 2 and all(_is_number(v) for v in value):
        return 'range' if value[0] <= value[1] else 'reversed range'
    return 'number' if _is_number(value) else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
