"""The further tasks of ``pumba-evaluate``, and folders that have the name of one."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.evaluate import TASKS, main

SCORES = 'case\tspecies\tmodality\tdice\thd95_mm\na\thuman\tT1w\t0.9600\t2.0\n'


def one_line(capsys, task):
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f'pumba-evaluate {task}: error: ')
    return line


def test_scores_are_compared(tmp_path, capsys):
    scores, peers, page = (tmp_path / name for name in ('scores.tsv', 'peers.md', 'page.md'))
    scores.write_text(SCORES)
    peers.write_text('| case | other |\n|---|---|\n| a | 0.970 |\n')
    assert main(['compare', str(scores), str(page), str(peers)]) == 0
    assert '| human | 1 | 0.960 | 0.970 |' in page.read_text('utf-8')
    assert 'pumba-evaluate compare' in page.read_text('utf-8')
    assert str(page) in capsys.readouterr().out
    assert main(['compare', str(scores), str(page)]) == 0
    assert '0.970' not in page.read_text('utf-8')


def test_bad_input_of_a_task_is_one_line(tmp_path, capsys):
    none = str(tmp_path / 'none')
    for task, words in {
        'compare': [none, str(tmp_path / 'page.md')],
        'learning-curve': [none, none, str(tmp_path / 'curve.tsv')],
        'study': [none, str(tmp_path / 'out')],
    }.items():
        assert main([task, *words]) == 1
        assert none in one_line(capsys, task)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'words',
    [
        ['compare'],
        ['learning-curve', 'a', 'b'],
        ['study', 'a', 'b', '--hold-out', '2'],
        ['study', 'a', 'b', '--halves', '3'],
    ],
)
def test_wrong_usage_of_a_task_exits_with_two(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert f'usage: pumba-evaluate {words[0]}' in capsys.readouterr().err


@pytest.mark.parametrize('task', TASKS)
def test_a_folder_with_the_name_of_a_task(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = tmp_path / task / 'rat_T2w_a'
    case.mkdir(parents=True)
    image = np.zeros((16, 16, 16), np.uint8)
    image[4:12, 4:12, 4:12] = 1
    for name in ('image', 'mask'):
        nib.save(nib.Nifti1Image(image, np.eye(4)), case / f'{name}.nii.gz')
    assert main([f'./{task}', '--predictions', task]) == 0
    assert 'rat_T2w_a: Dice 1.000' in capsys.readouterr().out


@pytest.mark.parametrize('task', TASKS)
def test_help_of_a_task_imports_nothing_heavy(task):
    code = (
        'import contextlib, sys\n'
        'from pumba_pipe.commands.evaluate import main\n'
        'with contextlib.suppress(SystemExit):\n'
        f"    main([{task!r}, '--help'])\n"
        "print([m for m in ('torch', 'numpy', 'nibabel', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.startswith(f'usage: pumba-evaluate {task} ')
    assert 'examples:' in done.stdout and 'Exit codes:' in done.stdout
    assert done.stdout.endswith('[]\n'), done.stderr


def test_the_module_runs_as_a_script():
    done = subprocess.run(
        [sys.executable, '-m', 'pumba_pipe.commands.evaluate', '--help'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert all(f'pumba-evaluate {task}' in done.stdout for task in TASKS)


def make_cases(folder):
    image = np.zeros((16, 16, 16), np.uint8)
    image[4:12, 4:12, 4:12] = 1
    for name in ('rat_T2w_a', 'rat_T2w_b'):
        (folder / name).mkdir(parents=True)
        for kind in ('image', 'mask'):
            nib.save(nib.Nifti1Image(image, np.eye(4)), folder / name / f'{kind}.nii.gz')
    return folder


def words_of(task, folder, out):
    if task == 'learning-curve':
        return [task, str(folder.parent), str(folder), str(out / 'curve.tsv')]
    return [task, str(folder), str(out)]


READ_CASES = ('benchmark', 'learning-curve', 'study')


@pytest.mark.parametrize('task', READ_CASES)
@pytest.mark.parametrize(
    ('table', 'said'),
    [
        ('Case\tspecies\nrat_T2w_a\tmouse\n', 'no column case'),
        ('case,species\nrat_T2w_a,mouse\n', 'no column case; separate its columns by tabs'),
        ('case\tspecies\n', 'has no rows'),
        ('case\tcase\nrat_T2w_a\tx\n', 'has the column case twice'),
        ('case\tspecies\n\nrat_T2w_a\tmouse\n\trat\n', 'line 4, column case: is empty'),
        ('case\tspecies\nrat_T2w_a\tmouse\nrat_T2w_a\trat\n', 'line 3, column case: has another'),
    ],
)
def test_a_table_of_cases_that_somebody_wrote_is_checked(task, table, said, tmp_path, capsys):
    """Without its column the table counted for nothing, and nobody said so."""
    folder = make_cases(tmp_path / 'cases')
    (folder / 'MANIFEST.tsv').write_text(table)
    assert main(words_of(task, folder, tmp_path / 'out')) == 1
    line = one_line(capsys, task)
    assert str(folder / 'MANIFEST.tsv') in line and said in line
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('task', 'name'),
    [
        ('benchmark', 'cases.tsv'), ('benchmark', 'groups.tsv'), ('study', 'cases.tsv'),
        ('study', 'study.tsv'), ('learning-curve', 'curve.tsv'),
    ],
)  # fmt: skip
def test_a_table_that_somebody_else_made_is_kept(task, name, tmp_path, capsys):
    folder = make_cases(tmp_path / 'cases')
    theirs = tmp_path / 'out' / name
    theirs.parent.mkdir()
    theirs.write_text('my\ttable\n1\t2\n')
    assert main(words_of(task, folder, theirs.parent)) == 1
    assert f'{theirs}: is there, and is no table of this command' in one_line(capsys, task)
    assert theirs.read_text() == 'my\ttable\n1\t2\n'
    assert list(theirs.parent.iterdir()) == [theirs]
