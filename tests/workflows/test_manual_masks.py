"""Which mask takes the place of the network's, and what is done again then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.workflows.anat import init_image_preproc_wf
from pumba_pipe.workflows.done import judge
from pumba_pipe.workflows.manual_masks import (
    EDITED,
    find_masks,
    remove_network_mask,
    with_manual_mask,
)
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.settings import StripSettings

from pumba_pipe.common.errors import InputError, OutputError
from pumba_pipe.common.file_records import record_of
from pumba_pipe.interfaces import SaveDerivative, StripWithManualMask

SETTINGS = StripSettings(weights=Path('weights'), sha256='1', reports=False)


def image(path: Path, value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros((4, 4, 4), np.uint8)
    data[0, 0, :value] = 1
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    return path


def write(outputs: BrainOutputs, made: Path) -> None:
    """Write all results of an image, as a run does."""
    for target in outputs.everything():
        save = SaveDerivative(
            in_file=str(made), out_path=str(target.path), metadata=target.metadata,
            source_file=str(outputs.source), source_record=record_of(outputs.source),
        )  # fmt: skip
        if target.path == outputs.mask and outputs.kept_mask:
            save.inputs.keeps = outputs.kept_mask.sha256
        if target.path in outputs.replaceable:
            save.inputs.replaces = outputs.replaceable[target.path]
        save.run()


@pytest.fixture
def fresh(tmp_path: Path) -> BrainOutputs:
    scan = image(tmp_path / 'bids/sub-01/anat/sub-01_T1w.nii.gz')
    return BrainOutputs(scan, tmp_path / 'bids', tmp_path / 'out', SETTINGS)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What the network finds."""
    return image(tmp_path / 'made.nii.gz', 2)


@pytest.fixture
def done(fresh: BrainOutputs, made: Path) -> BrainOutputs:
    write(fresh, made)
    assert judge(fresh).state == 'done'
    return fresh


def test_a_mask_edited_in_place_is_described_and_the_rest_made_again(
    done: BrainOutputs, made: Path
) -> None:
    assert with_manual_mask(done) == done
    mine = image(done.mask, 3).read_bytes()
    edited = with_manual_mask(done)
    assert edited.manual is not None and edited.manual.source == EDITED
    assert judge(edited).state == 'missing'
    write(edited, made)
    assert done.mask.read_bytes() == mine
    content = json.loads((done.mask.parent / 'sub-01_desc-brain_mask.json').read_text())
    assert content['Manual'] is True
    assert content['ManualMask'] == {'Source': EDITED, 'SHA256': edited.manual.sha256}
    again = with_manual_mask(done)
    assert judge(again).state == 'done'
    wider = replace(again, settings=replace(SETTINGS, border_mm=1.0))
    assert judge(wider).state == 'outdated'
    image(done.mask, 4)  # edited again
    assert judge(with_manual_mask(done)).state == 'missing'


def test_no_node_replaces_an_edited_mask(done: BrainOutputs, made: Path) -> None:
    mine = image(done.mask, 3).read_bytes()
    with pytest.raises(OutputError, match='was edited by hand and is kept'):
        write(done, made)
    discarding = with_manual_mask(done, discard=True)
    image(done.mask, 4)  # after it was listed
    assert judge(discarding).state == 'edited'
    with pytest.raises(OutputError, match='was edited by hand and is kept'):
        write(discarding, made)
    assert done.mask.read_bytes() != mine


def test_a_mask_edited_while_it_is_worked_on_is_not_described(
    done: BrainOutputs, made: Path
) -> None:
    image(done.mask, 3)
    edited = with_manual_mask(done)
    image(done.mask, 4)
    with pytest.raises(InputError, match='has changed while it was worked on'):
        write(edited, made)


def test_edits_are_discarded(done: BrainOutputs, made: Path) -> None:
    image(done.mask, 3)
    write(with_manual_mask(done), made)
    assert done.network_mask.is_file()
    discarding = with_manual_mask(done, discard=True)
    assert list(discarding.replaceable) == [done.mask]
    assert judge(discarding).state == 'outdated'
    write(discarding, made)
    assert judge(discarding).state == 'done'
    assert done.mask.read_bytes() == made.read_bytes()
    remove_network_mask(discarding)
    assert not list(done.output_dir.rglob('*network*'))


def test_a_given_mask_takes_the_place_of_the_networks(
    done: BrainOutputs, made: Path, tmp_path: Path
) -> None:
    theirs = image(tmp_path / 'theirs/sub-01/anat/sub-01_desc-brain_mask.nii.gz', 3)
    given = with_manual_mask(done, theirs)
    assert judge(given).state == 'missing'  # the network's own mask
    write(given, made)
    assert judge(given).state == 'done'
    # a run without the folder keeps it, one with another mask takes that
    assert judge(with_manual_mask(done)).state == 'done'
    image(theirs, 4)
    other = with_manual_mask(done, theirs)
    assert judge(other).state == 'outdated'
    write(other, made)
    assert judge(other).state == 'done'


def test_a_mask_edited_in_place_goes_before_a_given_one(
    done: BrainOutputs, tmp_path: Path
) -> None:
    theirs = image(tmp_path / 'theirs.nii.gz', 3)
    image(done.mask, 4)
    chosen = with_manual_mask(done, theirs)
    assert chosen.kept_mask is not None
    both = with_manual_mask(done, theirs, discard=True)
    assert both.manual is not None and both.manual.path == theirs
    assert judge(both).state == 'missing'


def test_a_scan_that_changed_since_the_edit_is_an_error(done: BrainOutputs) -> None:
    image(done.mask, 3)
    image(done.source, 4)
    found = judge(with_manual_mask(done))
    assert found.state == 'blocked' and '--discard-edits' in found.reason
    assert judge(with_manual_mask(done, discard=True)).state == 'outdated'


def test_a_foreign_mask_among_the_results_counts_when_their_folder_is_named(
    fresh: BrainOutputs, made: Path
) -> None:
    mine = image(fresh.mask, 3).read_bytes()
    assert judge(with_manual_mask(fresh)).state == 'blocked'
    ((source, (mask,)),) = find_masks(fresh.output_dir, [fresh], print).items()
    assert (source, mask) == (fresh.source, fresh.mask)
    taken = with_manual_mask(fresh, mask)
    assert judge(taken).state == 'missing'
    write(taken, made)
    assert fresh.mask.read_bytes() == mine
    assert judge(with_manual_mask(fresh)).state == 'done'


def test_masks_are_found_by_their_names(fresh: BrainOutputs, tmp_path: Path) -> None:
    place = fresh.source.parent
    others = [
        replace(fresh, source=image(place / f'sub-01_{suffix}.nii.gz'))
        for suffix in ('T2w', 'FLAIR')
    ]
    theirs = tmp_path / 'theirs/sub-01/anat'
    bare = image(theirs / 'sub-01_desc-brain_mask.nii.gz')
    flair = image(theirs / 'sub-01_space-FLAIR_desc-brain_mask.nii.gz')
    image(theirs / 'sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz')
    found = find_masks(tmp_path / 'theirs', [fresh, *others], print)
    # a mask that may go with several images is that of the T1w image
    assert found == {fresh.source: [bare], others[1].source: [flair]}
    label = image(theirs / 'sub-01_space-FLAIR_label-brain_mask.nii.gz')
    flair.unlink()
    assert find_masks(tmp_path / 'theirs', others, print) == {others[1].source: [label]}
    # of which image it is may stand in a sidecar that cannot be read
    for damaged in ('{broken', '{"Sources": 5}'):
        (theirs / 'sub-01_desc-brain_mask.json').write_text(damaged)
        remarks: list[str] = []
        assert find_masks(tmp_path / 'theirs', [fresh, others[1]], remarks.append) == {
            others[1].source: [label]
        }
        assert len(remarks) == 1 and remarks[0].startswith('left out: sub-01_desc-brain_mask.nii')


def test_a_mask_is_that_of_the_image_it_was_made_from(fresh: BrainOutputs, tmp_path: Path) -> None:
    """Also where it has the plain name, which that of the T1w image has."""
    t2w = replace(fresh, source=image(fresh.source.with_name('sub-01_T2w.nii.gz')))
    mask = image(tmp_path / 'theirs/sub-01/anat/sub-01_desc-brain_mask.nii.gz')
    for sources, source in (
        (['bids:raw:sub-01/anat/sub-01_T2w.nii.gz'], t2w.source),
        (['bids:raw:sub-01/anat/sub-01_T1w.nii.gz'], fresh.source),
        (['bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'], fresh.source),
    ):
        mask.with_name('sub-01_desc-brain_mask.json').write_text(json.dumps({'Sources': sources}))
        assert find_masks(tmp_path / 'theirs', [fresh, t2w], print) == {source: [mask]}


def test_masks_of_the_network_are_passed_over_unless_they_were_edited(
    done: BrainOutputs,
) -> None:
    assert find_masks(done.output_dir, [done], print) == {}
    image(done.mask, 3)
    assert find_masks(done.output_dir, [done], print) == {done.source: [done.mask]}


def test_all_steps_are_given_the_manual_mask(done: BrainOutputs, made: Path) -> None:
    image(done.mask, 3)
    manual = with_manual_mask(done).manual
    settings = replace(SETTINGS, weights=made, reports=True)
    workflow = init_image_preproc_wf(settings=settings, manual=manual)
    strip = workflow.get_node('strip')
    assert isinstance(strip.interface, StripWithManualMask)
    assert strip.inputs.manual_mask == str(done.mask)
    given = {
        (node.name, *pair)
        for start, node, data in workflow._graph.edges(data=True)
        if start is strip
        for pair in data['connect']
    }
    assert {
        ('inu_n4_final', 'out_mask', 'weight_file'),
        ('apply_mask', 'out_mask', 'in_mask'),
        ('report', 'out_mask', 'in_mask'),
        ('report', 'network_mask', 'network_mask'),
        ('outputnode', 'network_mask', 'network_mask'),
    } <= given
