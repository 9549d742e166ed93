import os
import subprocess
import sys
import time

import pytest
from pumba_pipe.bids_app.options.parser import parse
from pumba_pipe.bids_app.options.value_types import memory_gb
from pumba_pipe.bids_app.run import main
from pumba_pipe.bids_app.selection import dataset

pytestmark = pytest.mark.usefixtures('own_folder')


def test_help_and_version_are_quick():
    for option in ('--help', '--version'):
        start = time.perf_counter()
        code = f'from pumba_pipe.bids_app.run import main; main(["{option}"])'
        answer = subprocess.run([sys.executable, '-c', code], capture_output=True, check=True)
        assert answer.stdout
        assert time.perf_counter() - start < 5  # a busy machine; 0.2 s on an idle one


def test_help_imports_nothing_heavy():
    code = (
        'import sys; from pumba_pipe.bids_app.run import main; main(["--help"]);'
        'heavy = {"torch", "nipype", "bids", "nibabel", "numpy"} & set(sys.modules);'
        'sys.exit(str(heavy) if heavy else 0)'
    )
    subprocess.run([sys.executable, '-c', code], capture_output=True, check=True)


def test_command_line_is_understood(tmp_path):
    words = '--participant-label sub-01 02 --session_label ses-a --modalities T1w T2w'
    words += ' --n-cpus 8 --omp-nthreads 2 --mem 8G -w w --border-mm -1 --csf include -vv'
    config = parse([str(tmp_path / 'in'), str(tmp_path / 'out'), 'participant', *words.split()])
    assert config.participants == ('01', '02')
    assert config.sessions == ('a',)
    assert config.modalities == ('T1w', 'T2w')
    assert (config.nprocs, config.omp_nthreads, config.mem_gb) == (8, 2, 8.0)
    assert config.work_dir == tmp_path / 'w'
    assert (config.border_mm, config.csf) == (-1, 'include')
    assert config.verbosity == 2


@pytest.mark.parametrize(
    ('text', 'size'), [('2000', 2.0), ('2000M', 2.0), ('2g', 2.0), ('1.5GB', 1.5), ('3e', None)]
)
def test_memory_sizes(text, size):
    if size is None:
        with pytest.raises(Exception, match='not an amount of memory'):
            memory_gb(text)
    else:
        assert memory_gb(text) == size


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'required'),
        (['a', 'b', 'individual'], 'invalid choice'),
        (['a', 'b', 'participant', '--nprocs', '0'], "'0' is not a whole number above zero"),
        (['a', 'b', 'participant', '--nprocs', '1', '--omp-nthreads', '2'], 'is more than'),
        (['a', 'b', 'participant', '--mem', 'lots'], "'lots' is not an amount of memory"),
        (['a', 'b', 'participant', '--mem', '8'], "'8' is less than 0.1 GB"),
        (['a', 'b', 'participant', '--border-mm', 'x'], "'x' is not a number"),
        (['a', 'b', 'participant', '--modalities', 'T7w'], "'T7w'"),
        (['a', 'b', 'participant', '--csf', 'some'], "'some'"),
        (['a', 'b', 'participant', '--participant-label', '../x'], "'../x' is not a label"),
        (['a', 'b', 'participant', '--unknown'], '--unknown'),
        (['absent', 'b', 'participant'], 'absent: does not exist'),
    ],
)
def test_bad_command_lines(words, message, refusal):
    assert message in refusal(*words)


def test_folders_that_cannot_be_used(bids_dir, tmp_path, refusal):
    def refused(*words):
        return refusal(*words, '--skip-bids-validation')

    (tmp_path / 'file').touch()
    (tmp_path / 'empty').mkdir()
    out = tmp_path / 'out'
    line = refused('empty', out, 'participant')
    assert 'not a BIDS data set' in line and '"BIDSVersion"' in line, 'and what to write there'
    assert 'is not a folder' in refused('file', out, 'participant')
    assert 'is the input data set' in refused(bids_dir, bids_dir, 'participant')
    assert 'lies inside the input' in refused(bids_dir, bids_dir / 'out', 'participant')
    work = bids_dir / 'derivatives' / 'work'
    assert 'lies inside the input' in refused(bids_dir, out, 'participant', '-w', work)
    assert 'cannot write here' in refused(bids_dir, 'file', 'participant')
    assert 'cannot write here' in refused(bids_dir, out, 'participant', '-w', 'file/work')
    assert 'run the participant level first' in refused(bids_dir, 'empty', 'group')
    (tmp_path / 'empty' / 'dataset_description.json').write_text('{"Name": "fMRIPrep"}')
    assert 'holds another data set (fMRIPrep)' in refused(bids_dir, 'empty', 'participant')


def test_results_may_lie_where_bids_has_a_place_for_them(own_bids_dir, refusal):
    out = own_bids_dir / 'derivatives' / 'pumba'
    words = ['participant', '--skip-bids-validation', '--participant-label', '99']
    assert 'not in' in refusal(own_bids_dir, out, *words)


def test_labels_and_modalities_that_are_not_there(bids_dir, refusal):
    common = [bids_dir, 'out', 'participant', '--skip-bids-validation']
    line = refusal(*common, '--participant-label', '01', 'sub-77')
    assert '77' in line
    assert 'there is 01, 02, 03' in line
    assert '--session-label z' in refusal(*common, '--session-label', 'z')
    line = refusal(*common, '--participant-label', '03')
    assert 'no image to strip' in line
    assert 'there is MP2RAGE' in line
    assert not os.path.exists('out')


def test_weights_and_devices_that_cannot_be_used(bids_dir, tmp_path, refusal):
    common = [bids_dir, 'out', 'participant', '--skip-bids-validation', '--nprocs', '1']
    (tmp_path / 'w.safetensors').write_bytes(b'not weights')
    assert 'w.safetensors' in refusal(*common, '--weights', 'w.safetensors')
    assert 'absent.safetensors' in refusal(*common, '--weights', 'absent.safetensors')
    assert "'abacus'" in refusal(*common, '--device', 'abacus')


def test_a_data_set_that_breaks_the_standard(own_bids_dir, refusal):
    image = own_bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    image.rename(image.with_name('sub-01_T1w_old.nii.gz'))
    line = refusal(own_bids_dir, 'out', 'participant')
    assert 'errors against the BIDS standard' in line
    assert 'sub-01_T1w_old.nii.gz' in line
    assert '--skip-bids-validation' in line


def test_without_the_validator_there_is_a_warning(bids_dir, monkeypatch):
    monkeypatch.setattr(dataset.shutil, 'which', lambda *args, **kwargs: None)
    config = parse([str(bids_dir), 'out', 'participant'])
    assert 'is not installed' in dataset.validate(config)


def test_what_is_not_chosen_is_said(own_bids_dir):
    anat = own_bids_dir / 'sub-01/anat'
    (anat / 'sub-01_T1w.nii').write_bytes(b'again')
    (anat / 'T1w.nii.gz').write_bytes(b'whose?')
    (anat / 'sub-01_PDw.nii.gz').symlink_to('/nowhere/annex/object')
    (own_bids_dir / 'derivatives/x/sub-01/anat').mkdir(parents=True)
    (own_bids_dir / 'derivatives/x/sub-01/anat/sub-01_T1w.nii.gz').write_bytes(b'')
    selection = dataset.select_images(parse([str(own_bids_dir), 'out', 'participant']))
    remarks = '\n'.join(selection.remarks)
    assert [path.name for path in selection.broken] == [
        'sub-01_PDw.nii.gz', 'sub-01_T1w.nii', 'sub-01_T1w.nii.gz',
    ]  # fmt: skip
    assert len(selection.images) == 3
    assert 'means the same image as' in selection.broken[anat / 'sub-01_T1w.nii']
    assert 'not a BIDS name' in remarks
    assert 'no image to strip: sub-03' in remarks
    assert '2 MP2RAGE' in remarks


def test_a_name_that_no_file_can_have_is_wrong_usage(capsys):
    assert main(['a', 'b', 'participant', '--weights', '1' * 5000]) == 2
    printed = capsys.readouterr().err
    assert printed.count('\n') == 1 and 'is not the name of a file' in printed
    assert len(printed) < 1000
