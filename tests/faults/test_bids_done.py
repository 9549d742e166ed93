"""When an image counts as done, and what is never replaced."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.bids_app.execution import runner
from pumba_pipe.bids_app.run import main

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_records import record_of
from pumba_pipe.interfaces import SaveDerivative, SkullStrip

ANAT = 'sub-01/anat/sub-01'
DONE, AGAIN = 'done before', 'would be stripped'


@dataclass(frozen=True)
class Study:
    """A data set of one scan, and results."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def scan(self) -> Path:
        return self.root / f'bids/{ANAT}_T1w.nii.gz'

    @property
    def out(self) -> Path:
        return self.root / 'out'

    @property
    def mask(self) -> Path:
        return self.result('desc-brain_mask.nii.gz')

    def result(self, ending: str) -> Path:
        return self.out / f'{ANAT}_{ending}'

    def run(self, *words: str) -> tuple[int, str]:
        """Run the command; the code it ends with and what it prints."""
        code = pumba(self.root, *words)
        printed = self.capsys.readouterr()
        assert 'Traceback' not in printed.out + printed.err
        return code, printed.out + printed.err

    def plan(self, *words: str) -> str:
        """What a dry run says of the scan; that it writes nothing is checked, too."""
        before = snapshot(self.root)
        _, printed = self.run('--dry-run', *words)
        assert snapshot(self.root) == before
        name = self.scan.relative_to(self.root / 'bids')
        (line,) = [one for one in printed.splitlines() if one.startswith(f'pumba: {name}: ')]
        return line.removeprefix(f'pumba: {name}: ')


def pumba(root: Path, *words: str) -> int:
    return main([
        str(root / 'bids'), str(root / 'out'), 'participant', '-w', str(root / 'work'), '--sloppy',
        '--skip-bids-validation', '--nprocs', '1', '--device', 'cpu', '--no-n4', *words,
    ])  # fmt: skip


def snapshot(root: Path) -> dict[Path, tuple[int, int]]:
    found = ((path, path.lstat()) for path in root.rglob('*'))
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def edit(mask: Path) -> bytes:
    """Change a mask as a person would, and return its new content."""
    image = nib.load(mask)
    data = np.asarray(image.dataobj).copy()
    data[5:10] = 1
    nib.save(nib.Nifti1Image(data, image.affine, image.header), mask)
    return mask.read_bytes()


def change_sidecar(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file but not its times."""
    times = path.stat()
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture(scope='module')
def finished(bids_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('done')
    scan = root / f'bids/{ANAT}_T1w.nii.gz'
    scan.parent.mkdir(parents=True)
    shutil.copy(bids_dir / f'{ANAT}_T1w.nii.gz', scan)
    shutil.copy(bids_dir / 'dataset_description.json', root / 'bids')
    assert pumba(root) == 0
    return root


@pytest.fixture
def study(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Study:
    """A copy of finished results, to be changed."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / 'work')
    return Study(tmp_path, capsys)


@pytest.fixture
def fresh(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Study:
    """The same without results."""
    shutil.copytree(finished / 'bids', tmp_path / 'bids')
    return Study(tmp_path, capsys)


# ---- this scan ----


def test_the_record(study: Study) -> None:
    sidecar = json.loads(study.result('desc-brain_mask.json').read_text())
    scan, mask = record_of(study.scan), record_of(study.mask)
    assert sidecar['SourceRecord']['SHA256'] == scan['SHA256']
    assert sidecar['SourceRecord']['Size'] == scan['Size']
    assert sidecar['SourceRecord']['Modified'] == scan['Modified']
    del mask['Changed']
    assert sidecar['FileRecord'] == mask


@pytest.mark.parametrize('date', [-5000, 0, 5000])
def test_a_replaced_scan_is_done_again_whatever_its_date(study: Study, date: int) -> None:
    times = study.scan.stat()
    image = nib.load(study.scan)
    data = np.roll(np.asarray(image.dataobj), 3, 0)
    nib.save(nib.Nifti1Image(data, image.affine, image.header), study.scan)
    moment = times.st_mtime_ns + date * 10**9
    os.utime(study.scan, ns=(moment, moment))
    assert study.plan().startswith(f'{AGAIN} again, the scan has changed')
    assert study.run()[0] == 0
    assert study.plan().startswith(DONE)
    sidecar = json.loads(study.result('desc-brain_mask.json').read_text())
    assert sidecar['SourceRecord']['SHA256'] == record_of(study.scan)['SHA256']


def test_a_scan_replaced_by_one_of_the_same_size_and_date_is_done_again(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(Path(shutil.copytree(finished, tmp_path / 'x')), capsys)  # work folder, too
    plain = study.scan.with_suffix('')
    plain.write_bytes(gzip.decompress(study.scan.read_bytes()))
    study.scan.unlink()
    assert study.run()[0] == 0
    before, times = study.mask.read_bytes(), plain.stat()
    image = nib.load(plain)
    data = np.roll(np.asarray(image.dataobj), 5, 0)
    nib.save(nib.Nifti1Image(data, image.affine, image.header), plain)
    assert plain.stat().st_size == times.st_size
    os.utime(plain, ns=(times.st_atime_ns, times.st_mtime_ns))
    code, printed = study.run()
    assert (code, '1 to strip' in printed) == (0, True)
    assert study.mask.read_bytes() != before


def test_a_scan_that_was_only_touched_is_not_done_again(study: Study) -> None:
    masks = {path: path.stat().st_mtime_ns for path in study.out.rglob('*.nii.gz')}
    study.scan.chmod(0o640)
    os.utime(study.scan)
    assert study.plan().startswith(DONE)
    assert '0 to strip on cpu, 1 done before' in study.run()[1]
    assert {path: path.stat().st_mtime_ns for path in study.out.rglob('*.nii.gz')} == masks
    sidecar = json.loads(study.result('desc-brain_mask.json').read_text())
    # noted, so that the next run need not read it
    assert sidecar['SourceRecord']['Modified'] == record_of(study.scan)['Modified']
    assert 'Quality' in sidecar


def test_copies_that_lost_their_dates_are_done(study: Study) -> None:
    for path in study.root.rglob('*.*'):
        os.utime(path)
    assert study.plan().startswith(DONE)
    assert study.run()[0] == 0
    assert study.plan().startswith(DONE)


def test_a_scan_stored_in_another_way_is_done_again(study: Study) -> None:
    plain = study.scan.with_suffix('')
    plain.write_bytes(gzip.decompress(study.scan.read_bytes()))
    study.scan.unlink()
    _, printed = study.run('--dry-run')
    assert f'{plain.name}: {AGAIN} again, the scan has changed' in printed
    study.scan.write_bytes(b'back')
    plain.unlink()
    assert study.plan().startswith(f'{AGAIN} again, the scan has changed')


def test_a_mask_of_another_scan_is_kept(study: Study) -> None:
    other = study.scan.with_name('sub-01_acq-x_T1w.nii.gz')
    shutil.copy(study.scan, other)
    uri = 'bids:raw:sub-01/anat/sub-01_acq-x_T1w.nii.gz'
    change_sidecar(study.result('desc-brain_mask.json'), lambda one: one.update(Sources=[uri]))
    assert f'is the mask of sub-01/anat/{other.name}, another scan' in study.plan()


@pytest.mark.parametrize('step', ['strip', 'conform'])
def test_a_scan_that_changes_during_the_run_fails(
    fresh: Study, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It is replaced after one of the steps that read it, keeping size and date."""
    from pumba_pipe.interfaces import Conform

    interface = {'strip': SkullStrip, 'conform': Conform}[step]
    work = interface._run_interface
    replaced = []

    def replacing(self: Any, runtime: Any) -> Any:
        done = work(self, runtime)
        if not replaced:
            image = nib.load(fresh.scan)
            data = np.roll(np.asarray(image.dataobj), 5, 0)
            new = fresh.root / 'new.nii.gz'
            nib.save(nib.Nifti1Image(data, image.affine, image.header), new)
            times = fresh.scan.stat()
            os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
            os.replace(new, fresh.scan)
            replaced.append(new)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(interface, '_run_interface', replacing)
        code, printed = fresh.run()
    assert code == 1
    assert f'{fresh.scan}: has changed while it was worked on; start the run again' in printed
    assert '0 images stripped, 0 done before, 1 failed' in printed
    assert not list(fresh.out.rglob('*.nii.gz'))
    assert '1 image stripped' in fresh.run()[1]
    sidecar = json.loads(fresh.result('desc-brain_mask.json').read_text())
    assert sidecar['SourceRecord']['SHA256'] == record_of(fresh.scan)['SHA256']
    fresh.mask.unlink()
    shutil.rmtree(fresh.root / 'work')
    shutil.rmtree(fresh.out)
    assert sidecar['FileRecord']['SHA256'] == _mask_of(fresh)


def test_another_method_takes_over_nothing_from_the_work_folder(
    fresh: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, stripped = SkullStrip._run_interface, []

    def counting(self: Any, runtime: Any) -> Any:
        stripped.append(self)
        return work(self, runtime)

    monkeypatch.setattr(SkullStrip, '_run_interface', counting)
    for name, times in (('pumba_1_1_wf', 1), ('pumba_1_1_wf', 1), ('pumba_2_1_wf', 2)):
        monkeypatch.setattr(runner, 'WORKFLOW', name)
        assert fresh.run('--no-reports')[0] == 0
        assert len(stripped) == times
        shutil.rmtree(fresh.out)


def _mask_of(study: Study) -> str:
    """Checksum of the mask that a run without any history makes."""
    assert study.run()[0] == 0
    return str(record_of(study.mask)['SHA256'])


def test_a_scan_touched_during_the_run_does_not_fail(
    fresh: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = SkullStrip._run_interface

    def touching(self: Any, runtime: Any) -> Any:
        os.utime(fresh.scan)
        return work(self, runtime)

    monkeypatch.setattr(SkullStrip, '_run_interface', touching)
    assert fresh.run()[0] == 0


def test_a_scan_that_vanishes_during_the_run_fails(
    fresh: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = SkullStrip._run_interface

    def removing(self: Any, runtime: Any) -> Any:
        done = work(self, runtime)
        fresh.scan.rename(fresh.root / 'away')
        return done

    monkeypatch.setattr(SkullStrip, '_run_interface', removing)
    code, printed = fresh.run('--no-reports')
    assert code == 1
    assert f'{fresh.scan}: was removed while it was worked on' in printed
    assert not list(fresh.out.rglob('*_mask.nii.gz'))


# ---- these outputs ----


@pytest.mark.parametrize(
    'ending',
    ['desc-brain_mask.nii.gz', 'desc-preproc_T1w.nii.gz', 'desc-brain_T1w.nii.gz', 'figures'],
)
@pytest.mark.parametrize('size', [0, 50, -1])
def test_truncated_results_are_done_again(study: Study, ending: str, size: int) -> None:
    path = study.result(ending)
    if ending == 'figures':
        path = study.out / 'sub-01/figures/sub-01_desc-mosaic_T1w.png'
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    assert study.plan().startswith(AGAIN)


def test_a_result_that_is_not_the_one_written_is_done_again(study: Study) -> None:
    path = study.result('desc-brain_T1w.nii.gz')
    path.write_bytes(path.read_bytes()[:-1] + b'x')
    assert study.plan().startswith(AGAIN)
    assert study.run()[0] == 0
    assert study.plan().startswith(DONE)


@pytest.mark.parametrize('ending', ['desc-brain_mask.nii.gz', 'desc-preproc_T1w.nii.gz'])
def test_a_folder_where_a_result_goes_stays(study: Study, ending: str) -> None:
    path = study.result(ending)
    path.unlink()
    (path / 'mine').mkdir(parents=True)
    code, printed = study.run()
    assert code == 1
    assert f'{path}: is no file, and a result goes here; move it away' in printed
    assert (path / 'mine').is_dir()


def test_a_link_to_a_result_that_is_not_here_stays(study: Study) -> None:
    study.mask.unlink()
    study.mask.symlink_to('../../.git/annex/objects/x')
    assert 'fetch it first' in study.plan()
    assert study.run()[0] == 1
    assert study.mask.is_symlink()


def test_results_may_be_links_to_what_was_written(study: Study) -> None:
    for path in study.out.rglob('*.nii.gz'):
        path.rename(study.root / path.name)
        path.symlink_to(study.root / path.name)
    assert study.plan().startswith(DONE)


# ---- what people and other programs made ----


def test_an_edited_mask_is_kept_said_and_counted(study: Study) -> None:
    words = ('--border-mm', '1', '--probability')
    mine = edit(study.mask)
    assert study.plan(*words).startswith('edited by hand, kept')
    code, printed = study.run(*words)
    assert code == 0
    assert f'{study.mask}: was edited by hand and is kept; what is made of it is made' in printed
    assert '1 to strip on cpu, 0 done before, 1 kept as edited by hand' in printed
    assert '1 image stripped, 0 done before, 1 kept as edited by hand, 0 failed' in printed
    assert study.mask.read_bytes() == mine
    assert study.plan(*words).startswith('done before, with a mask that is kept')


def test_an_edited_mask_is_kept_when_other_results_are_lost(study: Study) -> None:
    mine = edit(study.mask)
    study.result('desc-brain_T1w.nii.gz').unlink()
    assert study.run()[0] == 0
    assert study.mask.read_bytes() == mine


def test_a_mask_in_another_format_is_kept_and_fails(study: Study) -> None:
    mine = gzip.decompress(study.mask.read_bytes())  # a plain .nii under the old name
    study.mask.write_bytes(mine)
    code, printed = study.run('--border-mm', '1')
    assert code == 1
    assert f'{study.mask}: is not compressed, although its name says so' in printed
    assert study.mask.read_bytes() == mine


@pytest.mark.parametrize('ending', ['.nii', '.mgz', '.nrrd'])
@pytest.mark.parametrize('instead', [True, False])
def test_an_edited_mask_that_was_saved_in_another_format_is_named(
    study: Study, ending: str, instead: bool
) -> None:
    """Beside it, a new mask by the network was written, or the old one counted as done."""
    edited = study.mask.with_name(study.mask.name.replace('.nii.gz', ending))
    edited.write_bytes(b'edited')
    if instead:
        study.mask.unlink()
    code, printed = study.run()
    assert code == 1
    assert f'{edited}: is a second mask of this image' in printed
    assert edited.read_bytes() == b'edited'
    assert study.mask.exists() is not instead


def test_a_mask_of_zeros_is_done_again(study: Study) -> None:
    study.mask.write_bytes(bytes(study.mask.stat().st_size))  # after a power cut
    assert study.plan().startswith(AGAIN)


def test_an_edited_mask_with_its_old_date_is_kept(study: Study) -> None:
    times = study.mask.stat()
    mine = edit(study.mask)
    os.utime(study.mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    study.run('--border-mm', '1')
    assert study.mask.read_bytes() == mine


def test_a_mask_that_says_it_is_manual_is_kept(study: Study) -> None:
    change_sidecar(study.result('desc-brain_mask.json'), lambda one: one.update(Manual=True))
    assert study.plan('--border-mm', '1').startswith('edited by hand, kept')


def test_an_edited_mask_of_a_scan_that_has_changed_is_kept_and_fails(study: Study) -> None:
    mine = edit(study.mask)
    with study.scan.open('ab') as file:
        file.write(b'x')
    code, printed = study.run()
    assert code == 1
    assert 'was edited by hand and is kept, but the scan has changed since' in printed
    assert study.mask.read_bytes() == mine


def test_a_mask_edited_during_the_run_is_kept(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = SkullStrip._run_interface
    mine = []

    def editing(self: Any, runtime: Any) -> Any:
        done = work(self, runtime)
        mine.append(edit(study.mask))
        return done

    monkeypatch.setattr(SkullStrip, '_run_interface', editing)
    code, printed = study.run('--border-mm', '1')
    assert code == 1
    assert 'was edited by hand and is kept' in printed
    assert study.mask.read_bytes() == mine[0]


@pytest.mark.parametrize('sidecar', [None, '{"Type": "Brain"}', '{half', '[]', '[' * 100_000])
def test_a_mask_of_another_origin_is_kept_and_fails(study: Study, sidecar: str | None) -> None:
    study.mask.write_bytes(b'my manual mask')
    path = study.result('desc-brain_mask.json')
    path.unlink()
    if sidecar is not None:
        path.write_text(sidecar)
    code, printed = study.run()
    assert code == 1
    assert f'{study.mask}: was not made by pumba_pipe' in printed
    assert 'and is kept' in printed
    assert study.mask.read_bytes() == b'my manual mask'


@pytest.mark.parametrize(
    'ending', ['desc-brain_mask.nii.gz', 'desc-preproc_T1w.nii.gz', 'desc-brain_T1w.nii.gz']
)
def test_derivatives_in_a_folder_without_description_are_kept(fresh: Study, ending: str) -> None:
    path = fresh.result(ending)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'theirs')
    path.with_name(path.name.replace('.nii.gz', '.json')).write_text('{"SkullStripped": false}')
    code, printed = fresh.run()
    assert code == 1
    assert f'{path}: was not made by pumba_pipe' in printed
    assert [one.name for one in fresh.out.rglob('*.nii.gz')] == [path.name]
    assert path.read_bytes() == b'theirs'


@pytest.mark.parametrize('name', ['sub-01.html', 'group_T1w.tsv', 'logs/CITATION.md'])
def test_pages_of_other_programs_are_not_replaced(fresh: Study, name: str) -> None:
    page = fresh.out / name
    page.parent.mkdir(parents=True)
    page.write_text('theirs')
    code, printed = fresh.run()
    assert code == 2
    assert name in printed and 'choose a folder of its own' in printed
    assert page.read_text() == 'theirs'
    assert [path for path in fresh.out.rglob('*') if path.is_file()] == [page]


def test_a_node_does_not_replace_masks_of_others(tmp_path: Path) -> None:
    source, target = tmp_path / 'new.nii.gz', tmp_path / 'out' / 'sub-01_mask.nii.gz'
    source.write_bytes(b'new')
    target.parent.mkdir()
    target.write_bytes(b'theirs')
    save = SaveDerivative(in_file=str(source), out_path=str(target), metadata={})
    with pytest.raises(OutputError, match='was not made by pumba_pipe'):
        save.run()
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() == b'theirs'


def test_a_node_compares_the_scan(tmp_path: Path) -> None:
    scan = tmp_path / 'scan.nii.gz'
    scan.write_bytes(b'before')
    record = record_of(scan)
    scan.write_bytes(b'after!')
    save = SaveDerivative(
        in_file=str(scan), out_path=str(tmp_path / 'x_mask.nii.gz'), metadata={},
        source_file=str(scan), source_record=record,
    )  # fmt: skip
    with pytest.raises(InputError, match='has changed while it was worked on'):
        save.run()
    assert [path.name for path in tmp_path.iterdir()] == ['scan.nii.gz']


# ---- results of versions that kept no record ----


@pytest.fixture
def former(study: Study) -> Study:
    """Results as versions without records left them."""
    for sidecar in study.out.rglob('sub-01*_desc-*.json'):
        if 'figures' not in sidecar.name and 'viewer' not in sidecar.name:
            change_sidecar(sidecar, lambda one: (one.pop('SourceRecord'), one.pop('FileRecord')))
    (study.out / 'sub-01/figures/sub-01_desc-figures_T1w.json').unlink()
    return study


def test_results_without_a_record_are_done_again_and_said_once(former: Study) -> None:
    assert former.plan().startswith(f'{AGAIN} again, made by a version that kept no record')
    code, printed = former.run()
    assert code == 0
    assert printed.count('done by an earlier version, which kept no record of their scans') == 1
    assert '1 image stripped' in printed
    assert former.plan().startswith(DONE)


def test_an_edited_mask_without_a_record_is_kept(former: Study) -> None:
    mine = edit(former.mask)
    later = former.mask.stat().st_mtime + 3600
    os.utime(former.mask, (later, later))
    assert former.run('--border-mm', '1')[0] == 0
    assert former.mask.read_bytes() == mine
