"""BIDS names taken apart, by the one parser that all parts use."""

import subprocess
import sys
from pathlib import Path

import pytest

from pumba_pipe.common.bids_names import join_name, parse_name, parse_stem


@pytest.mark.parametrize(
    ('file', 'entities', 'suffix'),
    [
        ('sub-01_ses-a_T1w.nii.gz', {'sub': '01', 'ses': 'a'}, 'T1w'),
        ('sub-01_desc-brain_mask.json', {'sub': '01', 'desc': 'brain'}, 'mask'),
        ('sub-01_copy_T1w.mgz', {'sub': '01', 'copy': ''}, 'T1w'),
        ('tpl-X_res-02_desc-a-b_T1w.nii', {'tpl': 'X', 'res': '02', 'desc': 'a-b'}, 'T1w'),
        ('T1w.nii', {}, 'T1w'),
    ],
)
def test_names_are_taken_apart(file, entities, suffix):
    name = parse_name(Path('folder') / file)
    assert (dict(name.entities), name.suffix) == (entities, suffix)
    assert all(name.get(key) == label for key, label in entities.items())
    assert name.get('run') is None


@pytest.mark.parametrize(
    ('stem', 'subject'),
    [('sub-0.5_T1w', '0.5'), ('acq-x_sub-01_T1w', None), ('sub-01', None), ('mine', None)],
)
def test_the_subject_comes_first(stem, subject):
    assert parse_stem(stem).subject == subject


def test_names_are_put_together_again():
    name = parse_stem('sub-01_run-2_T2w')
    assert name.stem == join_name(name.entities, name.suffix) == 'sub-01_run-2_T2w'


def test_no_slow_library_is_asked():
    code = (
        'import sys, pumba_pipe.common.bids_names, pumba_pipe.common.tables\n'
        "print([name for name in ('bids', 'numpy', 'nibabel', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
