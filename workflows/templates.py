"""Templates of TemplateFlow: reading their names, finding their files before any work starts.

TemplateFlow's own client says where its cache is and what is in it, and fetches what is missing;
its requests end after 10 seconds without a reply. It is imported only when a template is looked
for: reading the cache takes two seconds. ``python -m pumba_pipe.workflows.templates SPACE ...``
fetches templates on a machine with network access for one without.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pumba_pipe.common.cli import CommandParser, guarded
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.standard_streams import tell

FORM = 'SPACE[:cohort-X][:res-Y]'
VARIABLE = 'TEMPLATEFLOW_HOME'
SUFFIXES = ('T1w', 'T2w', 'PDw', 'PD', 'T2star', 'UNIT1')  # the first that a template has
BRAIN: tuple[dict[str, str], ...] = ({'desc': 'brain'}, {'label': 'brain'})  # of brain masks
# Volumes of a whole head. What a query leaves out may be there or not; None keeps it out.
WHOLE_HEAD: dict[str, Any] = {
    'extension': ['.nii.gz', '.nii'],
    **dict.fromkeys(
        ('atlas', 'density', 'desc', 'from', 'hemi', 'label', 'mode', 'scale', 'segmentation',
         'space', 'to')
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """A standard space as a user names it.

    Attributes
    ----------
    name : str
        Such as ``MNI152NLin2009cAsym``.
    cohort : str or None
    resolution : int or None
        Index of a grid of the template, not millimetres; None was not asked for.

    Examples
    --------
    >>> space = Space('MNIPediatricAsym', cohort='2', resolution=1)
    >>> str(space), space.label
    ('MNIPediatricAsym:cohort-2:res-1', 'MNIPediatricAsym+2')
    """

    name: str
    cohort: str | None = None
    resolution: int | None = None

    def __str__(self) -> str:
        cohort = f':cohort-{self.cohort}' if self.cohort else ''
        return self.name + cohort + (f':res-{self.resolution}' if self.resolution else '')

    @property
    def label(self) -> str:
        """Name and cohort as the label of one BIDS entity."""
        return f'{self.name}+{self.cohort}' if self.cohort else self.name


@dataclass(frozen=True)
class Template:
    """The files of a space.

    Attributes
    ----------
    path : Path
        Image of the whole head.
    mask : Path or None
        Brain mask on the same grid.
    resolution : int or None
        Of the files; None for a template with a single grid.
    space : Space
        As asked for.

    Examples
    --------
    >>> folder = Path('templates/tpl-MNI152Lin')
    >>> Template(folder / 'tpl-MNI152Lin_res-01_T1w.nii.gz', None, 1, Space('MNI152Lin')).uri
    'bids:templateflow:tpl-MNI152Lin/tpl-MNI152Lin_res-01_T1w.nii.gz'
    """

    path: Path
    mask: Path | None
    resolution: int | None
    space: Space

    @property
    def uri(self) -> str:
        """BIDS URI of the image; ``templateflow`` is a link of dataset_description.json."""
        inside = self.path.parts[self.path.parts.index(f'tpl-{self.space.name}') :]
        return f'bids:templateflow:{"/".join(inside)}'


def parse_space(text: str) -> Space:
    """Read the name of a space.

    Raises
    ------
    InputError
        The text does not have the form ``SPACE[:cohort-X][:res-Y]``.

    Examples
    --------
    >>> parse_space('MNIPediatricAsym:cohort-2:res-01')
    Space(name='MNIPediatricAsym', cohort='2', resolution=1)
    """
    name, *parts = text.split(':')
    found: dict[str, str] = {}
    for part in parts:
        key, _, label = part.partition('-')
        fits = label.isdigit() and int(label) if key == 'res' else label.isalnum()
        if key not in ('res', 'cohort') or key in found or not fits:
            raise InputError(
                f'{text!r} is not a space: {part!r} cannot be understood; the form is {FORM}, '
                'where Y is the number of a resolution'
            )
        found[key] = label
    if not re.fullmatch('[0-9A-Za-z]+', name):
        raise InputError(f'{text!r} is not a space; the form is {FORM}')
    return Space(name, found.get('cohort'), int(found['res']) if 'res' in found else None)


def find_template(space: Space, fetch: bool = True) -> Template:
    """Find the files of a space.

    Without a resolution in `space`, the template's first is taken.

    Parameters
    ----------
    space : Space
    fetch : bool
        Fetch them when they are not in the cache, and make the cache where there is none;
        otherwise nothing is written, and the files need not exist.

    Raises
    ------
    InputError
        No such template, cohort or resolution; or it has to be fetched and cannot be.

    Examples
    --------
    >>> template = find_template(parse_space('MNI152NLin2009cAsym:res-2'))
    >>> template.path.name
    'tpl-MNI152NLin2009cAsym_res-02_T1w.nii.gz'
    >>> template.mask.name
    'tpl-MNI152NLin2009cAsym_res-02_desc-brain_mask.nii.gz'
    """
    archive = _Archive(space, fetch)
    query = {**WHOLE_HEAD, 'suffix': list(SUFFIXES)}
    if not archive.files(query):
        raise archive.nothing()
    query['cohort'] = archive.choose('cohort', space.cohort, query)
    if space.resolution is not None:
        query['resolution'] = archive.choose('res', str(space.resolution), query)
    query['suffix'] = next(
        suffix for suffix in SUFFIXES if archive.files({**query, 'suffix': suffix})
    )
    query.setdefault('resolution', next(iter(archive.labels('resolution', query)), None))
    masks = ({**query, 'suffix': 'mask', **brain} for brain in BRAIN)
    mask = next(filter(archive.files, masks), None)
    return Template(
        archive.fetch(query), archive.fetch(mask) if mask else None, query['resolution'], space
    )


class _Archive:
    """TemplateFlow, asked about one space; whatever its client raises is one line for the user."""

    def __init__(self, space: Space, fetch: bool = True) -> None:
        self.space = space
        self.may_write = fetch
        self.client = self._ask(lambda: _client(_home() if fetch else _readable_home()))

    def files(self, query: dict[str, Any]) -> list[Path]:
        """Files in the archive, which need not be here."""
        return self._ask(lambda: self.client.ls(self.space.name, **query))

    def labels(self, entity: str, query: dict[str, Any]) -> list[Any]:
        """Labels that an entity has among the files."""
        known = f'get_{entity}s'
        return self._ask(lambda: getattr(self.client, known)(template=self.space.name, **query))

    def choose(self, key: str, wanted: str | None, query: dict[str, Any]) -> Any:
        """Label of the cohort or resolution that is asked for; None where there is none."""
        entity = 'resolution' if key == 'res' else key
        there = {str(label): label for label in self.labels(entity, query)}
        if wanted in there or not (wanted or there):
            return there.get(wanted or '')
        choice = ', '.join(f'{key}-{label}' for label in there)
        if wanted is None:
            raise InputError(
                f'space {self.space}: say which cohort, as in '
                f'{self.space}:{key}-{next(iter(there))}; there are {choice}'
            )
        raise InputError(
            f'space {self.space}: no {key}-{wanted}; there is {choice or f"no {key} at all"}'
        )

    def nothing(self) -> InputError:
        """Say why no image was found."""
        there = self._ask(lambda: self.client.templates())
        if self.space.name in there:
            return InputError(
                f'space {self.space}: the template has no image of a whole head to register to'
            )
        return InputError(
            f'space {self.space}: no template of this name in {_home()}; there is '
            f'{", ".join(there) or "none"} (TEMPLATEFLOW_HOME says where to look)'
        )

    def fetch(self, query: dict[str, Any]) -> Path:
        """Path of a file, which is downloaded when it is not here."""
        path = self.files(query)[0]
        if not self.may_write:
            return path
        try:
            self.client.get(self.space.name, raise_empty=True, **query)
        except Exception as error:  # requests, datalad and the client itself raise many kinds
            raise InputError(
                f'space {self.space}: {path.name} is not in {_home()} and cannot be fetched '
                f'({_line(error)}); {_remedy(self.space)}'
            ) from None
        return path

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                return question()
        except Exception as error:  # no right to write, a full disk, a damaged cache, ...
            raise InputError(
                f'space {self.space}: TemplateFlow: {_line(error)}; {_remedy(self.space)}'
            ) from None


def _home() -> Path:
    """Folder of the cache, as the client has it for this system and environment."""
    from templateflow.conf.cache import CacheConfig

    return CacheConfig().root


def _readable_home() -> Path:
    """Folder of the cache; a passing one that the client may fill where there is none yet."""
    passing = Path(_passing_home().name)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(passing)
    try:
        import templateflow  # fills its cache when it is imported
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
    assert templateflow
    home = _home()
    return home if home.is_dir() and any(home.iterdir()) else passing


@lru_cache(maxsize=1)
def _passing_home() -> tempfile.TemporaryDirectory[str]:
    """Folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix='pumba-templates-')


@lru_cache(maxsize=1)
def _client(home: Path) -> Any:
    """Client of a cache, which reads it once; an empty one is filled with names of files."""
    from templateflow import TemplateFlowClient

    return TemplateFlowClient(root=home)


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f'{error.filename}: {error.strerror}'
    return type(error).__name__ if len(str(error)) > 80 else ' '.join(str(error).split())


def _remedy(space: Space) -> str:
    return (
        'where there is network, run "TEMPLATEFLOW_HOME=FOLDER python -m '
        f'pumba_pipe.workflows.templates {space}", and set TEMPLATEFLOW_HOME to that folder here'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch templates and print where they are."""
    parser = CommandParser(
        prog='python -m pumba_pipe.workflows.templates',
        description='Fetch templates into the folder TEMPLATEFLOW_HOME.',
    )
    parser.add_argument('spaces', nargs='+', metavar=FORM)
    spaces = parser.parse_args(argv).spaces

    def body() -> int:
        for text in spaces:
            template = find_template(parse_space(text))
            tell(str(template.path))
            if template.mask is not None:
                tell(str(template.mask))
        return 0

    return guarded('pumba templates', body)


if __name__ == '__main__':
    sys.exit(main())
