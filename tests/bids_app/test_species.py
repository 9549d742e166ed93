"""A species that somebody has named: a volume that its brain cannot have is said everywhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pumba_pipe.bids_app.run import main

SAID = 'the volume is implausible for the species'


@pytest.fixture
def root(bids_dir: Path, tmp_path: Path) -> Path:
    """A data set of one T1w image of a head as large as a human's."""
    anat = tmp_path / 'bids/sub-01/anat'
    anat.mkdir(parents=True)
    shutil.copy(bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz', anat)
    shutil.copy(bids_dir / 'dataset_description.json', tmp_path / 'bids')
    return tmp_path


def test_a_human_brain_of_a_rat_is_named_on_all_levels(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pumba(*words: str, level: str = 'participant') -> str:
        assert main([
            str(root / 'bids'), str(root / 'out'), level, '-w', str(root / 'work'), '--nprocs',
            '1', '--device', 'cpu', '--n4', 'off', '--skip-bids-validation', *words,
        ]) == 0  # fmt: skip
        return capsys.readouterr().out

    def flags() -> list[str]:
        sidecar = root / 'out/sub-01/anat/sub-01_desc-brain_mask.json'
        found = json.loads(sidecar.read_text())['Quality']['flags']
        return [flag for flag in found if flag.startswith(SAID)]

    table = root / 'bids/participants.tsv'
    table.write_text('participant_id\tspecies\nsub-01\tRattus norvegicus\n')
    assert SAID in pumba()
    (flag,) = flags()
    assert 'rattus norvegicus' in flag and 'check the voxel size' in flag
    page = ' '.join((root / 'out/sub-01.html').read_text('utf-8').split())
    assert flag in page and 'published brains' in page
    assert '1 image, 1 to look at' in pumba(level='group')
    assert '1 done before' in pumba('--dry-run')

    table.write_text('participant_id\tspecies\nsub-01\tn/a\n')
    assert '1 done before' in pumba('--dry-run'), 'of an unknown species nothing is said'
    assert 'another species is named now' in pumba('--dry-run', '--species', 'human')
    table.write_text('species\nrat\n')
    assert 'volumes are not compared' in pumba('--dry-run')
