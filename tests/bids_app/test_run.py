import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.bids_app.options.config_file import read_options
from pumba_pipe.bids_app.options.parser import parse
from pumba_pipe.bids_app.outputs.bibliography import REFERENCES
from pumba_pipe.bids_app.outputs.description import write_description
from pumba_pipe.bids_app.run import main

EVERYTHING = ['--modalities', 'T1w', 'T2w', 'FLAIR', 'MP2RAGE']


def snapshot(folder):
    """Names and times of all files of a folder."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob('*'))}


def pumba(bids_dir, out, *words, level='participant'):
    """Run the command in this process, without the correction that takes most of the time."""
    words = [str(bids_dir), str(out), level, '-w', str(out.parent / 'work'), *words]
    return main([*words, '--nprocs', '1', '--device', 'cpu', '--no-n4'])


@pytest.fixture(scope='module')
def finished(bids_dir, tmp_path_factory):
    """Results for all images of the small data set."""
    out = tmp_path_factory.mktemp('run') / 'out'
    before = snapshot(bids_dir)
    assert pumba(bids_dir, out, *EVERYTHING) == 0
    assert snapshot(bids_dir) == before
    return out


@pytest.fixture
def own_results(finished, tmp_path):
    """A copy of those results, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / 'out'))


def test_every_image_is_stripped(finished):
    masks = sorted(path.relative_to(finished).as_posix() for path in finished.rglob('*_mask.nii*'))
    assert masks == [
        'sub-01/anat/sub-01_desc-brain_mask.nii.gz',
        'sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz',
        'sub-02/ses-a/anat/sub-02_ses-a_acq-x_run-01_desc-brain_mask.nii.gz',
        'sub-02/ses-b/anat/sub-02_ses-b_space-FLAIR_desc-brain_mask.nii.gz',
        'sub-03/anat/sub-03_part-mag_space-MP2RAGEinv1_desc-brain_mask.nii.gz',
    ]
    assert (finished / 'sub-03/anat/sub-03_inv-1_part-mag_desc-brain_MP2RAGE.nii.gz').exists()
    assert not list(finished.rglob('.partial-*'))
    assert not list(finished.rglob('crash-*'))


def test_the_correction_is_done_as_asked_and_again_when_that_changes(bids_dir, tmp_path, capsys):
    """What is not corrected is what was scanned; the mask does not depend on a correction."""
    out = tmp_path / 'out'
    words = ['--participant-label', '01', '--modalities', 'T1w', '--sloppy', '--no-reports']
    words += ['--nprocs', '1', '--device', 'cpu', '-w', str(tmp_path / 'work')]
    words += ['--skip-bids-validation']
    scan = nib.load(bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz').get_fdata()
    masks = {}
    for n4 in ('off', 'mask', 'both', 'both'):
        assert main([str(bids_dir), str(out), 'participant', *words, '--n4', n4]) == 0
        printed = capsys.readouterr().out
        again = n4 in masks
        assert ('1 done before' in printed and '0 to strip' in printed) == again
        masks[n4], preproc, brain = (
            nib.load(out / f'sub-01/anat/sub-01_desc-{name}.nii.gz').get_fdata()
            for name in ('brain_mask', 'preproc_T1w', 'brain_T1w')
        )
        assert np.allclose(preproc, scan) == (n4 == 'off')
        assert np.allclose(brain, np.where(masks[n4] > 0, preproc, 0))
    assert np.array_equal(masks['off'], masks['mask'])


def test_what_was_run_is_kept(finished, bids_dir, tmp_path):
    files = sorted((finished / 'sub-01/log').glob('*/pumba.toml'))
    options = read_options(files[0])
    assert options['modalities'] == EVERYTHING[1:]
    assert options['nprocs'] == 1
    words = ['participant', '--config-file', str(files[0])]
    assert parse([str(bids_dir), str(tmp_path), *words]).modalities == tuple(EVERYTHING[1:])
    citation = (finished / 'logs/CITATION.md').read_text()
    assert '5 images (1 FLAIR, 1 MP2RAGE, 2 T1w and 1 T2w) of 3 participants' in citation
    assert version('nipype') in citation
    keys = {key for key in REFERENCES if f'[@{key}]' in citation}
    bib = (finished / 'logs/CITATION.bib').read_text()
    assert {key for key in REFERENCES if f'{{{key},' in bib} == keys
    html = (finished / 'logs/CITATION.html').read_text()
    assert all(f'href="#{key}"' in html and f'id="{key}"' in html for key in keys)


def test_every_participant_has_a_page(finished):
    assert sorted(path.name for path in finished.glob('sub-*.html')) == [
        'sub-01.html',
        'sub-02.html',
        'sub-03.html',
    ]


def test_results_are_described(finished, bids_dir):
    description = json.loads((finished / 'dataset_description.json').read_text())
    assert description['DatasetType'] == 'derivative'
    assert description['GeneratedBy'][0]['Name'] == 'pumba_pipe'
    assert description['DatasetLinks'] == {'raw': bids_dir.as_uri()}
    brain = json.loads((finished / 'sub-01/anat/sub-01_desc-brain_T2w.json').read_text())
    assert brain['SkullStripped'] is True
    assert brain['Sources'] == [
        'bids:raw:sub-01/anat/sub-01_T2w.nii.gz',
        'bids::sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz',
    ]


def test_results_are_valid_bids(own_results, bids_dir, bids_errors):
    assert pumba(bids_dir, own_results, level='group') == 0
    assert bids_errors(own_results) == []


def test_a_second_run_does_nothing(finished, bids_dir, capsys):
    results = {p: t for p, t in snapshot(finished).items() if p.suffix in ('.gz', '.json')}
    results.pop(finished / 'dataset_description.json')
    assert pumba(bids_dir, finished, *EVERYTHING) == 0
    assert '0 to strip on cpu, 5 done before' in capsys.readouterr().out
    after = snapshot(finished)
    assert {path: after[path] for path in results} == results


def test_a_readme_follows_the_version_unless_somebody_wrote_it(tmp_path):
    source, out = tmp_path / 'in', tmp_path / 'out'
    readme = out / 'README'
    out.mkdir()
    readme.write_text('Brain masks made by pumba_pipe 0.0.1, as it was then\n')
    write_description(source, out)
    assert '0.0.1' not in readme.read_text()
    assert 'desc-preproc' in readme.read_text()
    readme.write_text('Our own words\n')
    write_description(source, out)
    assert readme.read_text() == 'Our own words\n'


def test_a_second_run_does_what_is_missing_or_out_of_date(own_results, bids_dir, capsys):
    lost = own_results / 'sub-02/ses-a/anat/sub-02_ses-a_acq-x_run-01_desc-brain_T1w.nii.gz'
    lost.unlink()
    assert pumba(bids_dir, own_results, '--modalities', 'T1w') == 0
    assert '2 images: 1 to strip on cpu, 1 done before' in capsys.readouterr().out
    assert lost.exists()
    words = ['--participant-label', '01', '--modalities', 'T1w', '--border-mm', '4']
    assert pumba(bids_dir, own_results, *words) == 0
    assert '1 done before but out of date' in capsys.readouterr().out


def test_a_broken_image_leaves_the_others_alone(own_bids_dir, tmp_path, capsys):
    out = tmp_path / 'out'
    broken = own_bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    broken.write_bytes(broken.read_bytes()[:2000])
    link = own_bids_dir / 'sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz'
    link.symlink_to('/nowhere/annex/object')
    assert pumba(own_bids_dir, out, '--skip-bids-validation', '--no-reports') == 1
    printed, errors = capsys.readouterr()
    lines = sorted(errors.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f'pumba: error: {broken}: damaged or incomplete')
    assert lines[1].startswith(f'pumba: error: {link}: a link to a file that is not here')
    assert 'Traceback' not in printed + errors
    assert '3 images stripped, 0 done before, 2 failed' in printed
    assert (out / 'sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz').exists()
    assert not (out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').exists()
    assert (out / 'dataset_description.json').exists()
    crashes = list((out / 'sub-01/log').glob('*/crash-*.txt'))
    assert crashes
    assert all(str(broken) in crash.read_text() for crash in crashes)


def test_results_that_cannot_be_written_are_one_line(bids_dir, tmp_path, capsys):
    out = tmp_path / 'out'
    (out / 'sub-01').mkdir(parents=True)
    (out / 'sub-01/anat').write_text('in the way')
    words = ['--skip-bids-validation', '--participant-label', '01', '--modalities', 'T1w']
    words += ['--no-reports']
    assert pumba(bids_dir, out, *words) == 1
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1
    assert 'cannot write here' in errors


def test_a_workflow_that_cannot_be_built(bids_dir, tmp_path, capsys, monkeypatch):
    def fail(**kwargs):
        raise ValueError('no\nway')

    monkeypatch.setattr('pumba_pipe.bids_app.execution.runner.init_participant_wf', fail)
    assert pumba(bids_dir, tmp_path / 'out', '--skip-bids-validation', '--no-reports') == 70
    assert capsys.readouterr().err == (
        'pumba: error: the workflow could not be built (ValueError: no way)\n'
    )


def test_several_processes(own_bids_dir, tmp_path):
    """The command itself, with two workers, one of which meets a broken image."""
    out = tmp_path / 'out'
    (own_bids_dir / 'sub-01/anat/sub-01_T2w.nii.gz').write_bytes(b'')
    code = 'import sys; from pumba_pipe.bids_app.run import main; sys.exit(main())'
    words = ['participant', '-w', str(tmp_path / 'work'), '--skip-bids-validation']
    words += ['--nprocs', '2', '--omp-nthreads', '1', '--modalities', 'T1w', 'T2w']
    answer = subprocess.run(
        [sys.executable, '-c', code, str(own_bids_dir), str(out), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f'pumba: error: {own_bids_dir}/sub-01/anat/sub-01_T2w.nii.gz: the file is empty'
    ]
    assert all(line.startswith('pumba: ') for line in answer.stdout.splitlines())
    assert '2/3 done, 1 failed' in answer.stdout
    assert (out / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').exists()
