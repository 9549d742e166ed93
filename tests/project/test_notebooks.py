"""The notebooks run from top to bottom, and hold no outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / 'docs' / 'notebooks').glob('*.ipynb'))


def test_there_are_four() -> None:
    assert [file.stem for file in NOTEBOOKS] == [
        'compare-masks', 'nipype-workflow', 'strip-and-look', 'train-a-small-network',
    ]  # fmt: skip


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_no_outputs_are_stored(file: Path) -> None:
    """They would be of one machine and one day, and large."""
    cells = json.loads(file.read_text('utf-8'))['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert [cell['outputs'] for cell in code] == [[]] * len(code)
    assert {cell['execution_count'] for cell in code} == {None}


@pytest.mark.slow
@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nbformat = pytest.importorskip('nbformat', reason='the extra docs is not installed')
    nbclient = pytest.importorskip('nbclient', reason='the extra docs is not installed')
    pytest.importorskip('ipykernel', reason='the extra docs is not installed')
    pytest.importorskip('nilearn', reason='the extra docs is not installed')
    monkeypatch.delenv('MPLBACKEND', raising=False)  # the kernel's own shows what is drawn
    values = {'NIPYPE_NO_ET': '1', 'OMP_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(file, as_version=4)
    where = {'metadata': {'path': str(file.parent)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name='python3', resources=where
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get('outputs', ())]
    assert any('image/png' in out.get('data', {}) for out in outputs), 'nothing was drawn'
    assert any(out.get('name') == 'stdout' for out in outputs), 'nothing was printed'
