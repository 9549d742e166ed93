"""Runs that do more than strip, or less: extras, pages alone, methods alone, early ends."""

import json
import shutil
from pathlib import Path

import pytest
from pumba_pipe.bids_app.options.config import RunConfig
from pumba_pipe.bids_app.outputs.bibliography import REFERENCES
from pumba_pipe.bids_app.outputs.boilerplate import Methods, cited, compose
from pumba_pipe.bids_app.run import main

from pumba_pipe.common.weights_file import SHIPPED
from pumba_pipe.network import engine

T2W = ['--participant-label', '01', '--modalities', 'T2w', '--skip-bids-validation']


def pumba(bids_dir, out, *words):
    """Run the command in this process, without the correction that takes most of the time."""
    words = [str(bids_dir), str(out), 'participant', '-w', str(out.parent / 'work'), *words]
    return main([*words, '--nprocs', '1', '--device', 'cpu', '--no-n4'])


@pytest.fixture(scope='module')
def stripped(bids_dir, tmp_path_factory):
    """Results for one image, with its page."""
    out = tmp_path_factory.mktemp('parts') / 'out'
    assert pumba(bids_dir, out, *T2W) == 0
    return out


@pytest.fixture
def own_results(stripped, tmp_path):
    """A copy of those results, to be changed."""
    return Path(shutil.copytree(stripped, tmp_path / 'out'))


def test_what_else_can_be_written(bids_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ['--probability', '--write-graph', '--resource-monitor', '--no-reports']
    assert pumba(bids_dir, tmp_path / 'out', *T2W, *words) == 0
    anat = tmp_path / 'out/sub-01/anat'
    assert (anat / 'sub-01_space-T2w_label-brain_probseg.nii.gz').exists()
    assert len(list((tmp_path / 'out/sub-01/log').glob('*/graph.dot'))) == 1
    records = list((tmp_path / 'out/logs').glob('resource_monitor_*.json'))
    assert any(json.loads(records[0].read_text())['rss_GiB'])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'work']
    assert not list((tmp_path / 'out').glob('*.html'))


def test_weights_of_the_environment_are_not_called_the_shipped_ones(
    bids_dir, tmp_path, monkeypatch
):
    own = tmp_path / 'own.safetensors'
    shutil.copy(SHIPPED, own)
    words = ['--boilerplate-only', '--skip-bids-validation']
    text = tmp_path / 'out/logs/CITATION.md'
    monkeypatch.delenv('PUMBA_WEIGHTS', raising=False)
    assert pumba(bids_dir, tmp_path / 'out', *words) == 0
    assert 'with the shipped weights (SHA-256' in text.read_text('utf-8')
    monkeypatch.setenv('PUMBA_WEIGHTS', str(own))
    assert pumba(bids_dir, tmp_path / 'out', *words) == 0
    assert 'with weights of our own (own.safetensors)' in text.read_text('utf-8')


def test_stop_at_the_first_failure(own_bids_dir, tmp_path, capsys):
    broken = own_bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    broken.write_bytes(b'')
    words = ['--skip-bids-validation', '--stop-on-first-crash', '--modalities', 'T1w']
    assert pumba(own_bids_dir, tmp_path / 'out', *words, '--no-reports') == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f'pumba: error: {broken}: the file is empty'
    assert all('--stop-on-first-crash' in line for line in lines[1:])
    assert len(lines) == 2


def test_a_participant_with_failures_only_has_a_page(own_bids_dir, tmp_path):
    (own_bids_dir / 'sub-01/anat/sub-01_T2w.nii.gz').write_bytes(b'')
    assert pumba(own_bids_dir, tmp_path / 'out', *T2W) == 1
    page = (tmp_path / 'out/sub-01.html').read_text()
    assert 'the file is empty' in page


def test_pages_alone(own_results, bids_dir, capsys):
    page = own_results / 'sub-01.html'
    page.unlink()
    assert pumba(bids_dir, own_results, '--reports-only') == 0
    assert page.exists()
    assert capsys.readouterr().out == f'pumba: 1 reports in {own_results}\n'


def test_a_run_of_some_participants_makes_an_index_but_renews_none(own_results, bids_dir):
    index = own_results / 'index.html'
    assert 'href="sub-01.html#image-sub-01_T2w"' in index.read_text()
    one = ('--participant-label', '01')
    index.write_text('an earlier one')
    assert pumba(bids_dir, own_results, '--reports-only', *one) == 0
    assert index.read_text() == 'an earlier one'
    assert pumba(bids_dir, own_results, '--reports-only') == 0
    assert 'sub-01_T2w' in index.read_text()
    index.unlink()
    assert pumba(bids_dir, own_results, '--reports-only', *one) == 0
    assert 'sub-01_T2w' in index.read_text()
    index.unlink()
    index.mkdir()
    assert pumba(bids_dir, own_results, '--reports-only') == 1


def test_a_page_that_is_missing_is_made_up_for(own_results, bids_dir, capsys):
    page = own_results / 'sub-01.html'
    page.unlink()
    assert pumba(bids_dir, own_results, *T2W) == 0
    assert '0 to strip' in capsys.readouterr().out
    assert page.exists()


def test_a_page_that_cannot_be_written_costs_no_results(own_results, bids_dir, capsys):
    page = own_results / 'sub-01.html'
    page.unlink()
    (page / 'in the way').mkdir(parents=True)
    (own_results / 'sub-01/anat/sub-01_desc-brain_T2w.json').unlink()
    assert pumba(bids_dir, own_results, *T2W) == 1
    printed, errors = capsys.readouterr()
    assert errors.startswith('pumba: error: report of sub-01: ')
    assert errors.count('\n') == 1
    assert '1 image stripped, 0 done before, 0 failed' in printed


def test_methods_alone(bids_dir, tmp_path, capsys):
    words = ['--boilerplate-only', '--skip-bids-validation', '--border-mm', '2']
    words += ['--csf', 'exclude']
    assert pumba(bids_dir, tmp_path / 'out', *words) == 0
    text = (tmp_path / 'out/logs/CITATION.md').read_text()
    assert 'Masks were grown by 2 mm.' in text
    assert 'Masks leave out a rim of the CSF around the brain.' in text
    assert 'N4' not in text
    assert not list((tmp_path / 'out').glob('sub-*'))


@pytest.mark.parametrize('n4', ['off', 'mask', 'both'])
def test_methods_say_when_images_were_corrected(n4):
    config = RunConfig(Path('in'), Path('out'), 'participant', n4=n4)
    text = compose(config, Methods(['T1w', 'T1map'], 1, 'default', 'ab' * 32))
    corrected = 'each T1w image was corrected for intensity non-uniformity'
    assert (corrected in text) == (n4 != 'off')
    assert ('First, each T1w' in text) == (n4 == 'both')
    assert ('the correction was repeated' in text) == (n4 == 'both')
    assert ('SimpleITK' in text) == (n4 != 'off')
    if n4 == 'mask':
        assert text.index('The brain was found') < text.index(corrected)
        assert 'with the mask as weights' in text


@pytest.mark.parametrize('database', [None, Path('index')])
def test_methods_name_pybids_where_it_was_asked(database):
    config = RunConfig(Path('in'), Path('out'), 'participant', database_dir=database)
    text = compose(config, Methods(['T1w'], 1, 'default', 'ab' * 32))
    assert ('PyBIDS' in text) == (database is not None)


@pytest.mark.parametrize('kinds', [['T1map'], ['UNIT1', 'T2map']])
def test_methods_claim_no_correction_of_maps(kinds):
    config = RunConfig(Path('in'), Path('out'), 'participant', n4='both')
    text = compose(config, Methods(kinds, 1, 'default', 'ab' * 32))
    assert 'non-uniformity' not in text and 'SimpleITK' not in text


@pytest.mark.parametrize(
    ('device', 'there', 'name', 'other'),
    [
        ('cpu', True, 'OpenVINO', 'PyTorch'),
        ('cpu', False, 'PyTorch', 'OpenVINO'),
        ('cuda', True, 'PyTorch', 'OpenVINO'),
    ],
)
def test_methods_name_what_computed_the_networks(monkeypatch, device, there, name, other):
    monkeypatch.setattr(engine, 'find_spec', lambda name: object() if there else None)
    config = RunConfig(Path('in'), Path('out'), 'participant')
    text = compose(config, Methods(['T1w'], 1, 'default', 'ab' * 32, device))
    assert name in text and other not in text
    assert all(key in REFERENCES for key in cited(text))


def test_methods_say_what_stands_for_a_series():
    config = RunConfig(Path('in'), Path('out'), 'participant')
    text = compose(config, Methods(['bold', 'bold', 'epi', 'dwi'], 1, 'default', 'ab' * 32))
    assert 'the mean of its volumes without outliers (bold and epi)' in text
    assert 'the mean of its volumes of at most 50 s/mm^2 (dwi)' in text
    assert 'M0' not in text
    assert 'series' not in compose(config, Methods(['T1w'], 1, 'default', 'ab' * 32))
