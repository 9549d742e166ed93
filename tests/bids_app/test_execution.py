import os
from types import SimpleNamespace

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from pumba_pipe.bids_app.execution.plugin import KILLED
from pumba_pipe.bids_app.execution.progress import ImageProgress, clock, crash_of, image_id
from pumba_pipe.bids_app.execution.runner import KILLED_HINT, _plugin

from pumba_pipe.interfaces import SkullStrip


def work(number, folder):
    """Die as if killed for lack of memory, or leave a file."""
    import os
    import signal
    from pathlib import Path

    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    Path(folder, f'{number}').touch()
    return os.getpid()


@pytest.fixture
def workflow(tmp_path):
    done = tmp_path / 'done'
    done.mkdir()
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path))
    workflow.config['execution'] = {
        'crashdump_dir': str(tmp_path / 'log'),
        'crashfile_format': 'txt',
        'poll_sleep_duration': '0.1',
        'stop_on_first_crash': 'false',
    }
    for number in range(3):
        node = pe.Node(
            Function(function=work, input_names=['number', 'folder'], output_names=['pid']),
            name=f'strip_sub{number}_T1w',
        )
        node.inputs.number, node.inputs.folder = number, str(done)
        workflow.add_nodes([node])
    return workflow


def plugin_for(progress, **options):
    """The plugin as a run makes it."""
    options = {'nprocs': 1, 'omp_nthreads': 1, 'mem_gb': 1, 'verbosity': 0} | options
    config = SimpleNamespace(resource_record=None, **options)
    return _plugin(SimpleNamespace(config=config, plugin=None), progress)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a process the POSIX way')
def test_a_killed_worker_stops_neither_the_run_nor_the_others(workflow, tmp_path):
    lines = []
    progress = ImageProgress([image(tmp_path, 0)], lines.append)
    with pytest.raises(RuntimeError):
        workflow.run(plugin=plugin_for(progress, nprocs=2))
    assert sorted(path.name for path in (tmp_path / 'done').iterdir()) == ['1', '2']
    assert progress.failed == {'sub0_T1w'}
    assert 'sub-0_T1w failed' in lines[0]
    message = f'{KILLED}; {KILLED_HINT}'
    assert crash_of(tmp_path / 'log', 'sub0_T1w').message == message
    assert progress.reasons['sub0_T1w'].message == message


def test_on_a_gpu_there_is_one_image_at_a_time(tmp_path):
    plugin = plugin_for(ImageProgress([], print), nprocs=8, omp_nthreads=3, mem_gb=16)
    node = pe.Node(SkullStrip(use_gpu=True, num_threads=3), name='strip', mem_gb=1, n_procs=3)
    plugin.procs = [node, node]
    assert node.is_gpu_node() and node.n_procs <= plugin.n_gpu_procs
    memory, processors, slots = plugin._check_resources([(1, 0)])
    assert (memory, processors) == (15, 5)
    assert slots < node.n_procs


def test_images_are_finished_in_the_order_in_which_they_are_begun():
    plugin = plugin_for(ImageProgress([], print), nprocs=2)
    names = ['n4_sub1', 'n4_sub2', 'strip_sub1', 'strip_sub2', 'ds_sub1']
    plugin.procs = [SimpleNamespace(fullname=f'wf.{name}_T1w') for name in names]
    assert plugin._sort_jobs([0, 1]) == [0, 1]
    assert plugin._sort_jobs([1, 2]) == [2, 1]
    assert plugin._sort_jobs([3, 4]) == [4, 3]


def test_a_disk_too_full_for_a_crash_file_hides_no_reason(tmp_path, monkeypatch):
    def fail(node, traceback=None):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('nipype.pipeline.plugins.base.report_crash', fail)
    progress = ImageProgress([image(tmp_path, '01', 'missing')], print)
    plugin = plugin_for(progress, nprocs=2)
    crashed = SimpleNamespace(
        name='ds_mask',
        fullname='wf.ds_sub01_T1w_wf.ds_mask',
        config={'execution': {'crashdump_dir': str(tmp_path)}},
    )
    lines = ['Traceback:\n', 'pumba_pipe.common.errors.OutputError: /a: cannot write this file\n']
    assert plugin._report_crash(crashed, {'result': None, 'traceback': lines}) == ''
    assert progress.reasons['sub01_T1w'].message == '/a: cannot write this file'


def image(folder, label, state='done'):
    """What `ImageProgress` needs to know of an image."""
    return SimpleNamespace(source=folder / f'sub-{label}_T1w.nii.gz', state=lambda: state)


def node(name):
    return SimpleNamespace(name=name, fullname=f'wf.sub_01_wf.{name}')


def test_an_image_is_done_when_all_its_files_are_written(tmp_path):
    lines = []
    first, second = image(tmp_path, '01', 'missing'), image(tmp_path, '02')
    progress = ImageProgress([first, second], lines.append)
    for name in ('strip_sub01_T1w', 'ds_mask_sub01_T1w', 'strip_sub02_T1w'):
        progress(node(name), 'start')
        progress(node(name), 'end')
    assert lines == []
    first.state = lambda: 'done'
    progress(node('ds_brain_sub01_T1w'), 'end')
    assert lines[0].startswith('1/2 done, 0 failed, 0:00:00 elapsed')
    assert lines[0].endswith('sub-01_T1w')


def test_what_follows_a_failure_does_not_count_as_done(tmp_path):
    lines = []
    progress = ImageProgress([image(tmp_path, '01')], lines.append)
    progress(node('strip_sub01_T1w'), 'exception')
    for name in ('strip_sub01_T1w', 'ds_mask_sub01_T1w', 'ds_brain_sub01_T1w'):
        progress(node(name), 'end')
    assert len(lines) == 1
    assert lines[0].startswith('0/1 done, 1 failed')
    assert progress.done == set()


@pytest.mark.parametrize(
    ('name', 'image'),
    [
        ('pumba_1_1_wf.sub_01_wf.strip_sub01_T1w', 'sub01_T1w'),
        ('pumba_1_1_wf.sub_01_ses_a_wf.anat_sub01_sesa_acqx_T1w_wf.n4', 'sub01_sesa_acqx_T1w'),
        ('pumba_1_1_wf.sub_01_wf.other', None),
    ],
)
def test_image_of_a_node(name, image):
    assert image_id(name) == image


@pytest.mark.parametrize(
    ('last', 'reason'),
    [
        ('pumba_pipe.common.errors.InputError: /a/b.nii: empty', '/a/b.nii: empty'),
        ('\tValueError: what: ever', 'ValueError: what: ever'),
        ('MemoryError: ', None),
        (
            'OSError: [Errno 28] No space left on device',
            'No space left on device, most likely below the work directory (-w); make room there, '
            'or choose another',
        ),
        ("OSError: [Errno 28] No space: '/a'", "OSError: [Errno 28] No space: '/a'"),
    ],
)
def test_reason_of_a_crash(tmp_path, last, reason):
    file = tmp_path / 'crash-1-me-strip-x.txt'
    text = 'Node: wf.a_sub01_T1w_wf.strip\nTraceback:\nNodeExecutionError: node a\n'
    file.write_text(f'{text}{last}\n')
    failure = crash_of(tmp_path, 'sub01_T1w')
    assert failure.message == (reason or 'NodeExecutionError: node a')
    assert failure.crash_file == file
    assert crash_of(tmp_path, 'sub02_T1w') is None


def test_clock():
    assert clock(59.6) == '0:01:00'
    assert clock(36000) == '10:00:00'
