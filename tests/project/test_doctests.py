"""Every example in a docstring runs, and every public name has one.

Examples run in a folder that holds ``head.nii.gz`` with its ``mask.nii.gz`` (a synthetic head of
48³ voxels of 4 mm), the same head as ``bids/sub-01/anat/sub-01_T1w.nii.gz``, and templates.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    'pumba_pipe': ROOT / 'pumba_pipe',
    'pumba_pipe.workflows': ROOT / 'workflows',
    'pumba_pipe.bids_app': ROOT / 'bids_app',
}
PUBLIC = ('pumba_pipe', 'pumba_pipe.interfaces', 'pumba_pipe.workflows')
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
SHAPE, VOXEL_MM = (48, 48, 48), 4.0


def modules_with_examples() -> list[str]:
    """Names under which modules with examples are imported, and under no other."""
    found = []
    for package, folder in PACKAGES.items():
        for file in sorted(folder.rglob('*.py')):
            if '>>> ' in file.read_text('utf-8'):
                parts = file.relative_to(folder).with_suffix('').parts
                found.append('.'.join([package, *(part for part in parts if part != '__init__')]))
    return found


def public_names() -> list[tuple[str, str]]:
    return [(home, name) for home in PUBLIC for name in importlib.import_module(home).__all__]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pumba_pipe import load_recipe, synthesize

    root = tmp_path_factory.mktemp('examples')
    sample = synthesize(load_recipe(), 5, SHAPE)
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    template = root / 'templates/tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-02'
    anat = root / 'bids/sub-01/anat/sub-01_T1w.nii.gz'
    for folder in (template.parent, anat.parent):
        folder.mkdir(parents=True)
    image = nib.Nifti1Image((sample.image.numpy() * 1000).astype(np.int16), affine)
    mask = nib.Nifti1Image(sample.label.numpy(), affine)
    for made in (image, mask):
        made.header.set_xyzt_units('mm')
    nib.save(image, root / 'head.nii.gz')
    nib.save(mask, root / 'mask.nii.gz')
    shutil.copy(root / 'head.nii.gz', anat)
    shutil.copy(root / 'head.nii.gz', f'{template}_T1w.nii.gz')
    shutil.copy(root / 'mask.nii.gz', f'{template}_desc-brain_mask.nii.gz')
    return root


@pytest.mark.parametrize('name', modules_with_examples())
def test_examples(
    name: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'templates'))
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.attempted > 0
    assert result.failed == 0, 'see what was printed'


@pytest.mark.parametrize(('home', 'name'), public_names(), ids='.'.join)
def test_public_name_has_an_example(home: str, name: str) -> None:
    module = importlib.import_module(home)
    # a string has no docstring of its own
    documented = module if name == '__version__' else getattr(module, name)
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(documented) or '')
    assert any(name in example.source for example in examples)
