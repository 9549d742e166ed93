"""The gallery: a page with a picture and a description of each mask."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'data'
PAGE = ROOT / 'docs' / 'gallery.md'


@pytest.fixture(scope='module')
def gallery() -> types.ModuleType:
    """The program that makes the page; it is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DATA)
        spec = importlib.util.spec_from_file_location('make_gallery', DATA / 'make_gallery.py')
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules['make_gallery'] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


def cases(folder: Path, *names: str) -> Path:
    from pumba_pipe import load_recipe, synthesize

    sample = synthesize(load_recipe(), 5, (48, 48, 48))
    for name in names:
        (folder / name).mkdir(parents=True)
        image = (sample.image.numpy() * 1000).astype(np.int16)
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        nib.save(nib.Nifti1Image(image, affine), folder / name / 'image.nii.gz')
        mask = (sample.label.numpy() > 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), folder / name / 'mask.nii.gz')
    return folder


def test_a_folder_of_cases(gallery: types.ModuleType, tmp_path: Path) -> None:
    folder = cases(tmp_path / 'cases', 'a', 'empty')
    nothing = nib.Nifti1Image(np.zeros((48, 48, 48), np.uint8), np.eye(4))
    nib.save(nothing, folder / 'empty/image.nii.gz')
    rows = ('case\tspecies\tmodality', 'a\tmouse\tT2w', 'empty\tant\tT1w')
    (folder / 'MANIFEST.tsv').write_text('\n'.join(rows) + '\n')
    page = tmp_path / 'out.md'
    assert gallery.main([str(page), '--cases', str(folder)]) == 0
    text = page.read_text('utf-8')
    assert re.findall('^## (.+)$', text, re.MULTILINE) == ['empty: ant, T1w', 'a: mouse, T2w']
    assert 'No mask was found.' in text
    assert re.search(r'voxels of 4 × 4 × 4 mm; .*Dice with the reference mask 0\.[89]\d\d', text)
    assert (tmp_path / 'images/gallery/a.png').stat().st_size > 1000
    assert not (tmp_path / 'images/gallery/empty.png').exists()


def test_an_empty_folder_is_one_line(
    gallery: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery.main([str(tmp_path / 'page.md'), '--cases', str(tmp_path)]) == 2
    assert capsys.readouterr().err == f'gallery: {tmp_path}: holds no <case>/image.nii.gz\n'
    assert not (tmp_path / 'page.md').exists()


def test_only_images_with_an_open_licence_are_shown(gallery: types.ModuleType) -> None:
    known = {case.name for case in gallery.heads_of_this_folder()}
    shown = set(re.findall(r'\(images/gallery/(.+)\.png\)', PAGE.read_text('utf-8')))
    kept = {file.stem for file in (PAGE.parent / 'images/gallery').iterdir()}
    assert shown == kept == known


def test_the_page_was_made_with_the_shipped_weights() -> None:
    from pumba_pipe import load_weights

    written = re.findall(r'^Weights: `(\w+)`', PAGE.read_text('utf-8'), re.MULTILINE)
    assert written == [load_weights().sha256[:8]], 'run: make gallery'
