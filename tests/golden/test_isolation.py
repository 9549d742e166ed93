"""Real heads are for stripping and scoring: nothing that trains can reach them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'data'
HEAD = DATA / 'bids' / 'sub-ixi012' / 'anat' / 'sub-ixi012_T1w.nii.gz'
# Run by every Python process at its start, workers of training too: writes down each opening of a
# file or listing of a folder below DATA, and that the process was watched at all.
WATCH = """
import os, sys
DATA, LOG = {data!r}, {log!r}
def watch(event, arguments):
    if event in ('open', 'os.listdir', 'os.scandir') and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path == DATA or path.startswith(DATA + os.sep):
            write(path)
def write(line):
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (line + '\\n').encode())
    os.close(handle)
write('watched')
sys.addaudithook(watch)
"""


@pytest.fixture
def watched(tmp_path):
    """Run a module's command under watch; returns the files of tests/data that it opened."""
    log = tmp_path / 'opened'
    (tmp_path / 'watch').mkdir()
    watch = WATCH.format(data=os.path.realpath(DATA), log=str(log))
    (tmp_path / 'watch' / 'sitecustomize.py').write_text(watch)
    paths = [str(tmp_path / 'watch'), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}

    def run(module, *words):
        program = f'import sys; from pumba_pipe.commands.{module} import main; sys.exit(main())'
        command = [sys.executable, '-c', program, *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = log.read_text().splitlines()
        assert 'watched' in lines
        return {line for line in lines if line != 'watched'}

    return run


def test_the_watch_sees_a_head_that_is_opened(watched, tmp_path):
    mask = tmp_path / 'mask.nii.gz'
    assert str(HEAD) in watched('strip', '-i', HEAD, '-m', mask, '--device', 'cpu')


def test_training_opens_none(watched, tmp_path):
    sizes = ['--coarse-size', '32', '--fine-size', '32', '--widths', '4', '8']
    machine = ['--device', 'cpu', '--threads', '1', '--cache-size', '4', '--cache-workers', '1']
    opened = watched('train', tmp_path / 'run', '--steps', '4', *sizes, *machine, '-q')
    assert opened == set()
    assert (tmp_path / 'run' / 'weights.safetensors').exists()


def test_synthesis_opens_none(watched, tmp_path):
    assert watched('synth', tmp_path / 'heads', '-n', '2', '--size', '48') == set()
    assert len(list((tmp_path / 'heads').glob('sub-*/anat/*.nii.gz'))) == 2


def test_no_module_names_them():
    names = re.compile(r"tests[/\\]|['\"]tests['\"]|ixi0\d|ms12")
    modules = [
        path
        for folder in ('pumba_pipe', 'workflows', 'bids_app')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.toml')
    ]
    assert len(modules) > 100
    assert [path for path in modules if names.search(path.read_text('utf-8'))] == []
