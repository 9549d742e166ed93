"""Any tree of files and any options: an exit code and lines, and nothing outside is touched."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pumba_pipe.bids_app.run import main

from pumba_pipe.commands import evaluate, strip, synth, train, weights

parts = st.sampled_from(
    ['sub-01', 'sub-0+1', 'sub-', 'sub', 'ses-a', 'ses-', 'acq-x', 'run-1', 'run-01', 'part-phase',
     'anat', 'func', 'derivatives', 'T1w', 'T2w', 'mask', '..', '.hidden', ' ', 'ü', 'a b', '-',
     'sub-' + 'x' * 60, "it's", '$HOME', '*', '[a]', '\n', '%s', '{0}', '_']
)  # fmt: skip
names = st.lists(parts, min_size=1, max_size=5).map('_'.join)
endings = st.sampled_from(
    ['.nii.gz', '.nii', '.json', '.tsv', '', '.nii.gz.gz', '.NII.GZ', '.img']
)
folders = st.lists(parts, max_size=3).map(lambda words: [word for word in words if word != '..'])
kinds = st.sampled_from(['image', 'image', 'image', 'empty', 'rubbish', 'link', 'folder', 'loop'])
files = st.tuples(folders, names, endings, kinds)
bids = st.sampled_from(
    ['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz',
     'sub-01/anat/sub-01_T1w.nii', 'sub-01/anat/deeper/sub-01_T1w.nii.gz',
     'sub-02/anat/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_acq-+_T1w.nii.gz']
)  # fmt: skip


def put(path, kind, outside):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == 'image':
        image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
        path.write_bytes(image.to_bytes())
    elif kind == 'empty':
        path.touch()
    elif kind == 'rubbish':
        path.write_bytes(bytes(range(256)))
    elif kind == 'folder':
        path.mkdir()
    else:
        path.symlink_to(outside / 'keep.nii' if kind == 'link' else path)


def state(folder):
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob('*')
    }


@given(
    usual=st.lists(st.tuples(bids, kinds), max_size=4), odd=st.lists(files, max_size=5),
    species=st.none() | st.binary(max_size=40),
)  # fmt: skip
@settings(max_examples=25)
def test_any_tree(tmp_path_factory, within, capsys, usual, odd, species):
    base = tmp_path_factory.getbasetemp() / 'trees'
    shutil.rmtree(base, ignore_errors=True)
    root, outside = base / 'bids', base / 'outside'
    for folder in (root, outside):
        folder.mkdir(parents=True)
    (outside / 'keep.nii').write_bytes(b'kept')
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    if species is not None:
        (root / 'participants.tsv').write_bytes(species)
    named = [(name.split('/')[:-1], name.split('/')[-1], '', kind) for name, kind in usual]
    for place, name, ending, kind in [*named, *odd]:
        try:
            put(root.joinpath(*place, name + ending), kind, outside)
        except OSError:  # a name that this disk does not take, or that is taken
            continue
    before = state(base)
    words = ['--skip-bids-validation', '--nprocs', '1', '--device', 'cpu', '--dry-run']
    capsys.readouterr()
    with within():
        code = main([str(root), str(base / 'out'), 'participant', '-w', str(base / 'w'), *words])
    printed = capsys.readouterr()
    assert code in (0, 1, 2)
    assert all(line.startswith('pumba: ') for line in printed.err.splitlines())
    assert (code == 0) or printed.err or printed.out
    assert state(base) == before


texts = st.text(max_size=8) | st.sampled_from(
    ['', '-', '--', '-1', '0', '1e999', 'nan', 'inf', '2', '1,5', '1' + '0' * 5000, 'a\nb', 'T1w',
     'MNI152NLin2009cAsym', 'MNI152NLin2009cAsym:res-2', 'x:cohort-:res-', 'auto', 'cuda:9', '8G',
     '/dev/null', '.', '\ud800', 'sub-01', '*', '$(x)']
)  # fmt: skip
OPTIONS = (
    '--participant-label', '--session-label', '--modalities', '--species', '--bids-filter-file',
    '--border-mm', '--csf', '--weights', '--device', '--output-spaces', '--random-seed', '-w',
    '--nprocs', '--omp-nthreads', '--mem', '--use-plugin', '--config-file', '--probability', '-v',
)  # fmt: skip
lines = st.lists(st.sampled_from(OPTIONS) | texts, max_size=8)


@given(words=lines)
@settings(max_examples=120)
def test_any_options_of_pumba(tmp_path_factory, within, capsys, words):
    base = tmp_path_factory.getbasetemp()
    capsys.readouterr()
    with within():
        code = main([str(base / 'nowhere'), str(base / 'out'), 'participant', *words])
    printed = capsys.readouterr()
    assert code in (0, 2)
    assert printed.err.count('\n') == (1 if code else 0)
    assert not (base / 'out').exists()


PARSERS = {
    'strip': (strip.build_parser, ['-i', '-m', '-b', '--csf', '--device', '--threads']),
    'train': (train.build_parser, ['--steps', '--time-limit', '--widths', '--seed', '--hold-out']),
    'synth': (synth.build_parser, ['-n', '--size', '--voxel-mm', '--suffixes', '--seed']),
    'evaluate': (evaluate.build_parser, ['--out', '--threads', '--worst', '--cases']),
    'weights': (weights.build_parser, ['info', 'card', 'average', 'join', '--size', '--move']),
}


@pytest.mark.parametrize('name', PARSERS)
@given(data=st.data())
@settings(max_examples=60)
def test_any_options_of_other_commands(within, capsys, name, data):
    make, options = PARSERS[name]
    # pytest's streams take no surrogates; the terminal's show them escaped
    sound = texts.filter(lambda word: word != '\ud800')
    words = data.draw(st.lists(st.sampled_from(options) | sound, max_size=7))
    with within():
        try:
            make().parse_args(words)
        except SystemExit as stop:
            assert stop.code in (0, 2)
    capsys.readouterr()
