"""Inputs and outputs of Nipype interfaces, added to their docstrings in the API reference."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

# What Nipype gives to every node; its documentation explains them.
COMMON = ('interface', 'args', 'environ', 'trait_added', 'trait_modified')


def fields(title: str, spec: Any) -> list[str]:
    """List the traits of a specification, in reStructuredText.

    Parameters
    ----------
    title : str
    spec : subclass of nipype's BaseTraitedSpec, or None

    Returns
    -------
    list of str
        Lines; none where there are no traits.
    """
    traits = spec().traits(transient=None) if spec else {}
    lines = [
        f'* ``{name}``{": " + trait.desc if trait.desc else ""}'
        for name, trait in traits.items()
        if name not in COMMON
    ]
    return ['', f'**{title}**', '', *lines, ''] if lines else []


def add_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Add inputs and outputs to the docstring of an interface."""
    if what == 'class' and hasattr(obj, 'input_spec'):
        lines += fields('Inputs', obj.input_spec)
        lines += fields('Outputs', obj.output_spec)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect('autodoc-process-docstring', add_fields)
    return {'parallel_read_safe': True}
