"""``pumba-evaluate`` from its arguments to its files and exit code."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from pumba_pipe.commands.evaluate import main
from pumba_pipe.common.errors import NothingFoundError
from pumba_pipe.evaluation import scoring
from pumba_pipe.evaluation.scoring import peak_mb, restart_peak
from pumba_pipe.extraction import pipeline as extraction
from pumba_pipe.images.volume import load_volume
from pumba_pipe.network import weights

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image with a bright cube, and the cube."""
    image = np.random.default_rng(seed).random((24, 24, 16)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[6:16, 6:16, 4:12] = 1
    return image + 5 * mask, mask


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def rows(path) -> list[dict[str, str]]:
    header, *lines = path.read_text().splitlines()
    return [dict(zip(header.split('\t'), line.split('\t'), strict=True)) for line in lines]


@pytest.fixture
def cases(tmp_path):
    """Two cases with references, one without."""
    folder = tmp_path / 'cases'
    for index, name in enumerate(('human_T1w_a', 'rat_T2w_b', 'human_T1w_blind')):
        image, mask = head(index)
        save(folder / name / 'image.nii.gz', image)
        if 'blind' not in name:
            save(folder / name / 'mask.nii.gz', mask)
    return folder


@pytest.fixture
def predictions(tmp_path):
    """A perfect mask, and one that is a voxel off."""
    folder = tmp_path / 'predictions'
    save(folder / 'human_T1w_a.nii.gz', head(0)[1])
    save(folder / 'rat_T2w_b' / 'mask.nii.gz', np.roll(head(1)[1], 1, axis=2))
    return folder


@pytest.fixture
def threshold_model(monkeypatch):
    """Strip by a threshold: the network is not what is tested here."""

    def extract(image, model, device, threads):
        volume = load_volume(image)
        if volume.data.max() < 3:
            raise NothingFoundError(f'{image}: no brain was found in this image')
        quality = SimpleNamespace(
            expected_dice=0.75, expected_dice_low=0.5, expected_dice_high=0.9, doubtful=True
        )
        return SimpleNamespace(volume=volume, mask=volume.data > 3, quality=quality)

    monkeypatch.setattr(extraction, 'extract', extract)
    monkeypatch.setattr(weights, 'load_weights', lambda path: SimpleNamespace(card={}))


def test_ready_masks_are_scored(cases, predictions, tmp_path, capsys):
    out = tmp_path / 'new' / 'out'
    arguments = [str(cases), '--predictions', str(predictions), '--out', str(out)]
    assert main(arguments) == 0
    first, second = rows(out / 'scores.tsv')
    assert (first['case'], first['species'], first['dice']) == ('human_T1w_a', 'human', '1.0000')
    assert (second['modality'], second['dice']) == ('T2w', '0.8750')
    assert second['hd95_mm'] == '4.000'
    assert (
        second['expected_dice']
        == second['flagged']
        == second['seconds']
        == second['peak_mb']
        == 'n/a'
    )
    summary = {row['species']: row for row in rows(out / 'summary.tsv')}
    assert summary['rodent']['min_dice'] == '0.8750' and summary['all']['n'] == '2'
    assert (out / 'worst.png').read_bytes().startswith(b'\x89PNG')
    printed = capsys.readouterr().out
    assert 'left out, without a reference mask: 1' in printed
    assert 'median_dice' in printed and str(out) in printed
    assert sorted(path.name for path in out.iterdir()) == [
        'scores.tsv',
        'summary.tsv',
        'worst.png',
    ]


def test_images_are_stripped(cases, tmp_path, threshold_model, capsys):
    assert main([str(cases), '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 0
    for row in rows(tmp_path / 'out' / 'scores.tsv'):
        assert row['dice'] == '1.0000' and row['expected_dice'] == '0.7500'
        assert row['flagged'] == 'yes'
        assert float(row['seconds']) >= 0 and float(row['peak_mb']) > 50


def test_cases_without_reference_can_be_stripped_too(cases, tmp_path, threshold_model):
    assert main([str(cases), '--all', '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 0
    blind = {row['case']: row for row in rows(tmp_path / 'out' / 'scores.tsv')}['human_T1w_blind']
    assert blind['dice'] == 'n/a' and blind['expected_dice'] == '0.7500'
    summary = {row['species']: row for row in rows(tmp_path / 'out' / 'summary.tsv')}
    assert summary['all']['n'] == '2' and summary['all']['failed'] == '0'


def test_a_failing_case_does_not_stop_the_others(cases, tmp_path, threshold_model, capsys):
    save(cases / 'human_T1w_a' / 'image.nii.gz', head(0)[0] / 10)
    assert main([str(cases), '--out', str(tmp_path / 'out'), '--device', 'cpu']) == 1
    failed, good = rows(tmp_path / 'out' / 'scores.tsv')
    assert set(list(failed.values())[3:]) == {'n/a'}
    assert good['dice'] == '1.0000'
    summary = {row['species']: row for row in rows(tmp_path / 'out' / 'summary.tsv')}
    assert (summary['all']['n'], summary['all']['failed']) == ('1', '1')
    message = capsys.readouterr().err.strip()
    assert message.startswith('pumba-evaluate: human_T1w_a: ') and '\n' not in message


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda mask: mask[:-1], r'(23, 24, 16)'),
        (lambda mask: mask * 0, 'empty'),
        (lambda mask: mask[..., None].repeat(2, -1), '3D'),
    ],
)
def test_a_reference_that_does_not_fit(cases, predictions, tmp_path, capsys, change, expected):
    save(cases / 'human_T1w_a' / 'mask.nii.gz', change(head(0)[1]))
    arguments = [str(cases), '--predictions', str(predictions), '--out', str(tmp_path / 'out')]
    assert main(arguments) == 1
    message = capsys.readouterr().err.strip()
    assert expected in message and '\n' not in message
    assert [row['dice'] for row in rows(tmp_path / 'out' / 'scores.tsv')] == ['n/a', '0.8750']


def test_an_empty_mask_is_a_score_and_a_missing_one_a_failure(
    cases, predictions, tmp_path, capsys
):
    save(predictions / 'human_T1w_a.nii.gz', head(0)[1] * 0)
    (predictions / 'rat_T2w_b' / 'mask.nii.gz').unlink()
    arguments = [str(cases), '--predictions', str(predictions), '--out', str(tmp_path / 'out')]
    assert main(arguments) == 1
    empty, missing = rows(tmp_path / 'out' / 'scores.tsv')
    assert (empty['dice'], empty['hd95_mm']) == ('0.0000', 'n/a')
    assert missing['dice'] == 'n/a'
    assert 'rat_T2w_b' in capsys.readouterr().err


def test_chosen_cases(cases, predictions, tmp_path, capsys):
    arguments = [str(cases), '--predictions', str(predictions), '--out', str(tmp_path / 'out')]
    assert main([*arguments, '--cases', 'rat_T2w_b']) == 0
    assert [row['case'] for row in rows(tmp_path / 'out' / 'scores.tsv')] == ['rat_T2w_b']
    assert main([*arguments, '--cases', 'rat_T2w_x']) == 1
    assert 'rat_T2w_x' in capsys.readouterr().err


def test_a_bids_pair(tmp_path):
    raw, masks, found = (tmp_path / name for name in ('raw', 'masks', 'found'))
    image, mask = head(0)
    name = 'sub-01/ses-1/anat/sub-01_ses-1'
    save(raw / f'{name}_T1w.nii.gz', image)
    save(masks / f'{name}_desc-brain_mask.nii.gz', mask)
    save(found / f'{name}_desc-brain_mask.nii.gz', mask)
    arguments = [str(masks), '--bids', str(raw), '--predictions', str(found)]
    assert main([*arguments, '--out', str(tmp_path / 'out')]) == 0
    (row,) = rows(tmp_path / 'out' / 'scores.tsv')
    assert (row['case'], row['modality'], row['dice']) == ('sub-01_ses-1_T1w', 'T1w', '1.0000')


def test_bad_input_is_one_line(cases, tmp_path, capsys):
    blind = cases.parent / 'blind'
    blind.mkdir()
    (cases / 'human_T1w_blind').rename(blind / 'x')
    bad = [
        [str(tmp_path / 'missing')],
        [str(blind)],
        [str(cases), '--predictions', str(tmp_path / 'missing')],
        [str(cases), '--predictions', str(blind)],
        [str(cases), '--weights', str(tmp_path / 'missing.safetensors')],
        [str(cases), '--device', 'toaster'],
        [str(cases), '--out', str(cases / 'rat_T2w_b' / 'mask.nii.gz')],
    ]
    for arguments in bad:
        assert main(['--out', str(tmp_path / 'out'), *arguments]) == 1
        message = capsys.readouterr().err.strip()
        assert message.startswith('pumba-evaluate: error: ') and '\n' not in message
        assert not (tmp_path / 'out').exists() or not any((tmp_path / 'out').iterdir())


def test_wrong_usage(cases, predictions):
    for arguments in ([], [str(cases), '--all', '--predictions', str(predictions)]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_peak_memory_of_a_case_is_its_own():
    before = peak_mb()
    block = np.ones(25_000_000)
    assert peak_mb() > before + 100
    del block
    if sys.platform == 'linux':
        restart_peak()
        assert peak_mb() < before + 150


def test_without_what_tells_the_memory_it_is_unknown(monkeypatch):
    """As on Windows: neither /proc nor the module resource."""
    monkeypatch.setattr(scoring, 'Path', lambda name: Path(f'/nowhere{name}'))
    monkeypatch.setitem(sys.modules, 'resource', None)
    restart_peak()
    assert math.isnan(peak_mb())


@pytest.mark.parametrize(('platform', 'unit'), [('darwin', 1024**2), ('linux', 1024)])
def test_macos_counts_memory_in_bytes(monkeypatch, platform, unit):
    monkeypatch.setattr(scoring, 'Path', lambda name: Path(f'/nowhere{name}'))
    monkeypatch.setattr(sys, 'platform', platform)
    usage = SimpleNamespace(ru_maxrss=300 * unit)
    module = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: usage)
    monkeypatch.setitem(sys.modules, 'resource', module)
    assert peak_mb() == 300


def test_help_imports_nothing_heavy():
    code = (
        'import sys\n'
        'from pumba_pipe.commands.evaluate import build_parser\n'
        'build_parser().format_help()\n'
        "print([m for m in ('torch', 'numpy', 'nibabel', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.stdout.strip() == '[]', result.stderr


def test_tables_that_somebody_else_made_are_kept(cases, predictions, tmp_path, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'scores.tsv').write_text('name\tscore\nme\t7\n')
    assert main([str(cases), '--predictions', str(predictions), '--out', str(out)]) == 1
    assert 'scores.tsv: is there, and is no table of this command' in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ['scores.tsv']


def test_no_table_of_an_earlier_run_is_left(cases, predictions, tmp_path, threshold_model):
    """Scores of other masks stood beside the expected Dice of those before."""
    out = tmp_path / 'out'
    assert main([str(cases), '--out', str(out)]) == 0
    assert (out / 'expected.tsv').exists()
    assert main([str(cases), '--predictions', str(predictions), '--out', str(out)]) == 0
    assert not (out / 'expected.tsv').exists()
