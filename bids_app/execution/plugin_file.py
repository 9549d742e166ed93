"""A Nipype plugin named in a YAML file, as other BIDS-Apps take it (``--use-plugin``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import UsageError

from pumba_pipe.common.documents import brief, read_yaml
from pumba_pipe.common.errors import InputError

NUMBERS = ('n_procs', 'memory_gb')  # settings of plugins


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
    for name in NUMBERS:
        value = args.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UsageError(
                f'--use-plugin {path}: plugin_args: {name}: {brief(value)} is no number above zero'
            )
    choice = PluginChoice(content['plugin'], args)
    plugin_class(choice.name, path)
    return choice


def plugin_class(name: str, path: Path | None = None) -> Any:
    """Find Nipype's class of a plugin.

    Raises
    ------
    UsageError
        There is none.
    """
    from nipype.pipeline import plugins

    found = getattr(plugins, f'{name}Plugin', None)
    if found is None:
        there = sorted(key[:-6] for key in vars(plugins) if key.endswith('Plugin'))
        raise UsageError(
            f'--use-plugin {path}: no plugin {brief(name)}; Nipype has {", ".join(there)}'
        )
    return found
