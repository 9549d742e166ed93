"""Outputs that are inputs, or each other, under any name: one line, and nothing is touched."""

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import pumba_pipe
from pumba_pipe.commands.strip import main
from pumba_pipe.common import files
from pumba_pipe.common.errors import OutputError
from pumba_pipe.common.files import check_outputs, files_of
from pumba_pipe.extraction import strip_file
from pumba_pipe.images import saving
from pumba_pipe.network.weights import default_weights

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def scan(path, kind=nib.Nifti1Image):
    data = np.random.default_rng(0).normal(100, 10, (12, 12, 12)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(data, AFFINE), path)
    return path


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A function that runs pumba-strip in a folder, and checks that nothing came of it."""
    monkeypatch.chdir(tmp_path)

    def run(*words, says=''):
        before = contents(tmp_path)
        assert main([str(word) for word in words]) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith('pumba-strip: error: ')
        assert says in lines[0]
        assert contents(tmp_path) == before
        return lines[0]

    return run


ITSELF = 'choose another output'


@pytest.mark.parametrize('option', ['-o', '-m', '-d', '-p', '-q'])
def test_the_input_is_no_output(option, refused, tmp_path):
    """01: -q INPUT replaced the scan with a JSON file."""
    scan(tmp_path / 'scan.nii.gz')
    refused('-i', 'scan.nii.gz', option, 'scan.nii.gz', says=ITSELF)


@pytest.mark.parametrize(('one', 'other'), [('x.hdr', 'x.img'), ('x.img', 'x.hdr')])
@pytest.mark.parametrize('option', ['-m', '-q'])
def test_the_other_half_of_a_pair_is_no_output(one, other, option, refused, tmp_path):
    """02: the input given as x.hdr, the output as x.img."""
    scan(tmp_path / 'x.img', nib.Nifti1Pair)
    refused('-i', one, option, other, says=ITSELF)


def test_the_data_of_an_analyze_image_are_no_output(refused, tmp_path):
    scan(tmp_path / 'x.img', nib.Spm2AnalyzeImage)
    assert (tmp_path / 'x.mat').exists()
    for name in ('x.img', 'x.hdr', 'x.mat'):
        refused('-i', 'x.hdr', '-q', name, says=ITSELF)


OTHER_WAYS = {
    'symbolic link': lambda folder: (folder / 'way.nii.gz').symlink_to('scan.nii.gz'),
    'absolute link': lambda folder: (folder / 'way.nii.gz').symlink_to(folder / 'scan.nii.gz'),
    'hard link': lambda folder: os.link(folder / 'scan.nii.gz', folder / 'way.nii.gz'),
    'link to the folder': lambda folder: (folder / 'way').symlink_to(folder),
    'dots': lambda folder: (folder / 'way').mkdir(),
}


@pytest.mark.parametrize('way', OTHER_WAYS)
@pytest.mark.parametrize('option', ['-m', '-q'])
def test_other_ways_to_the_input_are_no_output(way, option, refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    OTHER_WAYS[way](tmp_path)
    names = {'link to the folder': 'way/scan.nii.gz', 'dots': 'way/../scan.nii.gz'}
    refused('-i', 'scan.nii.gz', option, names.get(way, 'way.nii.gz'), says=ITSELF)


def test_what_an_input_links_to_is_no_output(refused, tmp_path):
    scan(tmp_path / 'annex' / 'scan.nii.gz')
    (tmp_path / 'scan.nii.gz').symlink_to(tmp_path / 'annex' / 'scan.nii.gz')
    refused('-i', 'scan.nii.gz', '-m', 'annex/scan.nii.gz', says=ITSELF)


def test_b_values_and_weights_are_inputs(refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'scan.bval').write_text('0')
    shutil.copy(default_weights(), tmp_path / 'own.safetensors')
    refused('-i', 'scan.nii.gz', '-q', 'scan.bval', says=ITSELF)
    weights = ('--weights', 'own.safetensors', '-q', 'own.safetensors')
    refused('-i', 'scan.nii.gz', *weights, says=ITSELF)


def test_two_outputs_are_two_files(refused, tmp_path):
    """03: -m y.img -o y.hdr are one pair, and a path with dots in it leads to the same file."""
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'd').mkdir()
    (tmp_path / 'link').symlink_to('d')
    same = 'two outputs are the same file'
    refused('-i', 'scan.nii.gz', '-m', 'y.img', '-o', 'y.hdr', says=same)
    refused('-i', 'scan.nii.gz', '-m', 'd/../z.nii.gz', '-o', 'z.nii.gz', says=same)
    refused('-i', 'scan.nii.gz', '-m', 'd/z.nii.gz', '-o', 'link/z.nii.gz', says=same)
    refused('-i', 'scan.nii.gz', '-m', 'z.img', '-q', 'z.hdr', says=same)


def test_names_that_differ_in_case(refused, tmp_path, monkeypatch):
    """On file systems that do not tell them apart; this one is told not to."""
    scan(tmp_path / 'scan.nii.gz')
    outputs = [tmp_path / 'y.nii.gz', tmp_path / 'Y.nii.gz']
    if files.tells_case(tmp_path):
        check_outputs(outputs)
    monkeypatch.setattr(files, 'tells_case', lambda folder: False)
    refused('-i', 'scan.nii.gz', '-m', 'y.nii.gz', '-o', 'Y.nii.gz', says='the same file')
    with pytest.raises(OutputError, match='the same file'):
        check_outputs([tmp_path / 'M\u00fc.json', tmp_path / 'mu\u0308.json'])
    check_outputs([tmp_path / 'a.img', tmp_path / 'B.hdr'])


def test_whether_a_folder_tells_case_is_tried(tmp_path):
    (tmp_path / 'a').touch()
    assert files.tells_case(tmp_path) != (tmp_path / 'A').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_outputs_that_are_no_files(refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'folder.nii.gz').mkdir()
    os.mkfifo(tmp_path / 'pipe.json')
    (tmp_path / 'null.json').symlink_to('/dev/null')
    refused('-i', 'scan.nii.gz', '-m', 'folder.nii.gz', says='is a folder')
    refused('-i', 'scan.nii.gz', '-q', 'folder.nii.gz', says='is a folder')
    refused('-i', 'scan.nii.gz', '-q', 'pipe.json', says='is a pipe')
    refused('-i', 'scan.nii.gz', '-q', '/dev/null', says='is a device')
    refused('-i', 'scan.nii.gz', '-q', 'null.json', says='is a device')
    for place in ('/dev/stdout', '/dev/none.json', '/proc/none.json'):
        refused('-i', 'scan.nii.gz', '-q', place)
    refused('-i', 'scan.nii.gz', '-q', f'{"x" * 300}.json', says='name too long')


@pytest.mark.parametrize('name', ['scan.json', 'scan.bvec', 'other.nii.gz', 'notes.txt'])
def test_a_quality_record_replaces_nothing_else(name, refused, tmp_path):
    """-q scan.json replaced the JSON file of the scan, -q OTHER another scan."""
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / name).write_text('{"RepetitionTime": 2.0}')
    refused('-i', 'scan.nii.gz', '-q', name)


def test_a_quality_record_has_no_name_of_an_image(refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    refused('-i', 'scan.nii.gz', '-q', 'new.nii.gz', says='.json')


@pytest.mark.parametrize('make', [Path.mkdir, os.mkfifo])
def test_what_is_no_file_where_the_other_half_of_a_pair_goes(make, refused, tmp_path):
    """Half of a pair was left, after all the work."""
    scan(tmp_path / 'scan.nii.gz')
    make(tmp_path / 'new.hdr')
    refused('-i', 'scan.nii.gz', '-m', 'new.img', says='new.hdr')


def test_of_a_pair_that_cannot_be_written_nothing_is_left(tmp_path, monkeypatch):
    volume = pumba_pipe.load_volume(scan(tmp_path / 'scan.nii.gz'))

    def full(image, path):
        nib.save(image, path)
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(saving, 'save_image', full)
    with pytest.raises(OutputError, match='No space left'):
        saving.save_mask(volume, volume.data > 100, tmp_path / 'mask.img')
    assert [path.name for path in tmp_path.iterdir()] == ['scan.nii.gz']


@pytest.mark.parametrize('name', ['pumba-strip.log', 'summary.tsv'])
def test_pipes_where_the_log_or_the_summary_goes(name, refused, tmp_path):
    """To open the log, the command waited without end."""
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'out').mkdir()
    os.mkfifo(tmp_path / 'out' / name)
    refused('scan.nii.gz', '--out-dir', 'out', says=f'{name}: is a pipe')


def test_a_table_of_another_program_is_no_summary(refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/summary.tsv').write_text('age\tsex\n7\tF\n')
    refused('scan.nii.gz', '--out-dir', 'out', says='is no table of this command')


def test_a_list_of_images_is_not_replaced_by_the_summary(refused, tmp_path):
    scan(tmp_path / 'scan.nii.gz')
    (tmp_path / 'summary.tsv').write_text('scan.nii.gz\n')
    refused('--from-file', 'summary.tsv', '--out-dir', '.', says='is the input itself')


def test_an_output_that_links_elsewhere_is_replaced_itself(head_file, tmp_path):
    """A link to a file that is no input: the file stays, as with any program that renames."""
    (tmp_path / 'other.nii.gz').write_text('keep')
    (tmp_path / 'mask.nii.gz').symlink_to('other.nii.gz')
    assert main(['-i', str(head_file), '-m', str(tmp_path / 'mask.nii.gz')]) == 0
    assert (tmp_path / 'other.nii.gz').read_text() == 'keep'
    assert not (tmp_path / 'mask.nii.gz').is_symlink()


def test_earlier_outputs_are_replaced(head_file, tmp_path):
    words = ['-i', str(head_file), '-m', str(tmp_path / 'm.img'), '-q', str(tmp_path / 'q.json')]
    assert main(words) == 0
    before = contents(tmp_path)
    assert main(words) == 0
    assert contents(tmp_path) == before


def test_files_of_an_image():
    names = {path.name for path in files_of(Path('a/x.img.gz'))}
    assert {'x.img.gz', 'x.hdr.gz', 'x.hdr', 'x.mat'} <= names
    assert Path('X.IMG') in files_of(Path('X.HDR'))
    assert Path('x+orig.BRIK') in files_of(Path('x+orig.HEAD'))
    assert files_of(Path('x.nii.gz')) == [Path('x.nii.gz')]


# Every other writer of files that a user names.


def test_preprocessing_keeps_its_inputs(tmp_path):
    from pumba_pipe.preprocessing.bias import correct_bias_file
    from pumba_pipe.preprocessing.conform import clip_file, conform_file, mask_file
    from pumba_pipe.preprocessing.series_reference import Beside, make_reference_file
    from pumba_pipe.preprocessing.tissue_classes import classify_files

    image = scan(tmp_path / 'x.img', nib.Nifti1Pair)
    mask, bval = scan(tmp_path / 'mask.nii.gz'), tmp_path / 'x.bval'
    bval.write_text('0')
    free, half = tmp_path / 'free.nii.gz', tmp_path / 'x.hdr'
    works = [
        lambda: conform_file(image, half),
        lambda: clip_file(image, half),
        lambda: mask_file(image, mask, half),
        lambda: mask_file(image, mask, mask),
        lambda: correct_bias_file(image, half),
        lambda: correct_bias_file(image, free, half),
        lambda: correct_bias_file(image, free, free),
        lambda: correct_bias_file(image, mask, mask_file=mask),
        lambda: correct_bias_file(image, free, mask, weight_file=mask),
        lambda: make_reference_file(image, half, tmp_path / 'r.json'),
        lambda: make_reference_file(image, free, half),
        lambda: make_reference_file(image, free, bval, Beside(b_values=bval)),
        lambda: make_reference_file(image, free, free),
        lambda: classify_files(image, mask, half, [free]),
        lambda: classify_files(image, mask, free, [mask]),
        lambda: classify_files(image, mask, free, [free]),
    ]
    before = contents(tmp_path)
    for number, work in enumerate(works):
        with pytest.raises(OutputError, match=r'choose another output|the same file'):
            work()
        assert contents(tmp_path) == before, number


@pytest.mark.parametrize('place', ['forward_xfm', 'inverse_xfm', 'warped_file', 'warped_mask'])
@pytest.mark.parametrize('victim', ['image.nii.gz', 'template.nii.gz', 'mask.nii.gz'])
def test_registration_keeps_its_inputs(place, victim, tmp_path):
    pytest.importorskip('SimpleITK')
    from pumba_pipe.registration.register import register_files

    inputs = [scan(tmp_path / name) for name in ('image.nii.gz', 'template.nii.gz')]
    mask = scan(tmp_path / 'mask.nii.gz')
    outputs = {
        'forward_xfm': tmp_path / 'f.h5',
        'inverse_xfm': tmp_path / 'i.h5',
        'warped_file': tmp_path / 'w.nii.gz',
        'warped_mask': tmp_path / 'm.nii.gz',
    }
    before = contents(tmp_path)
    with pytest.raises(OutputError, match='choose another output'):
        register_files(*inputs, **outputs | {place: tmp_path / victim}, in_mask=mask)
    with pytest.raises(OutputError, match='the same file'):
        register_files(*inputs, **dict.fromkeys(outputs, tmp_path / 'w.nii.gz'))
    assert contents(tmp_path) == before


def commands_that_would_replace_an_input(folder):
    from pumba_pipe.commands import evaluate, train, weights
    from pumba_pipe.network.weights import default_weights

    first = Path(shutil.copy(default_weights(), folder / 'run' / 'weights.safetensors'))
    scores = folder / 'scores.tsv'
    shutil.copy(folder / 'cases' / 'worst.png', folder / 'one.nii.gz')
    return [
        (weights, ['average', first, default_weights(), first, '0.5']),
        (weights, ['average', default_weights(), first, first, '0.5']),
        (weights, ['card', first, scores, scores]),
        (weights, ['card', first, scores, first]),
        (evaluate, ['compare', scores, scores]),
        (evaluate, ['compare', scores, folder / 'page.md', folder / 'page.md']),
        (evaluate, ['learning-curve', folder / 'run', folder / 'cases',
                    folder / 'cases' / 'a' / 'image.nii.gz']),
        (evaluate, [folder / 'cases', '--weights', first, '--out', folder / 'out']),
        (evaluate, ['study', folder / 'cases', folder / 'out']),
        (train, [folder / 'run', '--init', first]),
    ]  # fmt: skip


@pytest.mark.parametrize('number', range(10))
def test_other_commands_keep_their_inputs(number, tmp_path, capsys):
    (tmp_path / 'run').mkdir()
    for case in 'ab':
        scan(tmp_path / 'cases' / case / 'image.nii.gz')
        scan(tmp_path / 'cases' / case / 'mask.nii.gz')
    (tmp_path / 'cases' / 'worst.png').write_text('x')
    (tmp_path / 'scores.tsv').write_text('case\tdice\na\t0.9\n')
    (tmp_path / 'page.md').write_text('| case | x |\n|---|---|\n| a | 0.5 |\n')
    out = tmp_path / 'out'
    out.mkdir()
    for name in ('worst.png', 'cases.tsv'):  # outputs that are other names of an image
        os.link(tmp_path / 'cases' / 'a' / 'image.nii.gz', out / name)
    command, words = commands_that_would_replace_an_input(tmp_path)[number]
    before = contents(tmp_path)
    assert command.main([str(word) for word in words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert ITSELF in lines[0]
    assert contents(tmp_path) == before


@pytest.mark.parametrize('mask', ['m.nii.gz', 'm.img'])
def test_a_disk_that_fills_between_outputs_leaves_none(head_file, tmp_path, monkeypatch, mask):
    """A failed image gives no file: the mask was left where the masked scan did not fit."""
    real_save = saving.save_image

    def save(image, path):
        if image.get_data_dtype() != np.uint8:
            raise OSError(28, 'No space left on device', str(path))
        real_save(image, path)

    monkeypatch.setattr(saving, 'save_image', save)
    out = tmp_path / 'out'
    with pytest.raises(OutputError, match='No space left'):
        pumba_pipe.strip_file(
            head_file, out_mask=out / mask, out_file=out / 'o.nii', out_quality=out / 'q.json'
        )
    assert list(out.iterdir()) == []


KINDS = {'x.nii.gz': nib.Nifti1Image, 'x.img': nib.Nifti1Pair, 'x.mgz': nib.MGHImage}


@pytest.mark.parametrize('name', KINDS)
def test_a_scan_that_is_replaced_meanwhile_gives_no_output(
    name, head, tmp_path, monkeypatch, capsys
):
    """The mask of the one scan was put on the other, which -o reads again."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    images = [(head[0] * 1000).astype(np.float32), (head[0][::-1] * 900).astype(np.float32)]
    nib.save(KINDS[name](images[0], affine), tmp_path / name)
    extract = strip_file.extract

    def replaced_meanwhile(*words, **options):
        result = extract(*words, **options)
        nib.save(KINDS[name](images[1], affine), tmp_path / name)
        return result

    out = tmp_path / 'out'
    words = ['-i', str(tmp_path / name), '-m', str(out / 'm.nii'), '-o', str(out / 'o.nii')]
    assert main(words) == 0
    shutil.rmtree(out)
    monkeypatch.setattr(strip_file, 'extract', replaced_meanwhile)
    capsys.readouterr()
    assert main(words) == 1
    assert list(out.iterdir()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith('has changed while it was worked on; start again')
    assert (tmp_path / name).is_file()
