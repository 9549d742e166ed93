"""Synthetic heads as a BIDS data set: images as raw data, brain masks as a derivative."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.common.errors import RecipeError
from pumba_pipe.common.file_records import checksum
from pumba_pipe.common.files import atomic_path, write_json, write_text
from pumba_pipe.common.folder_lock import only_run_in
from pumba_pipe.common.tables import write_table
from pumba_pipe.images.compression import save_image
from pumba_pipe.images.panels import REFERENCE_COLOUR, Panel, draw_grid, planes
from pumba_pipe.synthesis.dataset_claim import CHECKSUMS, GENERATOR, check_claimable, make_room
from pumba_pipe.synthesis.dataset_names import MASKS, check_suffixes, head_files, subject_label
from pumba_pipe.synthesis.dataset_options import SynthesisOptions
from pumba_pipe.synthesis.sample import Sample, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.synthesis.recipe import Recipe

BIDS_VERSION = '1.10.0'
PICTURE = 'heads.png'
PICTURED, PER_ROW = 24, 6
MAX_STORED_VALUE = 1000  # stored value of an image's brightest voxel
MIN_SHARE = 0.5  # of the brain that a field of view must show
MIN_VISIBLE_SIDE = 8  # voxels
MAX_DRAWS = 100  # in a row that show too little
MASKS_README = f"""Brain masks of the synthetic heads in the data set two folders up.

{GENERATOR} made the heads from them, so they are exact: one in the brain, zero elsewhere, on the
grid of the image that `Sources` in the sidecar names.
"""


@dataclass(frozen=True)
class Head:
    """One head of the data set.

    Attributes
    ----------
    image : ndarray of int16, shape (x, y, z)
        The field of view and nothing more.
    mask : ndarray of uint8, shape (x, y, z)
        One in the brain.
    affine : ndarray, shape (4, 4)
        The origin is the middle of the grid the head was made on.
    seed : int
        `synthesize` makes the same head from it.

    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: NDArray[np.float64]
    seed: int


def write_heads(
    folder: Path,
    recipe: Recipe,
    options: SynthesisOptions,
    progress: Callable[[str], None] = lambda name: None,
) -> None:
    """Write heads and their brain masks; the same arguments give the same bytes.

    Parameters
    ----------
    folder : Path
        Must be empty, or hold a data set of this function, which is replaced.
    recipe : Recipe
        What is drawn.
    options : SynthesisOptions
    progress : callable
        Called with the name of every image when it is written.

    Raises
    ------
    InputError
        Another run is at work in the folder, or a suffix is none.
    OutputError
        The folder is in use for something else, or cannot be written to.
    RecipeError
        The recipe shows no brain.

    """
    check_suffixes(options.suffixes)
    check_claimable(folder)
    with only_run_in(folder):
        make_room(folder)
        _write(folder, recipe, options, progress)


def _write(
    folder: Path,
    recipe: Recipe,
    options: SynthesisOptions,
    progress: Callable[[str], None],
) -> None:
    """Write heads into a folder that holds none; see `write_heads`."""
    masks = folder / MASKS
    write_json(masks / 'dataset_description.json', _description('derivative', recipe))
    write_text(masks / 'README', MASKS_README)
    seeds: list[int] = []
    panels: list[Panel] = []
    drawn = draw_heads(recipe, options.seed, options.size, options.voxel_mm)
    heads = itertools.islice(drawn, options.count)
    files = head_files(options.count, options.suffixes)
    for head, (image, mask) in zip(heads, files, strict=True):
        _write_head(folder, image, mask, head)
        seeds.append(head.seed)
        if len(panels) < PICTURED:
            panels.append(_panel(head))
        progress(image.name.removesuffix('.nii.gz'))
    rows = [panels[start : start + PER_ROW] for start in range(0, len(panels), PER_ROW)]
    draw_grid(folder / PICTURE, rows, [subject_label(i) for i in range(len(panels))], titled=1)
    _write_participants(folder, seeds)
    write_text(folder / 'README', _readme(recipe, options))
    write_text(folder / '.bidsignore', PICTURE + '\n')
    # The last file: a folder that has it is complete.
    write_json(folder / 'dataset_description.json', _description('raw', recipe))


def draw_heads(recipe: Recipe, seed: int, size: int, voxel_mm: float) -> Iterator[Head]:
    """Yield heads without end, leaving out views that show less than half of the brain.

    Raises
    ------
    RecipeError
        Many draws in a row show too little.

    """
    skipped = 0
    for sample in stream(recipe, seed, (size,) * 3):
        head = _in_view(sample, voxel_mm)
        if head is not None:
            skipped = 0
            yield head
            continue
        skipped += 1
        if skipped == MAX_DRAWS:
            raise RecipeError(
                f'recipe {recipe.name}: {MAX_DRAWS} heads in a row show less than half of the '
                'brain; widen its field of view ([artefact] crop, slab)'
            )


def _in_view(sample: Sample, voxel_mm: float) -> Head | None:
    """Cut a sample to its field of view; None where that shows too little."""
    inside = sample.inside.numpy()
    label = sample.label.numpy()
    visible = np.argwhere(inside)
    if len(visible) == 0:
        return None
    low, high = visible.min(0), visible.max(0) + 1
    view = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    shown, total = int(label[view].sum()), int(label.sum())
    if total == 0 or shown < MIN_SHARE * total or (high - low).min() < MIN_VISIBLE_SIDE:
        return None
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = (low - (np.array(label.shape) - 1) / 2) * voxel_mm
    grey = np.rint(sample.image.numpy()[view] * MAX_STORED_VALUE).astype(np.int16)
    return Head(grey, label[view], affine, sample.seed)


def _description(kind: str, recipe: Recipe) -> dict[str, Any]:
    from pumba_pipe._version import __version__

    content: dict[str, Any] = {
        'Name': 'Synthetic heads' if kind == 'raw' else 'Brain masks of synthetic heads',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': kind,
        'License': 'CC0',
        'Authors': ['pumba_pipe'],
        'GeneratedBy': [
            {
                'Name': GENERATOR,
                'Version': __version__,
                'Description': f'recipe {recipe.name}, SHA-256 {recipe.digest}',
            }
        ],
    }
    if kind == 'derivative':
        content['DatasetLinks'] = {'raw': '../..'}
    return content


def _write_head(folder: Path, image: Path, label: Path, head: Head) -> None:
    mask = folder / label
    with atomic_path(folder / image) as grey, atomic_path(mask) as inside:
        _save(grey, head.image, head.affine)
        _save(inside, head.mask, head.affine)
        sidecar = {
            'Type': 'Brain',
            'Description': 'The brain, known from how the head was made',
            'Sources': [f'bids:raw:{image.as_posix()}'],
            'SpatialReference': 'orig',
            CHECKSUMS: {image.as_posix(): checksum(grey), label.as_posix(): checksum(inside)},
        }
        # before the files it describes: they are known as ours from the start
        write_json(mask.with_name(mask.name.removesuffix('.nii.gz') + '.json'), sidecar)


def _save(path: Path, data: NDArray[Any], affine: NDArray[np.float64]) -> None:
    import nibabel as nib

    image: Any = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.header.set_xyzt_units('mm')
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    save_image(image, path)


def _panel(head: Head) -> Panel:
    """The plane across the shortest side, where the brain is widest."""
    across = int(np.argmin(head.image.shape))
    return planes(head.image, [(head.mask, REFERENCE_COLOUR)], head.affine)[across]


def _write_participants(folder: Path, seeds: Sequence[int]) -> None:
    rows = [(subject_label(index), 'synthetic', seed) for index, seed in enumerate(seeds)]
    write_table(folder / 'participants.tsv', ('participant_id', 'species', 'seed'), rows)
    columns = {
        'species': {'Description': 'synthetic: a head made of random shapes, no animal'},
        'seed': {'Description': 'Seed that makes this head from the recipe'},
    }
    write_json(folder / 'participants.json', columns)


def _readme(recipe: Recipe, options: SynthesisOptions) -> str:
    size, count = options.size, options.count
    return (
        f'{count} heads made of random shapes by {GENERATOR}; no person or animal was scanned.\n'
        '\n'
        f'Recipe: {recipe.name} (SHA-256 {recipe.digest})\n'
        f'Seed: {options.seed}\n'
        f'Grid: {size} x {size} x {size} voxels of {options.voxel_mm:g} mm, '
        'cut to the field of view\n'
        '\n'
        'The suffix of an image is a name only: its contrast is random. Brain masks are in\n'
        f'{MASKS.as_posix()}; {PICTURE} shows the first {PICTURED} heads with their outlines.\n'
    )
