"""The files that make the output folder a BIDS derivative data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pumba_pipe.bids_app.options.config import UsageError
from pumba_pipe.workflows.modalities import MODALITIES

from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.files import write_json, write_text
from pumba_pipe.common.partial_files import PARTIAL

PIPELINE = 'pumba_pipe'
BIDS_VERSION = '1.10.0'
TEMPLATEFLOW = 'https://github.com/templateflow'
DESCRIPTION = 'dataset_description.json'
PAGE_START = 1 << 14  # bytes in which a page says who made it
OUR_COLUMN = 'outlying'  # of the tables of the group level
TABLES, PAGES = ('group_*.*',), ('sub-*.html', 'logs/CITATION.md')  # names of other programs, too
# Without trailing slashes, which the validator does not understand.
BIDSIGNORE = (
    '*.html', 'logs', 'sub-*/figures', 'sub-*/log', 'sub-*/ses-*/log', '*_xfm.*',
    'group_*.tsv', 'group_*.json', f'{PARTIAL}*',
    # names that other programs use and the standard does not know yet
    *(f'*_{one.reference}.*' for one in MODALITIES.values() if one.reference),
    *(f'sub-*/{session}{place}/*_{kind}.*' for session in ('', 'ses-*/')
      for place in ('perf', 'pet', 'fmap') for kind in ('mask', 'probseg')),
    # names that it knows, but wants the parameters of the raw image for
    'sub-*/fmap/*_epi.*', 'sub-*/ses-*/fmap/*_epi.*',
)  # fmt: skip
README_START = 'Brain masks made by pumba_pipe '
README = (
    README_START
    + """{version}, by a network trained on random shapes alone
=====================================================================================

For each image of the input data set there is, in `sub-<label>[/ses-<label>]/anat`, or in `func`,
`dwi`, `perf`, `pet` or `fmap` as there:

* `<entities>_desc-brain_mask.nii.gz`: the mask, on the image's own grid. T1w, bold, dwi, asl,
  pet and epi images have a mask of this name; in the name of any other mask, `space-<suffix>`
  says which image it belongs to;
* `<entities>_desc-preproc_<suffix>.nii.gz`: the whole image, corrected for intensity
  non-uniformity where its JSON file says so. Of a series it is one volume, made of those that its
  JSON file names: `<entities>_boldref.nii.gz`, `dwiref`, `aslref` or `petref`;
* `<entities>_desc-brain_<suffix>.nii.gz`: the same with everything but the brain set to zero;
* `<entities>_from-<suffix>_to-<space>_mode-image_xfm.*` and back, and image and mask in that
  space, for each standard space that was asked for;
* a JSON file for each. That of the mask holds a quality record under `Quality`; look at the
  masks whose `flags` are not empty. `confidence` is a copy of `expected_dice` for readers of
  earlier versions, and will be dropped.

`sub-<label>.html` shows the masks of a subject. `pumba <input> <this folder> group` gathers the
quality records into `group_<suffix>.tsv` and `.html`. `logs/CITATION.md` says what was run. What
went wrong with an image is written to `sub-<label>[/ses-<label>]/log`.
"""
)


def check_owner(output_dir: Path, level: str = 'participant') -> None:
    """Refuse a folder that holds a data set of another origin.

    Parameters
    ----------
    output_dir : Path
    level : str
        ``'participant'`` or ``'group'``, which writes tables and their pages alone.

    Raises
    ------
    UsageError
    """
    path = output_dir / DESCRIPTION
    if not path.is_file():
        # ours would have been written before these
        patterns = TABLES if level == 'group' else (*TABLES, *PAGES)
        there = (file for pattern in patterns for file in sorted(output_dir.glob(pattern)))
        foreign = next((file for file in there if not _is_our_page(file)), None)
        if foreign is not None:
            raise UsageError(
                f'output_dir {output_dir}: holds {foreign.relative_to(output_dir)}, which would '
                f'be replaced, and no {DESCRIPTION} that says whose it is; choose a folder of its '
                'own'
            )
        return
    try:
        found = read_json(path)
    except InputError as error:
        raise UsageError(
            f'output_dir {output_dir}: nothing says whose data set this is ({error}); choose '
            'another folder, or remove that file if the results are of pumba'
        ) from None
    makers = found.get('GeneratedBy')
    makers = makers if isinstance(makers, list) else []
    names = [maker.get('Name') for maker in makers if isinstance(maker, dict)]
    if found.get('DatasetType') != 'derivative' or PIPELINE not in names:
        name = _text(found.get('Name')) or 'no name'
        raise UsageError(
            f'output_dir {output_dir}: holds another data set ({name}); choose a folder of its own'
        )


def write_description(
    bids_dir: Path,
    output_dir: Path,
    templates: bool = False,
    remark: Callable[[str], None] = lambda line: None,
) -> None:
    """Write dataset_description.json, README and .bidsignore.

    A README that somebody wrote, and a .bidsignore that is there, stay as they are.

    Parameters
    ----------
    bids_dir, output_dir : Path
    templates : bool
        Whether results refer to TemplateFlow.
    remark : callable
        Takes a line about what cannot be used of the description of the input.
    """
    from pumba_pipe._version import __version__

    source = _read(bids_dir / DESCRIPTION, remark)
    location = dataset_location(bids_dir, output_dir)
    origin: dict[str, Any] = {'URL': location}
    if _text(source.get('DatasetDOI')):
        origin['DOI'] = source['DatasetDOI']
    description: dict[str, Any] = {
        'Name': f'{_text(source.get("Name")) or bids_dir.name}: brain masks',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': PIPELINE, 'Version': __version__}],
        'SourceDatasets': [origin],
        'DatasetLinks': {'raw': location},
    }
    before = _read(output_dir / DESCRIPTION).get('DatasetLinks')
    if templates or (isinstance(before, dict) and 'templateflow' in before):
        description['DatasetLinks']['templateflow'] = TEMPLATEFLOW
    description |= {key: source[key] for key in ('Authors', 'License') if source.get(key)}
    write_json(output_dir / DESCRIPTION, description)
    texts = {'README': README.format(version=__version__), '.bidsignore': '\n'.join(BIDSIGNORE)}
    for name, text in texts.items():
        path = output_dir / name
        if not path.exists() or _is_our_readme(path):
            write_text(path, text.rstrip('\n') + '\n')


def _is_our_page(path: Path) -> bool:
    """Whether we wrote a page or table: it names us, or the JSON file beside has our column."""
    if path.name.startswith('group_'):
        return OUR_COLUMN in _read(path.with_suffix('.json'))
    try:
        with path.open('rb') as file:
            return PIPELINE.encode() in file.read(PAGE_START)
    except OSError:
        return False


def _is_our_readme(path: Path) -> bool:
    """Whether an earlier run wrote this README: it may describe what was then the output."""
    try:
        return path.name == 'README' and path.read_text('utf-8').startswith(README_START)
    except (OSError, ValueError):
        return False


def dataset_location(bids_dir: Path, output_dir: Path) -> str:
    """Address of the input: relative to results that lie in it, else absolute."""
    if bids_dir in output_dir.parents:
        return Path(os.path.relpath(bids_dir, output_dir)).as_posix()
    return bids_dir.as_uri()


def _read(path: Path, remark: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except InputError as error:
        remark(f'warning: {error}; its content is not taken over')
        return {}


def _text(value: Any) -> str:
    """A value that is text, empty for any other."""
    return value if isinstance(value, str) else ''
