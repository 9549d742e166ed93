"""A package that is not installed: one line that says which and what to do, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.common.cli import guarded
from pumba_pipe.common.errors import INSTALL_MISSING

COMMAND = """
import sys
from pumba_pipe.commands.{module} import main
sys.modules |= dict.fromkeys({missing!r})  # whoever imports one of these fails
sys.exit(main({words!r}))
"""


def run_without(missing: tuple[str, ...], module: str, *words: str) -> tuple[int, str]:
    code = COMMAND.format(missing=missing, module=module, words=list(words))
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize('module', ['train', 'synth'])
def test_what_needs_torch_says_so(module: str, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    name = f'pumba-{module}'
    said = f'{name}: error: this needs torch, which is not installed; {INSTALL_MISSING}\n'
    assert run_without(('torch',), module, str(out)) == (1, said)
    assert not out.exists()


@pytest.mark.parametrize('many', [False, True])
def test_a_mask_needs_openvino_or_torch(many: bool, tmp_path: Path) -> None:
    head, out = tmp_path / 'head.nii', tmp_path / 'out'
    grey = np.random.default_rng(0).random((32, 32, 32), np.float32)
    nib.save(nib.Nifti1Image(grey, np.diag([5.0, 5.0, 5.0, 1.0])), head)
    words = [head, '--out-dir', out] if many else ['-i', head, '-m', tmp_path / 'mask.nii']
    code, said = run_without(('torch', 'openvino'), 'strip', *map(str, words), '--device', 'cpu')
    assert code == 1
    assert said.startswith('pumba-strip: error: ') and 'Traceback' not in said
    assert 'OpenVINO' in said and INSTALL_MISSING in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.rglob('*.nii*')) == [head]


@pytest.mark.parametrize('module', ['pumba_pipe.no_such_module', 'no_such_name'])
def test_faults_of_ours_are_shown_as_such(module: str) -> None:
    """A module that we forgot to ship, and a name that a module lacks."""

    def body() -> int:
        if module == 'no_such_name':
            from json import no_such_name  # type: ignore[attr-defined]  # noqa: F401
        __import__(module)
        return 0

    with pytest.raises(ImportError):
        guarded('pumba', body)
