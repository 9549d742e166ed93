"""Templates of TemplateFlow: reading their names, finding their files before any work starts.

A file that is in the cache is found by its name alone, which takes no time and no network. What
is not there is fetched by TemplateFlow's own client. ``python -m pumba_pipe.workflows.templates
SPACE ...`` fetches templates on a machine with network access for one without.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumba_pipe.common.bids_names import parse_name
from pumba_pipe.common.cli import guarded
from pumba_pipe.common.errors import InputError

FORM = 'SPACE[:cohort-X][:res-Y]'
SUFFIXES = ('T1w', 'T2w', 'PDw', 'PD', 'T2star', 'UNIT1')  # the first that a template has
BRAIN = ({'desc': 'brain'}, {'label': 'brain'})  # entities of a brain mask
EXTENSIONS = ('.nii.gz', '.nii')
# What a query has to name: an entity that it leaves out may be anything.
QUERIED = ('cohort', 'desc', 'label', 'suffix', 'atlas', 'density', 'hemi', 'space')


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


def find_template(space: Space) -> Template:
    """Find the files of a space, and fetch them when they are not in the cache.

    Without a resolution in `space`, the template's first is taken.

    Parameters
    ----------
    space : Space

    Raises
    ------
    InputError
        No such template, cohort or resolution; or it has to be fetched and cannot be.
    """
    home = template_home()
    folder = home / f'tpl-{space.name}'
    if not folder.is_dir():
        _make_cache(home, space)
    if not folder.is_dir():
        there = sorted(path.name[4:] for path in home.glob('tpl-*'))
        raise InputError(
            f'space {space}: no template of this name in {home}; there is '
            f'{", ".join(there) or "none"} (TEMPLATEFLOW_HOME says where to look)'
        )
    image, mask = _choose(folder, space)
    for path in (image, mask):
        if path is not None and not _is_here(path):
            _fetch(path, space, home)
    return Template(image, mask, _number(_entities(image).get('res')), space)


def template_home() -> Path:
    """Folder of the TemplateFlow cache."""
    given = os.environ.get('TEMPLATEFLOW_HOME')
    if given:
        return Path(given).absolute()
    cache = os.environ.get('XDG_CACHE_HOME')
    return (Path(cache) if cache else Path.home() / '.cache') / 'templateflow'


def _entities(path: Path) -> dict[str, str]:
    """Entities of a file name, its suffix under ``suffix``."""
    name = parse_name(path)
    return dict(name.entities) | {'suffix': name.suffix}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _choose(folder: Path, space: Space) -> tuple[Path, Path | None]:
    """Pick image and brain mask among the files of a template."""
    files = {
        path: _entities(path)
        for extension in EXTENSIONS
        for path in sorted(folder.rglob(f'tpl-*{extension}'))
    }
    heads = {path: found for path, found in files.items() if _extra(found) == {}}
    heads = {path: found for path, found in heads.items() if found['suffix'] in SUFFIXES}
    if not heads:
        raise InputError(f'space {space}: the template has no image of a whole head to align to')
    heads = _narrow(heads, 'cohort', space.cohort, space)
    resolution = None if space.resolution is None else str(space.resolution)
    image = min(
        _narrow(heads, 'res', resolution, space),
        key=lambda path: (
            SUFFIXES.index(heads[path]['suffix']),
            _number(heads[path].get('res')) or 0,
        ),
    )
    masks = [
        path
        for brain in BRAIN
        for path, found in files.items()
        if found['suffix'] == 'mask' and _extra(found) == brain
        if all(found.get(key) == heads[image].get(key) for key in ('cohort', 'res'))
    ]
    return image, masks[0] if masks else None


def _extra(entities: dict[str, str]) -> dict[str, str]:
    own = ('tpl', 'cohort', 'res', 'suffix')
    return {key: label for key, label in entities.items() if key not in own}


def _narrow(
    files: dict[Path, dict[str, str]], key: str, wanted: str | None, space: Space
) -> dict[Path, dict[str, str]]:
    """Keep the files of one cohort, or of one resolution when one was asked for."""
    labels = {path: found.get(key, '').lstrip('0') for path, found in files.items()}
    there = sorted(set(labels.values()) - {''})
    if wanted is None and (key == 'res' or not there):
        return files
    kept = {path: found for path, found in files.items() if labels[path] == wanted}
    if kept:
        return kept
    choice = ', '.join(f'{key}-{label}' for label in there)
    if wanted is None:
        raise InputError(f'space {space}: say which cohort, as in {space}:{key}-{there[0]}; '
                         f'there are {choice}')  # fmt: skip
    raise InputError(f'space {space}: no {key}-{wanted}; there is {choice or f"no {key} at all"}')


def _is_here(path: Path) -> bool:
    """Whether a file has been fetched: else it is an empty one, or a broken link of DataLad."""
    return path.is_file() and path.stat().st_size > 0


def _make_cache(home: Path, space: Space) -> None:
    """Let TemplateFlow fill an empty cache with the names of its files."""
    if home.is_dir() and any(home.iterdir()):
        return
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import templateflow.api  # noqa: F401
    except Exception as error:  # no right to write, a full disk, ...
        raise InputError(f'space {space}: {home}: {_line(error)}; {_remedy(space)}') from None


def _fetch(path: Path, space: Space, home: Path) -> None:
    found = _entities(path)
    query = {key: found.get(key) for key in QUERIED}
    try:
        from templateflow import api

        api.get(space.name, resolution=_number(found.get('res')), raise_empty=True, **query)
        error: Exception | None = None
    except Exception as caught:  # requests, datalad and the client itself raise many kinds
        error = caught
    if not _is_here(path):
        reason = f' ({_line(error)})' if error else ''
        raise InputError(
            f'space {space}: {path.name} is not in {home} and cannot be fetched{reason}; '
            + _remedy(space)
        )


def _line(error: Exception) -> str:
    return type(error).__name__ if len(str(error)) > 80 else ' '.join(str(error).split())


def _remedy(space: Space) -> str:
    return (
        'where there is network, run "TEMPLATEFLOW_HOME=FOLDER python -m '
        f'pumba_pipe.workflows.templates {space}", and set TEMPLATEFLOW_HOME to that folder here'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch templates and print where they are."""
    import argparse

    parser = argparse.ArgumentParser(
        prog='python -m pumba_pipe.workflows.templates',
        description='Fetch templates into the folder TEMPLATEFLOW_HOME.',
    )
    parser.add_argument('spaces', nargs='+', metavar=FORM)
    spaces = parser.parse_args(argv).spaces

    def body() -> int:
        for text in spaces:
            template = find_template(parse_space(text))
            print(template.path)
            if template.mask is not None:
                print(template.mask)
        return 0

    return guarded('pumba templates', body)


if __name__ == '__main__':
    sys.exit(main())
