"""Importing large packages without what they import along and nothing here uses."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

# scipy goes through all names of numpy, and numpy imports these when they are first named.
ALONG = ('numpy.f2py', 'numpy.testing')
# What else numpy, scipy.ndimage and nibabel import for functions that making a mask has no use
# for. The second is the largest: scipy reads the docstrings of all its functions.
UNUSED_FOR_MASKS = (
    'urllib.request', 'scipy.special', 'numpy.polynomial', 'numpy.ctypeslib', 'numpy.char',
    'numpy.rec',
)  # fmt: skip


def import_ndimage() -> ModuleType:
    """Import `scipy.ndimage`, in less time than by its name.

    What numpy has for Fortran and for tests is executed when something of it is used.
    """
    if 'scipy.ndimage' not in sys.modules:
        for name in ALONG:
            _import_later(name)
    return importlib.import_module('scipy.ndimage')


def import_little() -> None:
    """In the process of a command that makes masks: execute `UNUSED_FOR_MASKS` when first used.

    Not for a library's user: whoever uses such a package first in two threads at once may find
    half of it, as Python's `LazyLoader` has no lock.
    """
    for name in (*ALONG, *UNUSED_FOR_MASKS):
        _import_later(name)
    _leave_docstrings_alone()


def _leave_docstrings_alone() -> None:
    """Keep scipy from adding a table to each function's docstring, which nobody reads here."""
    with contextlib.suppress(ImportError, AttributeError):
        scipy: Any = importlib.import_module('scipy._lib._array_api')
        if scipy.xp_capabilities:  # scipy 1.16 and later
            scipy.xp_capabilities = lambda **_: lambda function: function


def _import_later(name: str) -> None:
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    package, _, last = name.rpartition('.')
    setattr(sys.modules[package], last, module)
