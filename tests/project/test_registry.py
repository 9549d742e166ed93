"""The entry for the list of BIDS-Apps has the fields of that list, and says what is so."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_entry() -> None:
    from pumba_pipe.workflows.modalities import MODALITIES

    (entry,) = yaml.safe_load((ROOT / 'docker/registry/bids-apps.yml').read_text('utf-8'))
    known = {
        'gh',
        'dh',
        'description',
        'status',
        'ds_type',
        'datatype',
        'ci',
        'branch',
        'workflow',
    }
    assert set(entry) == known
    assert entry['status'] == 'active' and entry['ds_type'] == ['raw']
    folders = {folder for one in MODALITIES.values() for folder in one.datatypes}
    assert set(entry['datatype']) == folders
    assert (ROOT / f'.github/workflows/{entry["workflow"]}.yml').is_file()
