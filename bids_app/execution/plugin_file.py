"""A Nipype plugin named in a YAML file, as other BIDS-Apps take it (``--use-plugin``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import UsageError
from pumba_pipe.bids_app.options.value_types import MIN_MEMORY_GB

from pumba_pipe.common.documents import brief, read_yaml
from pumba_pipe.common.errors import InputError

WHOLE_NUMBERS = {'n_procs': 1, 'max_jobs': 1, 'n_gpu_procs': 0}  # settings, and the least of each
NEEDS = {'IPython': 'ipyparallel', 'SomaFlow': 'soma_workflow'}  # packages that plugins import
UNUSABLE = ('Debug',)  # takes a function, which a file cannot name


@dataclass(frozen=True)
class PluginChoice:
    """A plugin and its settings.

    Attributes
    ----------
    name : str
        As Nipype calls it: ``'MultiProc'``, ``'SLURM'``, ...
    args : dict
    """

    name: str = 'MultiProc'
    args: dict[str, Any] = field(default_factory=dict)


def read_plugin(path: Path) -> PluginChoice:
    """Read the choice of a plugin.

    Raises
    ------
    UsageError
        The file cannot be understood, or Nipype has no such plugin.
    """
    try:
        content = read_yaml(path)
    except InputError as error:
        raise UsageError(f'--use-plugin {error}') from None
    if not isinstance(content.get('plugin'), str):
        raise UsageError(f'--use-plugin {path}: names no plugin, such as "plugin: MultiProc"')
    args = content.get('plugin_args') or {}
    if not isinstance(args, dict):
        raise UsageError(f'--use-plugin {path}: plugin_args is not a set of names and values')
    _check_numbers(args, path)
    choice = PluginChoice(content['plugin'], args)
    plugin_class(choice.name, path)
    return choice


def _check_numbers(args: dict[str, Any], path: Path) -> None:
    """Refuse settings with which Nipype would fail at each image, or wait for ever."""
    for name, least in WHOLE_NUMBERS.items():
        value = args.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(
                f'--use-plugin {path}: plugin_args: {name}: {brief(value)} is no whole number '
                f'from {least} on'
            )
    value = args.get('memory_gb', MIN_MEMORY_GB)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < MIN_MEMORY_GB:
        raise UsageError(
            f'--use-plugin {path}: plugin_args: memory_gb: {brief(value)} is no number of '
            f'gigabytes from {MIN_MEMORY_GB:g} on'
        )


def plugin_class(name: str, path: Path | None = None) -> Any:
    """Find Nipype's class of a plugin.

    Raises
    ------
    UsageError
        There is none.
    """
    from nipype.pipeline import plugins

    found = getattr(plugins, f'{name}Plugin', None)
    if found is None or name in UNUSABLE:
        known = {key[:-6] for key in vars(plugins) if key.endswith('Plugin')}
        there = sorted(known.difference(UNUSABLE))
        raise UsageError(
            f'--use-plugin {path}: no plugin {brief(name)}; Nipype has {", ".join(there)}'
        )
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        raise UsageError(
            f'--use-plugin {path}: {name} needs {NEEDS[name]}, which is not installed; '
            f'pip install {NEEDS[name].replace("_", "-")}, or choose another plugin'
        )
    return found
