"""Skull stripping for any brain MRI by a network trained on random shapes alone.

Examples
--------
>>> import pumba_pipe
>>> [name for name in dir(pumba_pipe) if name.startswith('load')]
['load_recipe', 'load_volume', 'load_weights']
>>> pumba_pipe.__version__[0].isdigit()
True
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe._version import __version__

if TYPE_CHECKING:
    from pumba_pipe import sitk
    from pumba_pipe.common.errors import NothingFoundError, PumbaError
    from pumba_pipe.extraction.pipeline import extract
    from pumba_pipe.extraction.result import BrainExtraction
    from pumba_pipe.extraction.strip_file import strip_file
    from pumba_pipe.images.volume import Volume, load_volume
    from pumba_pipe.network.weights import load_weights
    from pumba_pipe.synthesis.recipe import load_recipe
    from pumba_pipe.synthesis.sample import synthesize

# Names are imported when first used: `import pumba_pipe` costs no torch.
_HOMES = {
    'NothingFoundError': 'common.errors',
    'PumbaError': 'common.errors',
    'BrainExtraction': 'extraction.result',
    'extract': 'extraction.pipeline',
    'strip_file': 'extraction.strip_file',
    'load_recipe': 'synthesis.recipe',
    'synthesize': 'synthesis.sample',
    'Volume': 'images.volume',
    'load_volume': 'images.volume',
    'load_weights': 'network.weights',
}
# Modules that are imported when first used, likewise.
_MODULES = {
    'interfaces': 'interfaces',
    'sitk': 'sitk',
    'workflows': 'workflows',
}

__all__ = [
    'BrainExtraction',
    'NothingFoundError',
    'PumbaError',
    'Volume',
    '__version__',
    'extract',
    'load_recipe',
    'load_volume',
    'load_weights',
    'sitk',
    'strip_file',
    'synthesize',
]


def __dir__() -> list[str]:
    special = {name for name in globals() if name.startswith('__')}
    return sorted({*__all__, *_MODULES, *special})


# In a source tree `workflows/` and `bids_app/` lie beside this folder, and Python started there
# finds this copy before an installed one: let it find them, too.
if not (Path(__file__).parent / 'workflows').exists():
    _root = Path(__file__).resolve().parents[1]
    if all((_root / part / '__init__.py').is_file() for part in ('workflows', 'bids_app')):
        __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'pumba_pipe.{_HOMES[name]}'), name)
    if name in _MODULES:
        return import_module(f'pumba_pipe.{_MODULES[name]}')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
