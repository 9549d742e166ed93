"""Errors a user can act on. Commands print them as one line and exit with a non-zero code."""

from __future__ import annotations

# pip finds pumba_pipe itself, and fetches what that needs and is not there
INSTALL_MISSING = 'install what is missing: pip install pumba_pipe'
LONGEST = 160  # of what other libraries say, in characters


class PumbaError(Exception):
    """Base of all errors with a message meant for the user: what, where, what to do.

    Examples
    --------
    >>> import pumba_pipe
    >>> try:
    ...     pumba_pipe.extract('nowhere.nii.gz')
    ... except pumba_pipe.PumbaError as error:
    ...     print(error)
    nowhere.nii.gz: cannot read this image: No such file or directory
    """


def first_line(error: Exception) -> str:
    """Say in a line, which is cut where it is very long, what an error of a library says.

    Examples
    --------
    >>> first_line(ValueError()), first_line(ValueError('bad header'))
    ('ValueError', 'bad header')
    """
    said = '' if error.args == (None,) else str(error)
    return said.strip().split('\n')[0][:LONGEST] or type(error).__name__


class InputError(PumbaError):
    """An input image, folder or option cannot be used."""


class OutputError(PumbaError):
    """A result cannot be written."""


class RecipeError(PumbaError):
    """A synthesis recipe is incomplete, or names something unknown."""


class WeightsError(PumbaError):
    """A weights file is damaged or was not made by pumba_pipe."""


class NothingFoundError(PumbaError):
    """No brain was found in an image; no mask is written.

    Examples
    --------
    >>> import numpy as np
    >>> import pumba_pipe
    >>> almost_empty = np.zeros((32, 32, 32))
    >>> almost_empty[3, 3, 3] = 1
    >>> try:
    ...     pumba_pipe.extract(almost_empty, affine=np.diag([3, 3, 3, 1]))
    ... except pumba_pipe.NothingFoundError as error:
    ...     print(error)
    image: no brain was found in this image
    """
