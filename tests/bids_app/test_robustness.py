"""What runs leave behind when they are killed, meet each other, or cannot write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pumba_pipe.bids_app.execution.workdir import own_folder, remove_leftovers

from pumba_pipe.common.partial_files import OLD_SECONDS

pytestmark = pytest.mark.slow

CODE = 'import sys; from pumba_pipe.bids_app.run import main; sys.exit(main())'
QUICK = ['--skip-bids-validation', '--no-n4', '--no-reports', '--device', 'cpu', '--nprocs', '1']


def start(bids_dir: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    command = [sys.executable, '-c', CODE, str(bids_dir), str(out), 'participant']
    return subprocess.Popen(
        [*command, '-w', str(out.parent / 'work'), *QUICK, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=out.parent,
    )


def masks(out: Path) -> list[Path]:
    return sorted(out.rglob('*_mask.nii.gz'))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
def test_a_killed_run_is_completed_by_the_next(bids_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    first = start(bids_dir, out)
    assert first.stdout is not None
    for line in first.stdout:
        if '1/4 done' in line:
            break
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert 1 <= len(masks(out)) < 4
    second = start(bids_dir, out)
    printed, errors = second.communicate()
    assert (second.returncode, errors) == (0, '')
    assert len(masks(out)) == 4
    assert ' 0 done before' not in printed


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='asks a process to end the POSIX way')
def test_an_interrupted_run_ends_at_once_and_says_so(bids_dir: Path, tmp_path: Path) -> None:
    run = start(bids_dir, tmp_path / 'out')
    assert run.stdout is not None
    run.stdout.readline()
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines() == ['pumba: interrupted']
    assert not list((tmp_path / 'out').rglob('.partial-*'))


def test_two_runs_into_one_folder(bids_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    runs = [start(bids_dir, out) for _ in range(2)]
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    assert [errors for _, errors in answers] == ['', '']
    assert len(masks(out)) == 4
    assert not list(out.rglob('.partial-*'))


def test_spaces_and_any_letters_in_paths(own_bids_dir: Path, tmp_path: Path) -> None:
    place = tmp_path / 'ein Ordner ü 头 $HOME'
    place.mkdir()
    bids_dir = own_bids_dir.rename(place / "it's data")
    run = start(bids_dir, place / 'out put', '--modalities', 'T2w')
    _, errors = run.communicate()
    assert (run.returncode, errors) == (0, '')
    assert len(masks(place / 'out put')) == 1


@pytest.mark.skipif(os.name != 'posix', reason='takes rights away the POSIX way')
def test_the_input_may_be_read_only(own_bids_dir: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in own_bids_dir.rglob('*')}
    for path in (own_bids_dir, *before):
        path.chmod(0o555 if path.is_dir() else 0o444)
    run = start(own_bids_dir, tmp_path / 'out', '--modalities', 'T2w')
    _, errors = run.communicate()
    assert (run.returncode, errors) == (0, '')
    assert {path: path.stat().st_mtime_ns for path in own_bids_dir.rglob('*')} == before


def test_old_leftovers_are_removed(tmp_path: Path) -> None:
    anat = tmp_path / 'sub-01/ses-a/anat'
    anat.mkdir(parents=True)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'sub-02').mkdir()
    removed = ('sub-01/ses-a/anat/.partial-abcd_123.nii.gz', '.partial-abcdefg1')
    kept = ('other/.partial-abcdefg2', 'sub-01/result', 'sub-01/.partial-of-mine.nii.gz')
    kept += ('sub-02/.partial-abcdefg3',)  # of another participant: not searched
    for name in (*removed, *kept, 'sub-01/.partial-new_file'):
        (tmp_path / name).touch()
    long_ago = time.time() - 2 * OLD_SECONDS
    for name in (*removed, *kept):
        os.utime(tmp_path / name, (long_ago, long_ago))
    assert remove_leftovers(tmp_path, ['01', '03']) == 2
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*')}
    assert {*kept, 'sub-01/.partial-new_file'} <= left


@pytest.mark.skipif(os.name != 'posix', reason='folders are locked the POSIX way')
def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    with own_folder(tmp_path) as first:
        (first / 'step').mkdir()
        with own_folder(tmp_path) as second:
            assert second != first
            (second / 'step').mkdir()
        with own_folder(tmp_path, clean=True) as third:
            assert third == second
            assert not (second / 'step').exists()
            assert (first / 'step').exists()
    with own_folder(tmp_path) as again:
        assert again == first
        assert (first / 'step').exists()
    with own_folder(tmp_path, clean=True) as cleaned:
        assert not (cleaned / 'step').exists()
