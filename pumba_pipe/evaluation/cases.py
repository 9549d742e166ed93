"""Cases to evaluate: a folder of images with masks, or a BIDS data set with a derivative."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pumba_pipe.common.bids_names import join_name, parse_name
from pumba_pipe.common.documents import read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import MISSING, numbered_rows

MANIFEST = 'MANIFEST.tsv'
MASK_ENDING = '_mask.nii.gz'
MAX_NAMED = 10  # cases or masks that are named in a remark
Remark = Callable[[str], None]
MASK_ENTITIES = ('desc', 'label')  # what a mask's name has and its image's lacks


@dataclass(frozen=True)
class Case:
    """One image to strip, and the mask to compare with.

    Attributes
    ----------
    name, species, modality : str
    image : Path
    mask : Path or None
        None where there is no reference.
    prediction : Path or None
        A mask found elsewhere that is to be scored instead of stripping the image.
    subject : str
        Whose image it is, as far as a table says.
    group : str
        With which cases it is to be counted, as far as a table says.

    """

    name: str
    species: str
    modality: str
    image: Path
    mask: Path | None
    prediction: Path | None = None
    subject: str = ''
    group: str = ''


def find_cases(folder: Path, remark: Remark = lambda line: None) -> list[Case]:
    """List the cases of a folder of ``<case>/{image,mask}.nii.gz``.

    Species and modality come from the columns of these names in ``MANIFEST.tsv`` where the
    folder has one, and else from the case's name, ``<species>_<modality>_<name>``. Its columns
    `subject` and `group` are kept. What looks like a case and has no ``image.nii.gz`` is left out,
    with a line to `remark`.

    Raises
    ------
    InputError
        There is no such folder, no case in it, or the table has no column ``case``, a row without
        one, or two different rows of one.

    """
    _check_folder(folder)
    known = _rows_by(folder / MANIFEST, 'case', 'a table of cases')
    cases = []
    for image in sorted(folder.glob('*/image.nii.gz')):
        name, mask = image.parent.name, image.with_name('mask.nii.gz')
        row, parts = known.get(name, {}), name.split('_')
        from_name = (parts[0], parts[1]) if len(parts) > 2 else (MISSING, MISSING)
        cases.append(
            Case(
                name=name,
                species=row.get('species') or from_name[0],
                modality=row.get('modality') or from_name[1],
                image=image,
                mask=mask if mask.exists() else None,
                subject=row.get('subject', ''),
                group=row.get('group', ''),
            )
        )
    if not cases:
        raise InputError(
            f'{folder}: no <case>/image.nii.gz in this folder; '
            'for a BIDS derivative give the data set of its images with --bids'
        )
    begun = {path.parent.name for kind in ('image', 'mask') for path in folder.glob(f'*/{kind}.*')}
    lost = (begun | set(known)) - {case.name for case in cases} - {''}
    _tell_of(lost, f'no image.nii.gz in {folder}/<case>', remark)
    return cases


def find_bids_cases(derivative: Path, raw: Path, remark: Remark = lambda line: None) -> list[Case]:
    """List the reference masks of a BIDS derivative with their images, as cases.

    The suffix is the modality; the species comes from ``participants.tsv``, and is human where
    that says nothing. For masks and images see `reference_masks`.

    Raises
    ------
    InputError
        A folder is missing, no mask has an image, or the table has no column ``participant_id``, a
        row without one, or two different rows of one.

    """
    pairs = reference_masks(derivative, raw, remark)
    rows = _rows_by(raw / 'participants.tsv', 'participant_id', 'a table of participants')
    species = {
        f'sub-{name.removeprefix("sub-")}': row.get('species') for name, row in rows.items()
    }
    cases = []
    for image, mask in pairs.items():
        name, parsed = image.name.removesuffix('.gz').removesuffix('.nii'), parse_name(image)
        whose = species.get(f'sub-{parsed.subject}') or 'human'
        cases.append(Case(name, whose, parsed.suffix, image, mask))
    return sorted(cases, key=lambda case: (str(case.mask), str(case.image)))


def reference_masks(
    derivative: Path, raw: Path, remark: Remark = lambda line: None
) -> dict[Path, Path]:
    """Find the reference masks of a BIDS derivative, each by its image in the raw data set.

    A reference is ``sub-*_desc-brain_mask.nii.gz`` or ``sub-*_label-brain_mask.nii.gz``. Its
    images lie in the same folder of the raw data set under the same name without ``desc`` and
    ``label``, whatever their suffix; where the mask's sidecar names `Sources` among them, only
    those. A mask with ``space-FLAIR``, as `pumba` names masks of images that are no T1w, may also
    go with the image of that suffix. A mask whose sidecar cannot be read, that has no image, or
    that is not compressed, is left out, with a line to `remark`; of several masks of an image one
    is kept, with ``space-<suffix>`` if there is.

    Raises
    ------
    InputError
        A folder is missing, or no mask has an image.

    """
    _check_folder(derivative)
    _check_folder(raw)
    alone = set()
    reference_of: dict[Path, Path] = {}
    masks = sorted(derivative.glob(f'sub-*/**/*{MASK_ENDING}'))
    # first those that say whose they are; sorting keeps the order of the others
    for mask in sorted(masks, key=lambda mask: parse_name(mask).get('space') is None):
        if 'brain' not in dict(parse_name(mask).entities).values():
            continue
        try:
            images = list(_images_of(mask, derivative, raw))
        except InputError as error:
            remark(f'left out: {mask.name}: {error}')
            continue
        if not images and not parse_name(mask).get('space'):  # a template is no image of raw
            alone.add(mask.name)
        for image in images:
            if reference_of.setdefault(image, mask) != mask:
                other = reference_of[image].name
                remark(f'left out: {mask.name}: {image.name} has the reference {other} already')
    if not reference_of:
        raise InputError(f'{derivative}: no sub-*_desc-brain_mask.nii.gz with an image in {raw}')
    _tell_of(alone, f'no image of their names in {raw}', remark)
    plain = {mask.name for mask in derivative.glob('sub-*/**/*-brain_mask.nii')}
    _tell_of(plain, 'masks have to be compressed (.nii.gz)', remark)
    return reference_of


def with_masks(cases: Sequence[Case], folder: Path) -> list[Case]:
    """Keep the cases of a folder that have a reference mask.

    Raises
    ------
    InputError
        There is none.

    """
    labelled = [case for case in cases if case.mask is not None]
    if not labelled:
        raise InputError(f'{folder}: no mask.nii.gz beside any of the images')
    return labelled


def _rows_by(table: Path, column: str, what: str) -> dict[str, dict[str, str]]:
    """Rows of a table, if there is one, by a column that names each of them.

    Raises
    ------
    InputError
        The table lacks that column or has no row, a row is of nobody, or two are of the same.
    """
    rows: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    for number, row in numbered_rows(table, (column,), what) if table.exists() else []:
        name = row[column].strip()
        if not any(row.values()):
            continue
        if not name:
            raise InputError(f'{table}: line {number}, column {column}: is empty; name it')
        if rows.setdefault(name, row) != row:
            raise InputError(
                f'{table}: line {number}, column {column}: has another row of {name} than line '
                f'{lines[name]}; remove one'
            )
        lines.setdefault(name, number)
    return rows


def _tell_of(names: Collection[str], why: str, remark: Remark) -> None:
    """Say in one line what is left out; nothing where nothing is."""
    if names:
        more = f' and {len(names) - MAX_NAMED} more' if len(names) > MAX_NAMED else ''
        remark(f'left out, {why}: {", ".join(sorted(names)[:MAX_NAMED])}{more}')


def _images_of(mask: Path, derivative: Path, raw: Path) -> Iterator[Path]:
    folder = raw / mask.parent.relative_to(derivative)
    name = parse_name(mask)
    kept = [pair for pair in name.entities if pair[1] and pair[0] not in MASK_ENTITIES]
    images = _images_named(folder, kept)
    space = name.get('space')
    if not images and space:
        kept.remove(('space', space))
        images = [
            image for image in _images_named(folder, kept) if parse_name(image).suffix == space
        ]
    sources = source_names(mask)
    named = [image for image in images if image.name in sources]
    yield from named or images


def _images_named(folder: Path, entities: Sequence[tuple[str, str]]) -> list[Path]:
    """Images whose names hold these entities and no others, of any suffix."""
    start = join_name(entities, '')
    found = sorted(folder.glob(f'{start}*.nii*'))
    return [image for image in found if '-' not in image.name.removeprefix(start)]


def source_names(mask: Path) -> set[str]:
    """File names in the `Sources` of a mask's sidecar.

    Raises
    ------
    InputError
        The sidecar cannot be read.
    """
    sidecar = mask.with_name(mask.name.removesuffix('.nii.gz') + '.json')
    if not sidecar.exists():
        return set()
    sources = read_json(sidecar).get('Sources', [])
    if not isinstance(sources, list):
        raise InputError(f'{sidecar}: Sources is no list of images')
    return {str(source).rsplit('/', 1)[-1] for source in sources}


def with_predictions(cases: Sequence[Case], folder: Path, derivative: Path | None) -> list[Case]:
    """Attach ready masks to cases.

    The mask of a case is ``<case>.nii.gz`` or ``<case>/mask.nii.gz`` in `folder`; of a BIDS case
    it may also have the place and name of the reference mask in `derivative`.

    Raises
    ------
    InputError
        There is no such folder, or no mask of any case in it.

    """
    _check_folder(folder)
    ready = []
    for case in cases:
        places = [folder / f'{case.name}.nii.gz', folder / case.name / 'mask.nii.gz']
        if derivative is not None and case.mask is not None:
            places.append(folder / case.mask.relative_to(derivative))
        found = next((place for place in places if place.exists()), places[0])
        ready.append(replace(case, prediction=found))
    if not any(case.prediction is not None and case.prediction.exists() for case in ready):
        raise InputError(f'{folder}: no mask of any case here; looked for {places[0].name}')
    return ready


def chosen_cases(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """Keep the named cases.

    Raises
    ------
    InputError
        A name is not among them.

    """
    unknown = sorted(set(names) - {case.name for case in cases})
    if unknown:
        raise InputError(f'no such case: {", ".join(unknown)}; the first is {cases[0].name}')
    return [case for case in cases if case.name in names]


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        what = 'is a file, a folder is needed' if folder.exists() else 'no such folder'
        raise InputError(f'{folder}: {what}')
