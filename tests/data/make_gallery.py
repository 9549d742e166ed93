"""Make a page with pictures of real masks: of the heads of this folder, or of a folder of cases.

``python tests/data/make_gallery.py docs/gallery.md`` strips the heads in ``bids/``. With ``--cases
DIR`` it strips ``DIR/<case>/image.nii.gz`` instead; a ``DIR/MANIFEST.tsv`` with the columns
``case``, ``species`` and ``modality`` puts them in order, and a ``mask.nii.gz`` beside an image is
compared with its mask. Pictures go into the folder ``images/gallery`` beside the page. Most real
images may not be shown to others: only pictures of the heads of this folder are in the repository.
"""

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_picture import BIDS, GAP, HEADS, SIDE, shown

from pumba_pipe.commands.strip import main as strip
from pumba_pipe.images.drawing import Canvas
from pumba_pipe.images.masks import dice
from pumba_pipe.network.weights import default_weights, load_weights
from pumba_pipe.reports.drawing import PLANES
from pumba_pipe.reports.image_and_mask import load_scan

AROUND = 1.4  # side of what is shown, in lengths of the brain
HERE = """# Gallery

Masks by the shipped weights of the real images in [tests/data](../tests/data/ATTRIBUTION.md),
drawn by `make gallery`. The yellow line is the outline of the mask. None of these heads, and no
other real one, took part in training.

All of them are of humans: the repository holds no image of another species. With a folder of
your own (`CASES/<case>/image.nii.gz`), the same command makes such a page of it, by
species and contrast:

```text
make gallery CASES=CASES GALLERY=build/gallery/index.md
```

Images: [IXI](https://brain-development.org/ixi-dataset/), CC BY-SA 3.0, and Lesjak et al., CC BY
([sources and changes](../tests/data/ATTRIBUTION.md)); the pictures: CC BY-SA 3.0.
"""
ELSEWHERE = """# Gallery

Masks of the images in `{cases}`. Their licences decide whether these pictures may be shown.
"""


@dataclass(frozen=True)
class Case:
    """An image, what to call it, and its reference mask if there is one."""

    name: str
    label: str
    image: Path
    reference: Path


def heads_of_this_folder():
    """The images with an open licence."""
    references = BIDS.with_name('references')
    cases = []
    for name, label in HEADS.items():
        subject, suffix = name.split('_')
        space = '' if suffix == 'T1w' else f'_space-{suffix}'
        mask = references / subject / 'anat' / f'{subject}{space}_desc-brain_mask.nii.gz'
        cases.append(Case(name, label, BIDS / subject / 'anat' / f'{name}.nii.gz', mask))
    return cases


def cases_in(folder):
    """Images of a folder of cases, by species and contrast."""
    manifest, rows = folder / 'MANIFEST.tsv', {}
    if manifest.is_file():
        with open(manifest, encoding='utf-8', newline='') as file:
            rows = {row['case']: row for row in csv.DictReader(file, delimiter='\t')}
    cases = []
    for image in folder.glob('*/image.nii.gz'):
        name = image.parent.name
        row = rows.get(name, {})
        label = ', '.join(filter(None, (row.get('species'), row.get('modality'))))
        cases.append(Case(name, label, image, image.with_name('mask.nii.gz')))
    return sorted(cases, key=lambda case: (case.label, case.name))


def draw(scan, path):
    """Write a picture: three planes through the centre of the mask."""
    side = AROUND * float((np.diff(scan.box, axis=1)[:, 0] * scan.voxel_size).max())
    canvas = Canvas(GAP + len(PLANES) * (SIDE + GAP), SIDE + 2 * GAP)
    for column, axis in enumerate(PLANES):
        plane, right, down = shown(scan, axis, side)
        place = (GAP + column * (SIDE + GAP) + right, GAP + down)
        canvas.place(plane.grey, *place)
        canvas.draw(plane.outline(), *place)
    canvas.save(path)


def describe(case, scan, record, picture):
    """Write the section of a case, in Markdown."""
    voxels = ' × '.join(f'{size:.3g}' for size in scan.voxel_size)
    words = [f'{record["volume_ml"]:.4g} mL', f'voxels of {voxels} mm']
    if record.get('expected_dice') is not None:
        words.append('expected Dice {expected_dice:.2f}'.format(**record))
    if case.reference.is_file():
        reference = load_scan(case.image, case.reference).mask
        words.append(f'Dice with the reference mask {dice(scan.mask, reference):.3f}')
    words += [f'flag: {flag}' for flag in record['flags']] or ['no flag']
    title = f'{case.name}: {case.label}' if case.label else case.name
    return (
        f'## {title}\n\n![Outline of the mask of {case.name}]({picture})\n\n{"; ".join(words)}.\n'
    )


def section(case, page, folder):
    """Strip an image, draw it, and describe it; a failure is said in the section."""
    mask, quality = folder / f'{case.name}.nii.gz', folder / f'{case.name}.json'
    if strip(['-i', str(case.image), '-m', str(mask), '-q', str(quality)]) != 0:
        return f'## {case.name}: {case.label}\n\nNo mask was found.\n'
    scan = load_scan(case.image, mask)
    picture = page.parent / 'images' / 'gallery' / f'{case.name}.png'
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(scan, picture)
    record = json.loads(quality.read_text(encoding='utf-8'))
    return describe(case, scan, record, picture.relative_to(page.parent).as_posix())


def make(page, cases, head):
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        sections = [section(case, page, Path(folder)) for case in cases]
    weights = load_weights(default_weights()).sha256
    parts = [head, *sections, f'Weights: `{weights[:8]}`.\n']
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text('\n'.join(parts), encoding='utf-8')


def main(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('page', type=Path, help='the page to write, in Markdown')
    parser.add_argument('--cases', type=Path, help='folder of <case>/image.nii.gz')
    given = parser.parse_args(argv)
    if given.cases is None:
        cases, head = heads_of_this_folder(), HERE
    else:
        cases, head = cases_in(given.cases), ELSEWHERE.format(cases=given.cases)
    if not cases:
        print(f'gallery: {given.cases}: holds no <case>/image.nii.gz', file=sys.stderr)
        return 2
    make(given.page, cases, head)
    print(given.page)
    return 0


if __name__ == '__main__':
    sys.exit(main())
