"""Options that are read from files, or that choose among images: refusals and meanings."""

import json
import os
from pathlib import Path

import pytest
from pumba_pipe.bids_app.execution import plan
from pumba_pipe.bids_app.execution.plugin_file import read_plugin
from pumba_pipe.bids_app.options.config import UsageError
from pumba_pipe.bids_app.options.config_file import as_words, read_options, write_config
from pumba_pipe.bids_app.options.parser import parse
from pumba_pipe.bids_app.run import main
from pumba_pipe.bids_app.selection.dataset import select_images
from pumba_pipe.bids_app.selection.filters import read_filters
from pumba_pipe.bids_app.selection.index import DATABASE
from pumba_pipe.bids_app.selection.species import of_species

EVERYTHING = ['--modalities', 'T1w', 'T2w', 'FLAIR', 'MP2RAGE']


pytestmark = pytest.mark.usefixtures('own_folder')


def chosen(bids_dir, *words):
    """Names of the images that a run would strip."""
    config = parse([str(bids_dir), 'out', 'participant', *map(str, words)])
    return [path.name for path in select_images(config).images]


# a configuration in a file


def test_options_are_written_and_read_back(tmp_path):
    Path('w ü').touch()
    words = ['--participant-label', '01', '--border-mm=-1.5', '--mem', '8G', '--no-n4']
    words += ['--weights', 'w ü', '--modalities', 'T1w', '--omp-nthreads', '1']
    first = parse(['in', 'out', 'participant', *words])
    write_config(tmp_path / 'pumba.toml', {'run': {'id': 'x'}, 'options': first.options})
    again = parse(['in', 'out', 'participant', '--config-file', 'pumba.toml'])
    assert again.options == first.options
    assert (again.participants, again.border_mm, again.mem_gb) == (('01',), -1.5, 8.0)
    assert again.weights == tmp_path / 'w ü'
    assert again.n4 == 'off'


@pytest.mark.parametrize('value', ['off', 'mask', 'both'])
def test_when_images_are_corrected(tmp_path, value):
    words = ['in', 'out', 'participant']
    given = parse([*words, '--n4', value])
    assert (given.n4, given.options['n4']) == (value, value)
    Path('c.toml').write_text(f'[options]\nn4 = "{value}"\n')
    assert parse([*words, '--config-file', 'c.toml']).n4 == value
    assert parse(words).n4 == 'mask'


def test_the_former_option_for_no_correction(tmp_path):
    words = ['in', 'out', 'participant']
    assert parse([*words, '--no-n4']).options['n4'] == 'off'
    Path('c.toml').write_text('[options]\nno-n4 = true\n')
    assert parse([*words, '--config-file', 'c.toml']).n4 == 'off'
    assert parse([*words, '--config-file', 'c.toml', '--n4', 'both']).n4 == 'both'


def test_any_text_can_be_written(tmp_path):
    options = {'text': 'a "b" \\ ü\n\x7f', 'numbers': [1, 2], 'half': 0.5, 'yes': True}
    write_config(tmp_path / 'c.toml', {'options': options})
    assert read_options(tmp_path / 'c.toml') == options
    write_config(tmp_path / 'c.toml', {'options': {'text': os.fsdecode(b'\xff')}})
    assert read_options(tmp_path / 'c.toml') == {'text': '?'}


def test_the_command_line_goes_before_the_file():
    Path('c.toml').write_text('[options]\nborder-mm = 2\nmodalities = ["T1w"]\nsloppy = true\n')
    words = ['--config-file', 'c.toml', '--modalities', 'T2w']
    config = parse(['in', 'out', 'participant', *words])
    assert (config.border_mm, config.modalities, config.sloppy) == (2, ('T2w',), True)
    assert config.nprocs >= 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('border-mm = ', 'is not TOML'),
        ('[other]', 'has no table [options]'),
        ('[options]\nborder-mm = "x"', "'x' is not a number"),
        ('[options]\ncolour = 1', '--colour=1'),
        ('[options]\ndry-run = true', 'dry-run has no place in a file'),
        ('[options]\nseed = 1979-05-27', 'neither text, number'),
    ],
)
def test_bad_configurations(text, message, refusal):
    Path('c.toml').write_text(text)
    line = refusal('in', 'out', 'participant', '--config-file', 'c.toml')
    assert message in line
    assert 'c.toml' in line


def test_options_become_words():
    assert as_words({'a': [], 'b': [1, 'c'], 'd': 1.5}) == ['--b', '1', 'c', '--d=1.5']
    Path('c.toml').write_text('[options]\nn = [1]\n')
    assert read_options(Path('c.toml')) == {'n': [1]}


# filters


def test_filters_choose_images(bids_dir):
    def with_filter(content):
        Path('f.json').write_text(json.dumps(content))
        return chosen(bids_dir, *EVERYTHING, '--bids-filter-file', 'f.json')

    assert len(with_filter({})) == 5
    assert with_filter({'t1w': {'session': None}, 'bold': {'task': 'x'}}) == [
        'sub-01_T1w.nii.gz',
        'sub-01_T2w.nii.gz',
        'sub-02_ses-b_FLAIR.nii',
        'sub-03_inv-1_part-mag_MP2RAGE.nii.gz',
    ]
    assert 'sub-01_T1w.nii.gz' not in with_filter({'T1w': {'acquisition': '*'}})
    assert len(with_filter({'t1w': {'run': 1}, 'flair': {'session': ['b', 'c']}})) == 4
    assert len(with_filter({'flair': {'session': 'a'}})) == 4


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is not JSON'),
        ('[]', 'an object (names and values) is needed'),
        ('{"t1w": 1}', "'t1w' is not an object"),
        ('{"t7w": {}}', "'t7w' is no kind of image"),
        ('{"t1w": {"acquisitoin": "x"}}', 'acquisitoin'),
        ('{"t1w": {"acquisition": "none-such"}, "t2w": {"run": 9}, "flair": {"run": 9}}', 'no im'),
    ],
)
def test_bad_filters(bids_dir, text, message, refusal):
    Path('f.json').write_text(text)
    words = [bids_dir, 'out', 'participant', '--skip-bids-validation']
    assert message in refusal(*words, '--bids-filter-file', 'f.json')
    assert not os.path.exists('out')


def test_marks_of_other_applications_are_understood(tmp_path):
    (tmp_path / 'f.json').write_text('{"T1w": {"run": "Query.NONE", "session": "Query.ANY"}}')
    assert read_filters(tmp_path / 'f.json') == {'T1w': {'run': None, 'session': '*'}}


# species


@pytest.mark.parametrize(
    ('table', 'said'),
    [
        ('participant_id\tspecies\nsub-01\tmouse\n01\tMus musculus\nsub-01\trat\n', 'twice'),
        ('Participant\tspecies\nsub-01\tmouse\n', 'no column participant_id'),
        ('participant_id,species\nsub-01,mouse\n', 'no column participant_id'),
    ],
)
def test_a_table_that_does_not_say_who_is_of_which_species_is_refused(tmp_path, table, said):
    (tmp_path / 'participants.tsv').write_text(table)
    with pytest.raises(UsageError, match=said):
        of_species(tmp_path, ['01', '02'], ['mouse'])


def test_species_choose_participants(own_bids_dir, refusal):
    table = 'participant_id\tspecies\nsub-01\tMus musculus\nsub-02\tn/a\nsub-03\tMacaca mulatta\n'
    (own_bids_dir / 'participants.tsv').write_text(table)
    assert chosen(own_bids_dir, '--species', 'mouse') == ['sub-01_T1w.nii.gz', 'sub-01_T2w.nii.gz']
    human = chosen(own_bids_dir, '--species', 'human')
    assert all(name.startswith('sub-02') for name in human)
    people = of_species(own_bids_dir, ['01', '02', '03', '04'], ['macaque', 'homo_sapiens'])
    assert people == ['02', '03', '04']
    words = [own_bids_dir, 'out', 'participant', '--skip-bids-validation', '--species', 'pig']
    assert 'there is homo sapiens, macaca mulatta, mus musculus' in refusal(*words)


def test_without_a_table_all_are_human(bids_dir):
    assert of_species(bids_dir, ['01', '02'], ['Human']) == ['01', '02']
    with pytest.raises(UsageError, match='no such participant'):
        of_species(bids_dir, ['01'], ['mouse'])


# the index


def test_a_database_is_made_once_and_read(own_bids_dir, tmp_path, capsys):
    words = ['--bids-database-dir', tmp_path / 'db']
    first = chosen(own_bids_dir, *words)
    made = (tmp_path / 'db' / DATABASE).stat().st_mtime_ns
    assert [path.name for path in (tmp_path / 'db').iterdir()] == [DATABASE]
    gone = own_bids_dir / 'sub-01/anat/sub-01_T2w.nii.gz'
    gone.unlink()
    config = parse([str(own_bids_dir), 'out', 'participant', *map(str, words)])
    selection = select_images(config)
    assert [path.name for path in selection.images] == [n for n in first if n != gone.name]
    assert 'in the database' in selection.broken[gone]
    assert (tmp_path / 'db' / DATABASE).stat().st_mtime_ns == made
    assert len(first) == 4


def test_databases_that_cannot_be_used(own_bids_dir, bids_dir, tmp_path, refusal):
    def refused(root, folder):
        words = [root, 'out', 'participant', '--skip-bids-validation']
        return refusal(*words, '--bids-database-dir', folder)

    assert 'never written to' in refused(own_bids_dir, own_bids_dir / 'db')
    chosen(bids_dir, '--bids-database-dir', 'db')
    assert 'is of another data set' in refused(own_bids_dir, 'db')
    (tmp_path / 'db' / DATABASE).write_bytes(b'no database')
    assert 'cannot be read' in refused(bids_dir, 'db')
    (tmp_path / 'file').touch()
    assert 'cannot write here' in refused(bids_dir, 'file/db')


# plugins, templates, extras


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is not YAML'),
        ('a: 1', 'names no plugin'),
        ('plugin: Abacus', 'Nipype has'),
        ('plugin: Linear\nplugin_args: 3', 'is not a set of names'),
        ('plugin: Debug', 'Nipype has'),
        ('plugin: SomaFlow', 'needs soma_workflow, which is not installed'),
        ('plugin: MultiProc\nplugin_args: {memory_gb: 0.001}', 'is no number of gigabytes'),
        ('plugin: MultiProc\nplugin_args: {memory_gb: some}', 'is no number of gigabytes'),
        ('plugin: MultiProc\nplugin_args: {n_procs: 1.5}', 'is no whole number from 1 on'),
        ('plugin: MultiProc\nplugin_args: {max_jobs: 0}', 'is no whole number from 1 on'),
        ('plugin: MultiProc\nplugin_args: {n_gpu_procs: x}', 'is no whole number from 0 on'),
    ],
)
def test_bad_plugin_files(bids_dir, text, message, refusal):
    Path('p.yml').write_text(text)
    words = [bids_dir, 'out', 'participant', '--skip-bids-validation', '--use-plugin', 'p.yml']
    assert message in refusal(*words)


def test_a_plugin_file(tmp_path):
    (tmp_path / 'p.yml').write_text('plugin: SLURM\nplugin_args: {sbatch_args: "-p long"}\n')
    choice = read_plugin(tmp_path / 'p.yml')
    assert (choice.name, choice.args) == ('SLURM', {'sbatch_args': '-p long'})


def test_spaces_are_checked_before_any_work(bids_dir, templateflow_home, refusal):
    (templateflow_home / 'tpl-Other').mkdir(parents=True)
    words = [bids_dir, 'out', 'participant', '--skip-bids-validation', '--output-spaces']
    assert 'TEMPLATEFLOW_HOME' in refusal(*words, 'NoSuchSpace')
    assert 'is not a space' in refusal(*words, 'MNI:res_2')
    assert not os.path.exists('out')


def test_deformable_registration_needs_a_space_and_an_extra(bids_dir, refusal, monkeypatch):
    words = [bids_dir, 'out', 'participant', '--skip-bids-validation', '--deformable']
    assert '--output-spaces' in refusal(*words)
    monkeypatch.setattr(plan, 'find_spec', lambda name: None)
    assert 'pip install antspyx' in refusal(*words, '--output-spaces', 'X')


def test_the_resource_monitor_needs_a_package(bids_dir, refusal, monkeypatch):
    monkeypatch.setattr(plan, 'find_spec', lambda name: None)
    words = [bids_dir, 'out', 'participant', '--skip-bids-validation', '--resource-monitor']
    assert 'pip install psutil' in refusal(*words)


# runs that do only a part


def test_a_dry_run_lists_and_writes_nothing(bids_dir, tmp_path, capsys):
    words = [str(bids_dir), 'out', 'participant', '--dry-run', '--nprocs', '1']
    assert main([*words, '--bids-database-dir', 'db', '--skip-bids-validation']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        'pumba: sub-01/anat/sub-01_T1w.nii.gz: would be stripped -> '
        'sub-01/anat/sub-01_desc-brain_mask.nii.gz' in lines
    )
    assert lines[-1] == 'pumba: dry run: nothing was written'
    assert list(tmp_path.iterdir()) == []


def test_only_one_part_at_a_time(refusal):
    assert 'not allowed with' in refusal('in', 'out', 'participant', '--dry-run',
                                         '--reports-only')  # fmt: skip


def test_there_must_be_something_to_report_on(bids_dir, refusal):
    words = [bids_dir, 'out', 'participant', '--reports-only']
    assert 'no results to report on' in refusal(*words)
    assert 'leave nothing to do' in refusal(*words, '--no-reports')
