"""Folders of a run that are no folders, or not all there."""

import json
import shutil

import pytest
from pumba_pipe.bids_app.options.parser import parse
from pumba_pipe.bids_app.run import main
from pumba_pipe.bids_app.selection import dataset


@pytest.mark.parametrize('level', ['participant', 'group'])
@pytest.mark.parametrize('place', ['file', 'file/out'])
def test_a_dry_run_refuses_a_file_where_results_go(bids_dir, tmp_path, capsys, place, level):
    (tmp_path / 'file').write_text('precious')
    words = ['--dry-run', '--skip-bids-validation'] if level == 'participant' else []
    assert main([str(bids_dir), str(tmp_path / place), level, *words]) == 2
    error = capsys.readouterr().err
    assert 'cannot write here' in error
    assert 'is not a folder' in error
    assert error.count('\n') == 1
    assert (tmp_path / 'file').read_text() == 'precious'


def test_files_that_were_not_fetched_do_not_break_the_standard(bids_dir, tmp_path, monkeypatch):
    """A DataLad clone of which one participant was fetched."""
    issues = [
        {'code': 'SYMLINK_BROKEN', 'severity': 'error', 'location': '/sub-02/anat/x.nii.gz'},
    ]
    program = tmp_path / 'validator'
    monkeypatch.setattr(dataset.shutil, 'which', lambda *args, **kwargs: str(program))

    def prints(issues):
        text = json.dumps({'issues': {'issues': issues}})
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o755)

    config = parse([str(bids_dir), 'out', 'participant'])
    prints(issues)
    assert dataset.validate(config) is None
    prints([*issues, {'code': 'EMPTY_FILE', 'severity': 'error', 'location': '/sub-02'}])
    with pytest.raises(dataset.UsageError, match=r'1 errors.*EMPTY_FILE'):
        dataset.validate(config)


@pytest.mark.skipif(shutil.which(dataset.VALIDATOR) is None, reason='needs the BIDS validator')
def test_the_validator_itself_on_files_that_were_not_fetched(own_bids_dir):
    image = own_bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    image.unlink()
    image.symlink_to('../../.git/annex/objects/x.nii.gz')
    assert dataset.validate(parse([str(own_bids_dir), 'out', 'participant'])) is None


def test_where_nothing_is_left_what_was_left_out_is_said(bids_dir, own_bids_dir, tmp_path, capsys):
    filters = tmp_path / 'filters.json'
    filters.write_text('{"t1w": {"run": 77}}')
    words = ['participant', '--dry-run', '--skip-bids-validation']
    few = ['--modalities', 'T1w', '--bids-filter-file', str(filters)]
    assert main([str(bids_dir), str(tmp_path / 'out'), *words, *few]) == 2
    assert 'left out by --bids-filter-file: 2 images' in capsys.readouterr().err
    for folder in own_bids_dir.glob('sub-*'):
        folder.rename(folder.with_name(f'{folder.name}_x'))
    assert main([str(own_bids_dir), str(tmp_path / 'out'), *words]) == 2
    error = capsys.readouterr().err
    assert 'sub-01_x: left out, its name is not a BIDS name' in error
    assert error.count('\n') == 1
