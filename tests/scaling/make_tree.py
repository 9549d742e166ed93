"""Make a BIDS data set of many participants whose images are empty files, to time planning on.

    python tests/scaling/make_tree.py DIR -n 10000
    pumba DIR out participant --skip-bids-validation --dry-run

Each participant has 12 files in three folders: two anatomical images, a BOLD series and a
diffusion series, as raw data sets do. The images are empty, so nothing can be stripped.

    python tests/scaling/make_tree.py DIR -n 10000 --results OUT
    pumba DIR OUT group

also writes what the group level reads: files with their sidecars, for the T1w images.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

FILES = (
    'anat/{sub}_T1w.nii.gz',
    'anat/{sub}_T1w.json',
    'anat/{sub}_T2w.nii.gz',
    'anat/{sub}_T2w.json',
    'func/{sub}_task-rest_bold.nii.gz',
    'func/{sub}_task-rest_bold.json',
    'func/{sub}_task-rest_events.tsv',
    'func/{sub}_task-rest_physio.tsv.gz',
    'dwi/{sub}_dwi.nii.gz',
    'dwi/{sub}_dwi.json',
    'dwi/{sub}_dwi.bval',
    'dwi/{sub}_dwi.bvec',
)


def make_tree(root: Path, count: int) -> None:
    """Write `count` participants to `root`."""
    width = len(str(count))
    root.mkdir(parents=True, exist_ok=True)
    description = {'Name': f'{count} participants without content', 'BIDSVersion': '1.9.0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    for number in range(1, count + 1):
        sub = f'sub-{number:0{width}}'
        for name in FILES:
            path = root / sub / name.format(sub=sub)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{}' if path.suffix == '.json' else '')


def make_results(out: Path, count: int, seed: int = 0) -> None:
    """Write what a run would leave of the T1w images: empty files, and sidecars with numbers."""
    width = len(str(count))
    draw = random.Random(seed)
    out.mkdir(parents=True, exist_ok=True)
    maker = {'Name': 'pumba_pipe', 'Version': '0'}
    description = {'Name': 'Masks', 'BIDSVersion': '1.9.0', 'DatasetType': 'derivative'}
    (out / 'dataset_description.json').write_text(
        json.dumps(description | {'GeneratedBy': [maker]})
    )
    for number in range(1, count + 1):
        sub = f'sub-{number:0{width}}'
        anat = out / sub / 'anat'
        anat.mkdir(parents=True, exist_ok=True)
        source = f'bids:raw:{sub}/anat/{sub}_T1w.nii.gz'
        quality = {
            'volume_ml': draw.gauss(1300, 120),
            'components': 1,
            'edge_contact': 0.0,
            'already_stripped': False,
            'flags': [],
            'notes': [],
        }
        agreement = ('coarse_fine_dice', 'tta_dice', 'boundary_certainty', 'expected_dice')
        quality |= {name: draw.uniform(0.8, 1.0) for name in agreement}
        for ending in ('desc-brain_mask', 'desc-preproc_T1w', 'desc-brain_T1w'):
            content: dict[str, object] = {'Sources': [source]}
            if ending.endswith('mask'):
                content |= {'Type': 'Brain', 'Quality': quality}
            (anat / f'{sub}_{ending}.nii.gz').touch()
            (anat / f'{sub}_{ending}.json').write_text(json.dumps(content))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('root', type=Path, metavar='DIR')
    parser.add_argument('-n', type=int, default=1000, metavar='N', help='default: 1000')
    parser.add_argument('--results', type=Path, metavar='OUT', help='also write results there')
    given = parser.parse_args()
    make_tree(given.root, given.n)
    if given.results:
        make_results(given.results, given.n)
