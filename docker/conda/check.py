"""Read the conda recipe as rattler-build does, and render it; prints what it would build.

``make conda`` calls this. Nothing is downloaded or built: ``rattler-build build --recipe
docker/conda/recipe.yaml`` does that, with the packages of conda-forge at hand.
"""

import sys
from pathlib import Path

RECIPE = Path(__file__).with_name('recipe.yaml')


def main() -> int:
    """Render the recipe."""
    from rattler_build import RattlerBuildError, Stage0Recipe

    try:
        variants = Stage0Recipe.from_file(RECIPE).render()
    except RattlerBuildError as error:
        print(f'{RECIPE.name}: {error}', file=sys.stderr)
        return 1
    for variant in variants:
        package = variant.recipe.package
        print(f'{RECIPE.name}: renders as {package.name} {package.version}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
