"""Options of `extract` that mean nothing: one line before any work."""

import os

import pytest

import pumba_pipe
from pumba_pipe.common.errors import InputError


@pytest.mark.parametrize(
    ('name', 'value'),
    [('border_mm', '2'), ('border_mm', None), ('border_mm', float('nan')),
     ('border_mm', float('inf')), ('threads', -1), ('threads', 1.5), ('threads', '2'),
     ('device', None), ('device', 0)],
)  # fmt: skip
def test_options_that_mean_nothing(head_file, name, value):
    with pytest.raises(InputError, match=rf'{name} {value!r}:'):
        pumba_pipe.extract(head_file, **{name: value})


def test_a_relative_output_where_the_current_folder_is_gone(head_file, tmp_path, monkeypatch):
    gone = tmp_path / 'gone'
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(InputError, match='current folder cannot be used'):
            pumba_pipe.strip_file(head_file, out_mask='mask.nii.gz')
    finally:
        os.chdir(tmp_path)
