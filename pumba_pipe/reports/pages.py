"""Pages that open from disk, with everything they show inside."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

PNG = b'\x89PNG\r\n\x1a\n'
NIIVUE = 'niivue.js.gz'


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


def render(template: str, script: str, **values: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str
        Name of a file in ``templates``.
    script : str
        Name of the script the page runs, in ``templates``; the page allows no other one.
    **values
        What the template shows.
    """
    from markupsafe import Markup

    text = asset(f'templates/{script}').decode('utf-8')
    allowed = [digest(text.encode('utf-8'))]
    if values.get('niivue'):
        allowed.append(digest(gzip.decompress(asset(f'assets/{NIIVUE}'))))
    policy = (
        "default-src 'none'; img-src data: blob:; connect-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {' '.join(allowed)}; "
        "base-uri 'none'; form-action 'none'"
    )
    style = asset('templates/style.css').decode('utf-8')
    page = environment().get_template(template)
    return page.render(policy=policy, style=Markup(style), script=Markup(text), **values)


def digest(script: bytes) -> str:
    """Name a script the way a content security policy does."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'"


@cache
def asset(name: str) -> bytes:
    """Read a file of this package."""
    return files('pumba_pipe.reports').joinpath(name).read_bytes()


def niivue() -> str:
    """Return the slice viewer's code, compressed, in base64."""
    return base64.b64encode(asset(f'assets/{NIIVUE}')).decode('ascii')


def embedded_png(path: Path) -> str | None:
    """Turn a picture into an address that holds it; None when there is no such picture."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(PNG):
        return None
    return 'data:image/png;base64,' + base64.b64encode(content).decode('ascii')
