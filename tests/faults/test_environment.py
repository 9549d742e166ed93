"""The machine is not as it should be: `pumba` works all the same, or says in one line why not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pumba_pipe.common import resources
from pumba_pipe.common.resources import check_memory

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='limits and folders of Linux')

CODE = 'import sys; from pumba_pipe.bids_app.run import main; sys.exit(main())'
STRIP = 'import sys; from pumba_pipe.commands.strip import main; sys.exit(main())'


def command(bids_dir, out, *words):
    work = str(out.parent / 'work')
    return [
        sys.executable, '-c', CODE, str(bids_dir), str(out), 'participant', '-w', work,
        '--skip-bids-validation', '--device', 'cpu', '--no-n4', '--no-reports', *words,
    ]  # fmt: skip


def run(words, **more):
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **more)


def limited(words, kilobytes):
    return ['bash', '-c', f'ulimit -v {kilobytes} && exec "$@"', 'bash', *words]


def test_a_long_tmpdir(bids_dir, tmp_path):
    folder = tmp_path / ('t' * 90)
    folder.mkdir()
    done = run(
        command(bids_dir, tmp_path / 'out', '--nprocs', '2', '--dry-run'),
        env=os.environ | {'TMPDIR': str(folder)},
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert 'dry run: nothing was written' in done.stdout


def hides_folders():
    tried = subprocess.run(['unshare', '-m', 'true'], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.parametrize(
    'mount',
    ['-o size=4k tmpfs /dev/shm && head -c 4k /dev/zero > /dev/shm/full', '-o ro tmpfs /dev/shm'],
    ids=['full', 'read-only'],
)
def test_semaphores_that_cannot_be_made(bids_dir, tmp_path, mount):
    if not hides_folders():
        pytest.skip('folders can be hidden by root alone')
    words = command(bids_dir, tmp_path / 'out', '--nprocs', '2', '--dry-run')
    script = f'mount -t tmpfs {mount} && exec "$@"'
    done = run(['unshare', '-m', 'bash', '-c', script, 'bash', *words])
    assert (done.returncode, done.stderr) == (0, '')
    assert 'warning: no semaphore can be made in /dev/shm' in done.stdout
    assert 'dry run: nothing was written' in done.stdout


@pytest.mark.parametrize('kilobytes', [700_000, 900_000, 1_200_000])
def test_little_address_space_is_one_line(head_file, tmp_path, kilobytes):
    words = [
        sys.executable, '-c', STRIP, '-i', str(head_file), '-m', str(tmp_path / 'mask.nii.gz'),
        '--device', 'cpu', '--threads', '1',
    ]  # fmt: skip
    began = time.monotonic()
    done = run(limited(words, kilobytes))
    assert time.monotonic() - began < 60
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert 'memory' in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['synth', 'train'])
def test_little_address_space_for_pytorch_is_one_line(tmp_path, name):
    """PyTorch ended the process while it was imported, without a word of ours."""
    code = f'import sys; from pumba_pipe.commands.{name} import main; sys.exit(main())'
    done = run(limited([sys.executable, '-c', code, str(tmp_path / 'out')], 600_000))
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert 'not enough memory' in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('kilobytes', [600_000])
def test_little_address_space_for_workers_is_one_line(bids_dir, tmp_path, kilobytes):
    done = run(limited(command(bids_dir, tmp_path / 'out', '--nprocs', '2'), kilobytes))
    assert done.returncode in (1, 2)
    assert done.stderr.count('\n') == 1
    assert 'memory' in done.stderr


def test_more_threads_than_cpus_ask_for_no_more_memory(head_file, tmp_path):
    """A hundred thousand threads asked for 8 TB."""
    words = ['-i', str(head_file), '-m', str(tmp_path / 'm.nii.gz'), '--threads', '100000']
    done = run([sys.executable, '-c', STRIP, *words])
    assert (done.returncode, done.stderr) == (0, '')


def test_memory_is_asked_for():
    check_memory(2**20)
    with pytest.raises(MemoryError, match=r'not enough memory: .* GB more'):
        check_memory(2**62)


@pytest.mark.parametrize(
    'message',
    [
        '[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory',
        'could not create a primitive',
        'std::bad_alloc',
        'Failed to allocate 50331648 bytes of memory',
        'Exception from plugin.cpp:54: Resource temporarily unavailable',
        'libopenblas.so: failed to map segment from shared object',
        'CUDA out of memory. Tried to allocate 2 GiB',
    ],
)
def test_what_libraries_say_of_memory_is_understood(message):
    assert resources.lacks_memory(RuntimeError(message))
    assert not resources.lacks_memory(RuntimeError('shapes do not match'))


@pytest.mark.parametrize('seconds', [0.2, 0.8, 1.6, 2.4])
def test_ctrl_c_at_start_up_is_one_line(bids_dir, tmp_path, seconds):
    """To the whole group of processes, as a terminal sends it."""
    process = subprocess.Popen(
        command(bids_dir, tmp_path / 'out', '--nprocs', '2'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whatever the tests were started with, as by nohup
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 12
    unborn = process.returncode == -signal.SIGINT and not errors  # Python itself was starting
    if unborn or (errors.startswith('Traceback') and 'in main\n' not in errors):
        pytest.skip('the command itself had not started yet')
    assert (process.returncode, errors) == (130, 'pumba: interrupted\n')


INTERRUPTED_IMPORT = """
import sys
class CtrlC:
    def find_spec(name, path=None, target=None):
        if name == 'nipype.pipeline.engine.nodes':
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC)
"""


def test_ctrl_c_while_nipype_is_imported_is_one_line(bids_dir, tmp_path):
    """Nipype printed a traceback at the end of Python."""
    words = command(bids_dir, tmp_path / 'out', '--nprocs', '1', '--dry-run')
    words[2] = INTERRUPTED_IMPORT + CODE
    done = run(words)
    assert (done.returncode, done.stderr) == (130, 'pumba: interrupted\n')


# As libraries do while they are imported: a bare except around an import that can be done without.
SWALLOWED_IMPORT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class CtrlC:
    def find_spec(name, path=None, target=None):
        if name == 'nibabel':
            sys.meta_path.remove(CtrlC)
            {how}
sys.meta_path.insert(0, CtrlC)
"""
SWALLOWERS = {
    'bare except': """try:
                signal.raise_signal(signal.SIGINT)
            except:
                pass""",
    # Python prints what is raised there, and goes on
    'end of an object': """class Ended:
                def __del__(self):
                    signal.raise_signal(signal.SIGINT)
            Ended()""",
}


@pytest.mark.parametrize('how', SWALLOWERS.values(), ids=SWALLOWERS)
@pytest.mark.parametrize('code', [CODE, STRIP], ids=['pumba', 'pumba-strip'])
def test_ctrl_c_that_a_library_swallows_ends_all_the_same(
    code, how, bids_dir, head_file, tmp_path
):
    """The command went on to its end, with exit code 0."""
    words = command(bids_dir, tmp_path / 'out', '--nprocs', '1')
    if code == STRIP:
        words[3:] = ['-i', str(head_file), '-m', str(tmp_path / 'm.nii.gz'), '--device', 'cpu']
    words[2] = SWALLOWED_IMPORT.replace('{how}', how) + code
    done = run(words)
    name = 'pumba-strip' if code == STRIP else 'pumba'
    assert (done.returncode, done.stderr) == (130, f'{name}: interrupted\n')
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


# When the images are being worked on: to the last node of one, in the command's own process.
SWALLOWED_IN_A_RUN = """
import signal, sys
from pumba_pipe.interfaces.derivatives import SaveDerivative
save = SaveDerivative._run_interface
def saving(self, runtime):
    try:
        signal.raise_signal(signal.SIGINT)
    except:
        pass
    return save(self, runtime)
SaveDerivative._run_interface = saving
"""


def test_ctrl_c_that_a_library_swallows_in_a_run_is_no_failure_of_images(bids_dir, tmp_path):
    """Nipype took it for the failure of each node that writes; the run went on to its end."""
    words = command(bids_dir, tmp_path / 'out', '--nprocs', '2')
    words[2] = SWALLOWED_IN_A_RUN + CODE
    done = run(words)
    assert (done.returncode, done.stderr) == (130, 'pumba: interrupted\n')


# The signal comes when one output is in its place and the next is half-written.
ENDED_WHILE_WRITING = """
import os, signal, sys, time
from pumba_pipe.commands.strip import main
from pumba_pipe.images import saving
save, number, ignored = saving.save_image, int(sys.argv.pop(1)), sys.argv.pop(1) == 'ignored'
def saved(image, path):
    save(image, path)
    saved.files += 1
    if saved.files == 2:
        os.kill(os.getpid(), number)
        time.sleep(0.1)
saved.files, saving.save_image = 0, saved
ordinary = dict.fromkeys([signal.SIGTERM, signal.SIGHUP], signal.SIG_DFL)
ordinary[signal.SIGINT] = signal.default_int_handler
# whatever the tests were started with, as by nohup
signal.signal(number, signal.SIG_IGN if ignored else ordinary[number])
sys.exit(main())
"""


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_a_signal_to_end_leaves_no_output(name, head_file, tmp_path):
    """Of four outputs one was there, and the next half-written under another name."""
    names = [str(tmp_path / f'{letter}.nii.gz') for letter in 'mopd']
    words = [word for pair in zip(['-m', '-o', '-p', '-d'], names, strict=True) for word in pair]
    number = str(int(getattr(signal, name)))
    command = [sys.executable, '-c', ENDED_WHILE_WRITING, number]
    done = run([*command, '', '-i', str(head_file), *words])
    assert (done.returncode, done.stderr) == (130, 'pumba-strip: interrupted\n')
    assert list(tmp_path.iterdir()) == []
    if name == 'SIGHUP':  # as with nohup
        done = run([*command, 'ignored', '-i', str(head_file), *words])
        assert (done.returncode, done.stderr) == (0, '')
        assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize('code', [CODE, STRIP], ids=['pumba', 'pumba-strip'])
def test_a_current_folder_that_was_deleted_is_one_line(code, bids_dir, head_file, tmp_path):
    """PyTorch ends with a line about a library of its own, even where all paths are absolute."""
    words = {
        CODE: [bids_dir, tmp_path / 'out', 'participant', '--dry-run'],
        STRIP: ['-i', head_file, '-m', tmp_path / 'm.nii.gz'],
    }
    script = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
    arguments = [sys.executable, '-c', code, *map(str, words[code])]
    # nothing may be searched in the current folder before the command begins
    env = os.environ | {'PYTHONSAFEPATH': '1'}
    done = run(['bash', '-c', script, str(tmp_path / 'gone'), *arguments], env=env)
    assert done.returncode != 0
    assert 'the current folder cannot be used' in done.stderr
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(
    'streams',
    ['>&- 2>&-', '<&- >&- 2>&-', '2>&-', '> /dev/full 2> /dev/full', '| true', '2>&1 | true'],
)
def test_masks_are_made_whether_or_not_somebody_reads(bids_dir, tmp_path, streams):
    """`pumba` ended at its first line, or before it, and said nothing."""
    if '/dev/full' in streams and not os.path.exists('/dev/full'):
        pytest.skip('needs /dev/full')
    out = tmp_path / 'out'
    words = command(bids_dir, out, '--nprocs', '1', '--participant-label', '02', '--sloppy')
    done = run(['bash', '-c', f'"$@" {streams}; exit ${{PIPESTATUS[0]}}', 'bash', *words])
    assert done.returncode == int('/dev/full' in streams)
    assert len(list(out.rglob('*desc-brain_mask.nii.gz'))) == 2


def main_of(module):
    return f'import sys; from pumba_pipe.{module} import main; sys.exit(main())'


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
@pytest.mark.parametrize(
    ('module', 'words'),
    [
        ('commands.strip', ['-i', 'HEAD', '-m', 'OUT']),
        ('commands.strip', ['--version']),
        ('commands.strip', ['--help']),
        ('commands.synth', ['OUT', '-n', '2', '--size', '24', '--voxel-mm', '8']),
        ('commands.weights', ['info']),
        ('commands.weights', ['info', '--help']),
        ('commands.evaluate', ['--help']),
        ('commands.train', ['--version']),
        ('bids_app.run', ['BIDS', 'OUT', 'participant', '--dry-run', '--skip-bids-validation']),
        ('bids_app.run', ['--version']),
        ('bids_app.subjects', ['BIDS']),
    ],
)
def test_a_full_stdout_is_one_line_and_all_files_are_written(
    module, words, bids_dir, head_file, tmp_path
):
    out = tmp_path / 'out.nii.gz'
    places = {'HEAD': head_file, 'OUT': out, 'BIDS': bids_dir}
    arguments = [str(places.get(word, word)) for word in words]
    command = [sys.executable, '-c', main_of(module), *arguments]
    done = run(['bash', '-c', '"$@" > /dev/full', 'bash', *command])
    line = 'error: standard output: cannot write here (No space left on device)'
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1 and done.stderr.rstrip().endswith(line)
    if module == 'commands.strip' and 'OUT' in words:
        assert out.stat().st_size
    if module == 'commands.synth':
        assert (out / 'dataset_description.json').is_file()


@pytest.mark.parametrize(
    'content', [b'rubbish', b'\0' * 20, b'\xff\xfe', b'[execution]\n[execution]\n']
)
def test_damaged_settings_of_nipype_are_one_line(bids_dir, tmp_path, content):
    """As after a power cut: Python's traceback was all that was shown."""
    (tmp_path / 'nipype.cfg').write_bytes(content)
    done = run(
        command(bids_dir, tmp_path / 'out', '--nprocs', '1'),
        env=os.environ | {'NIPYPE_CONFIG_DIR': str(tmp_path)},
    )
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    assert f'repair or remove nipype.cfg in {tmp_path}' in done.stderr
    assert not (tmp_path / 'out').exists()
