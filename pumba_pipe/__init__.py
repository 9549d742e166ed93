"""Skull stripping for any brain MRI by a network trained on random shapes alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pumba_pipe.extraction import BrainExtraction, extract, strip_file
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.synthesis.sample import synthesize
    from pumba_pipe.volume import Volume, load_volume
    from pumba_pipe.weights import load_weights

__version__ = '0.1.0'

# Names are imported when first used: `import pumba_pipe` costs no torch.
_HOMES = {
    'BrainExtraction': 'extraction',
    'extract': 'extraction',
    'strip_file': 'extraction',
    'load_recipe': 'synthesis.recipe',
    'synthesize': 'synthesis.sample',
    'Volume': 'volume',
    'load_volume': 'volume',
    'load_weights': 'weights',
}

__all__ = [
    'BrainExtraction',
    'Volume',
    'extract',
    'load_recipe',
    'load_volume',
    'load_weights',
    'strip_file',
    'synthesize',
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'pumba_pipe.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
