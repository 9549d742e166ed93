"""Errors a user can act on. Commands print them as one line and exit with a non-zero code."""

from __future__ import annotations


class PumbaError(Exception):
    """Base of all errors with a message meant for the user: what, where, what to do."""


class InputError(PumbaError):
    """An input image, folder or option cannot be used."""


class OutputError(PumbaError):
    """A result cannot be written."""


class RecipeError(PumbaError):
    """A synthesis recipe is incomplete, or names something unknown."""


class WeightsError(PumbaError):
    """A weights file is damaged or was not made by pumba_pipe."""


class NothingFoundError(PumbaError):
    """No brain was found in an image; no mask is written."""
