"""Pages that open from disk, with everything they show inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumba_pipe.common.files import write_text
from pumba_pipe.images.drawing import NETWORK_OUTLINE, OUTLINE

if TYPE_CHECKING:
    from jinja2 import Environment

PICTURES = {b'\x89PNG\r\n\x1a\n': 'image/png', b'\xff\xd8\xff': 'image/jpeg'}


@cache
def environment() -> Environment:
    """Templates, with every value from outside escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader('pumba_pipe.reports'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, template: str, scripts: Sequence[str], **values: Any) -> Path:
    """Fill a template, see `render`, and write it in one piece.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    write_text(path, render(template, scripts, **values))
    return path


def render(template: str, scripts: Sequence[str], **values: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        Name of a file in ``templates``.
    scripts : sequence of str
        Names of the scripts the page runs, in ``templates``; the page allows no other ones.
    **values
        What the template shows.
    """
    from markupsafe import Markup

    # each in a block of its own: what one names is unknown to the others
    blocks = [f'{{\n{asset(f"templates/{name}").decode("utf-8")}}}' for name in scripts]
    script = '\n'.join(["'use strict';", *blocks])
    policy = (
        "default-src 'none'; img-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {digest(script.encode('utf-8'))}; "
        "base-uri 'none'; form-action 'none'"
    )
    style = asset('templates/style.css').decode('utf-8')
    page = environment().get_template(template)
    return page.render(
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        outline=f'#{bytes(OUTLINE).hex()}',
        network_outline=f'#{bytes(NETWORK_OUTLINE).hex()}',
        **values,
    )


def digest(script: bytes) -> str:
    """Name a script the way a content security policy does."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"


@cache
def asset(name: str) -> bytes:
    """Read a file of this package."""
    return files('pumba_pipe.reports').joinpath(name).read_bytes()


def embedded_picture(path: Path) -> str | None:
    """Turn a picture into an address that holds it; None when there is no such picture."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    kind = next((kind for start, kind in PICTURES.items() if content.startswith(start)), None)
    if kind is None:
        return None
    return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'
