"""What a report is told about a run, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why an image has no results.

    Attributes
    ----------
    message : str
        What went wrong, one line.
    crash_file : Path or None
        The file with the traceback.
    """

    message: str
    crash_file: Path | None = None


@dataclass(frozen=True)
class RunSummary:
    """The run that a report closes.

    Attributes
    ----------
    version : str
        Of pumba_pipe.
    command_line : str
    started : datetime
    seconds : float or None
        How long the run took up to the report; None when nothing was run (``--reports-only``).
    weights : str
        Their name: ``default``, or a file's.
    weights_sha256 : str
    device : str
    options : mapping of str to plain values
        Everything the run was asked to do; printed as a table in this order.
    boilerplate : str
        Sentences for a paper that say what was run, plain text; blank lines part paragraphs.
    """

    version: str
    command_line: str = ''
    started: datetime = field(default_factory=datetime.now)
    seconds: float | None = None
    weights: str = 'default'
    weights_sha256: str = ''
    device: str = ''
    options: Mapping[str, Any] = field(default_factory=dict)
    boilerplate: str = ''
