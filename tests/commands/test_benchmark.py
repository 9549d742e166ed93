"""``pumba-evaluate benchmark`` with programs of a few lines in the place of others and of ours."""

import json
import re
import shlex
import sys

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.benchmark_page import command_line
from pumba_pipe.commands.evaluate import main
from pumba_pipe.common.tables import read_table
from pumba_pipe.evaluation import benchmark
from pumba_pipe.evaluation.benchmark import Tool, parse_tool

# Cuts at a grey value, or does what its third argument says. Without a package: it starts fast.
PROGRAM = """
import gzip, sys, time
source, target, deed = sys.argv[1:4]
with open({count!r}, 'a') as file:
    file.write(deed + '\\n')
print('at work')
if deed == 'crash':
    sys.exit('something is wrong here')
if deed == 'hang':
    time.sleep(60)
if deed != 'nothing':
    content = gzip.open(source).read()
    header, values = bytearray(content[:352]), content[352:]
    if deed == '7':
        header[42] = 15  # of 16 voxels along x
    with gzip.open(target, 'wb') as file:
        file.write(bytes(header) + bytes(value > float(deed) for value in values))
"""


@pytest.fixture
def folder(tmp_path):
    """Six cases of five subjects: a ball in a larger one; two groups."""
    table = ['case\tspecies\tmodality\tsubject\tgroup']
    grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing='ij'), -1)
    for number in range(6):
        radius = np.sqrt(((grid - 7.5) ** 2).sum(-1)) - 0.3 * number
        image = np.where(radius < 3, 100, np.where(radius < 4, 50, 0)).astype(np.uint8)
        place = tmp_path / 'cases' / f'case{number}'
        place.mkdir(parents=True)
        for name, data in (('image', image), ('mask', (image > 60).astype(np.uint8))):
            nib.save(
                nib.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])), place / f'{name}.nii.gz'
            )
        group = 'small' if number < 3 else 'large'
        table.append(f'case{number}\thuman\tT1w\tperson{max(number, 1)}\t{group}')
    (tmp_path / 'cases' / 'MANIFEST.tsv').write_text('\n'.join(table) + '\n')
    return tmp_path / 'cases'


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """A function that makes the command line of a program; ours is one that is right always."""
    program = tmp_path / 'program with space.py'
    program.write_text(PROGRAM.format(count=str(tmp_path / 'count')))

    def line(name, deed):
        start = shlex.join([sys.executable, '-I', '-S', str(program)])
        return f'{name}={start} {{in}} {{out}} {deed}'

    def ours(weights, device, threads):
        return Tool('pumba_pipe', parse_tool(line('x', '60')).words, '1')

    monkeypatch.setattr(benchmark, 'our_tool', ours)
    return line


def runs(tmp_path):
    """How often each program was run since the last look."""
    path = tmp_path / 'count'
    done = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return {deed: done.count(deed) for deed in dict.fromkeys(done)}


def test_programs_are_run_scored_and_shown(folder, tool, tmp_path, capsys):
    out = tmp_path / 'out'
    words = ['benchmark', str(folder), str(out), '--tool', tool('wide', '40')]
    words += ['--tool', tool('empty', '200')]
    assert main([*words, '--cases', *[f'case{n}' for n in range(5)]]) == 0
    assert runs(tmp_path) == {'60': 5, '40': 5, '200': 5}
    rows = {(row['case'], row['tool']): row for row in read_table(out / 'cases.tsv')}
    ours, wide, empty = (rows['case1', name] for name in ('pumba_pipe', 'wide', 'empty'))
    assert (ours['dice'], ours['hd95_mm'], ours['volume_error_percent']) == (
        '1.0000', '0.000', '0.00',
    )  # fmt: skip
    assert float(wide['dice']) < 0.9 < float(wide['surface_dice_2mm'])
    assert float(wide['surface_dice_1mm']) < 0.5
    assert float(wide['volume_error_percent']) > 50
    assert (empty['dice'], empty['surface_dice_1mm'], empty['hd95_mm']) == ('0.0000',) * 2 + (
        'n/a',
    )
    for row in rows.values():
        assert 0.005 < float(row['seconds']) < 60 and 4 < float(row['peak_mb']) < 200
        assert float(row['cpu_seconds']) > 0.005
    groups = {
        (row['group'], row['measure'], row['tool']): row for row in read_table(out / 'groups.tsv')
    }
    whole = groups['all', 'dice', 'wide']
    differences = [float(rows[f'case{n}', 'wide']['dice']) - 1 for n in range(5)]
    assert float(whole['mean_difference']) == pytest.approx(np.mean(differences), abs=2e-4)
    assert whole['low'] == 'n/a', 'four people are too few for an interval'
    assert groups['small', 'dice', 'wide']['cases'] == '3'
    assert groups['all', 'hd95_mm', 'empty']['pairs'] == '0'
    # the sixth case is run, the others are kept; now there are five people
    assert main(words) == 0
    assert runs(tmp_path) == {'60': 1, '40': 1, '200': 1}
    assert 'runs: 18, 15 of them kept from before, failed: 0' in capsys.readouterr().out
    groups = {
        (row['group'], row['measure'], row['tool']): row for row in read_table(out / 'groups.tsv')
    }
    whole = groups['all', 'dice', 'wide']
    assert float(whole['low']) < float(whole['mean_difference']) < float(whole['high']) < 0
    page = (out / 'benchmark.html').read_text('utf-8')
    assert page.count('<svg') == 9 + 4 and 'http' not in re.sub(
        r'"http-equiv|http-equiv', '', page
    )
    assert 'case5: 1.000' in page and 'person' not in page


def test_what_fails_is_a_result(folder, tool, tmp_path, capsys):
    out = tmp_path / 'out'
    words = ['benchmark', str(folder), str(out), '--cases', 'case1', '--time-limit', '3']
    for deed in ('crash', 'nothing', '7', 'hang'):
        words += ['--tool', tool(f'does-{deed}', deed)]
    assert main(words) == 0
    told = {row['tool']: row for row in read_table(out / 'cases.tsv')}
    assert told['does-crash']['failure'] == 'exit code 1 (something is wrong here)'
    assert told['does-nothing']['failure'] == 'no mask written (at work)'
    assert told['does-hang']['failure'] == 'time limit (3 s)'
    assert told['does-7']['failure'].startswith('mask cannot be used: the mask is (15, 16, 16)')
    assert 2.9 < float(told['does-hang']['seconds']) < 20
    assert told['pumba_pipe']['failure'] == 'n/a'
    groups = read_table(out / 'groups.tsv')
    (row,) = (r for r in groups if (r['tool'], r['measure']) == ('does-crash', 'dice'))
    assert (row['failed'], row['mean_difference']) == ('1', '-1.0000')
    assert 'something is wrong' in (out / 'benchmark.html').read_text('utf-8')
    assert not list(out.glob('masks/*/.partial*'))
    kept = [path.parent.name for path in out.glob('masks/does-*/*')]
    assert kept == ['does-7'], 'one that cannot be used is left to look at'
    assert 'at work' in (out / 'runs' / 'does-crash' / 'case1.log').read_text()
    runs(tmp_path)
    assert main(words) == 0
    assert runs(tmp_path) == {'crash': 1, 'nothing': 1, 'hang': 1, '7': 1}, (
        'its cause may be mended'
    )
    capsys.readouterr()


def test_only_what_has_changed_is_done_again(folder, tool, tmp_path, capsys):
    out = tmp_path / 'out'
    words = ['benchmark', str(folder), str(out), '--tool', tool('wide', '40'), '--cases', 'case1']
    record = out / 'runs' / 'wide' / 'case1.json'

    def again(*more):
        runs(tmp_path)
        assert main([*words, '-q', *more]) == 0
        return runs(tmp_path)

    assert again() == {'60': 1, '40': 1}
    assert again() == {}
    assert again('--again', 'wide') == {'40': 1}
    assert again('--threads', '2') == {'60': 1, '40': 1}
    assert again() == {'60': 1, '40': 1}
    (out / 'masks' / 'wide' / 'case1.nii.gz').write_bytes(b'edited')
    assert again() == {'40': 1}
    record.write_text('{')
    assert again() == {'40': 1}
    # another reference: scored anew, and nothing is run
    reference = folder / 'case1' / 'mask.nii.gz'
    old = json.loads(record.read_text())['scores']['dice']
    image = nib.load(reference)
    nib.save(nib.Nifti1Image(np.roll(np.asarray(image.dataobj), 2, 0), image.affine), reference)
    assert again() == {}
    assert json.loads(record.read_text())['scores']['dice'] < old
    (folder / 'case1' / 'image.nii.gz').write_bytes(
        (folder / 'case2' / 'image.nii.gz').read_bytes()
    )
    assert again() == {'60': 1, '40': 1}
    words[4] = tool('wide', '45')
    assert again() == {'45': 1}
    capsys.readouterr()


def test_our_own_command_is_run_as_a_process():
    tool = benchmark.our_tool(None, 'cpu', 2)
    words = ' '.join(tool.words)
    assert '-m pumba_pipe.commands.strip -i {in} -m {out} --device cpu --threads 2' in words
    assert 'weights ' in tool.version
    assert command_line(tool) == 'pumba-strip -i {in} -m {out} --device cpu --threads 2'


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--tool', 'x'], "give it as NAME='COMMAND"),
        (['--tool', 'a/b=sh {in} {out}'], "give it as NAME='COMMAND"),
        (['--tool', 'x=sh {in}'], 'the command has no {out}'),
        (['--tool', 'x=sh "{in} {out}'], 'the command cannot be read'),
        (['--tool', 'x=no-such-program {in} {out}'], 'there is no program no-such-program'),
        (['--tool', 'Pumba_Pipe=sh {in} {out}'], 'this name is taken'),
        (['--again', 'other'], 'no program of this name'),
        (['--cases', 'none'], 'no such case: none'),
    ],
)
def test_bad_input_is_one_line(more, said, folder, tool, tmp_path, capsys):
    assert main(['benchmark', str(folder), str(tmp_path / 'out'), *more]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('pumba-evaluate benchmark: error: ') and said in line
    assert not (tmp_path / 'out').exists() and runs(tmp_path) == {}


def test_a_place_or_reference_that_cannot_be_used(folder, tool, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    for out in (tmp_path / 'file', folder / 'case1'):
        assert main(['benchmark', str(folder), str(out)]) == 1
        assert str(out) in capsys.readouterr().err
    mask = folder / 'case2' / 'mask.nii.gz'
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 16), np.uint8), np.eye(4)), mask)
    assert main(['benchmark', str(folder), str(tmp_path / 'out')]) == 1
    assert f'{mask}: this reference mask is empty' in capsys.readouterr().err
    assert runs(tmp_path) == {}
