"""What all commands have: help that shows how, the weights' checksum, few words, completion."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import distribution

import pytest

from pumba_pipe.common.weights_file import SHIPPED

COMMANDS = {
    point.name: point
    for point in distribution('pumba_pipe').entry_points.select(group='console_scripts')
}


def printed(command: str, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    try:
        COMMANDS[command].load()(list(words))
    except SystemExit as stop:
        assert not stop.code, command
    return capsys.readouterr().out


@pytest.mark.parametrize('command', COMMANDS)
def test_help_has_exit_codes_and_examples(command, capsys):
    text = printed(command, '--help', capsys=capsys)
    assert 'Exit codes: 0 ' in text
    assert re.search(rf'^examples:\n(  .*\b{command} .+\n?)+', text, re.MULTILINE)
    assert re.search(r'(-q, )?--quiet', text)


def test_version_tells_the_weights_and_imports_nothing_heavy():
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()[:16]
    code = (
        'import sys\n'
        'from pumba_pipe.commands.strip import main\n'
        'try:\n'
        '    main(["--version"])\n'
        'except SystemExit:\n'
        '    print(*({"torch", "numpy", "nibabel", "openvino"} & set(sys.modules)))\n'
    )
    environment = {key: value for key, value in os.environ.items() if key != 'PUMBA_WEIGHTS'}
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment
    )
    first, heavy = done.stdout.splitlines()
    assert first.endswith(f', weights {digest}')
    assert heavy == ''


def test_version_of_other_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('PUMBA_WEIGHTS', str(tmp_path / 'own.safetensors'))
    text = printed('pumba', '--version', capsys=capsys)
    assert text.rstrip().endswith(f'{tmp_path}/own.safetensors, which cannot be read')
    (tmp_path / 'own.safetensors').write_bytes(b'weights')
    text = printed('pumba-strip', '--version', capsys=capsys)
    expected = hashlib.sha256(b'weights').hexdigest()[:16]
    assert f'weights {expected} ({tmp_path}/own.safetensors)' in text


def test_spellings_of_other_programs():
    from pumba_pipe.bids_app.options.parser import parse

    from pumba_pipe.commands import evaluate, strip, synthstrip, train, weights

    for module, words in (
        (strip, ['-i', 'x']), (synthstrip, ['-i', 'x']), (evaluate, ['x']), (train, ['x']),
        (weights, ['calibrate', 'x']),
    ):  # fmt: skip
        for option in ('-t', '--threads', '--n_cpus', '--n_procs', '--nthreads', '--omp-nthreads'):
            assert module.build_parser().parse_args([*words, option, '3']).threads == 3
        assert module.build_parser().parse_args(words).threads is None
    for module, words in (
        (strip, ['-i', 'x']), (evaluate, ['x']), (train, ['x']), (weights, ['calibrate', 'x']),
    ):  # fmt: skip
        assert module.build_parser().parse_args(words).device == 'auto'
        assert module.build_parser().parse_args([*words, '-g']).device == 'cuda'
    base = ['bids', 'out', 'participant']
    given = parse([*base, '--n_cpus', '2', '--mem_mb', '4000', '-g', '-q'])
    assert (given.nprocs, given.mem_gb, given.device, given.quiet) == (2, 4.0, 'cuda', True)
    assert parse([*base, '--n_procs', '3', '--mem_gb', '8']).mem_gb == 8.0
    assert (parse(base).device, parse(base).quiet) == ('auto', False)


def test_quiet_commands_say_nothing(tmp_path, capsys):
    words = [str(tmp_path / 'heads'), '-n', '1', '--size', '32', '-q']
    assert printed('pumba-synth', *words, capsys=capsys) == ''
    assert len(list((tmp_path / 'heads').glob('sub-*'))) == 1


def test_completion_in_the_shell():
    pytest.importorskip('argcomplete', reason='argcomplete is not installed')
    code = 'from pumba_pipe.commands.strip import main; main()'
    line = 'pumba-strip --out-'
    environment = {
        **os.environ, '_ARGCOMPLETE': '1', 'COMP_LINE': line, 'COMP_POINT': str(len(line)),
        'COMP_TYPE': '9',
    }  # fmt: skip
    command = f'{sys.executable} -c "{code}" 8>&1 9>/dev/null'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True, env=environment)
    assert done.stdout.strip('\x0b\n ') == '--out-dir'


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        ('pumba', ['', 'out', 'participant']),
        ('pumba', ['bids', '', 'participant']),
        ('pumba', ['bids', 'out', 'participant', '-w', '']),
        ('pumba', ['bids', 'out', 'participant', '--use-plugin', '']),
        ('pumba-strip', ['-i', '', '-m', 'mask.nii.gz']),
        ('pumba-strip', ['head.nii.gz', '--out-dir', '']),
        ('pumba-synth', ['']),
        ('pumba-train', ['']),
        ('pumba-weights', ['info', '']),
    ],
)
def test_an_empty_path_is_not_the_current_folder(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = COMMANDS[command].load()(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert 'is empty; was a variable of the shell not set?' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
