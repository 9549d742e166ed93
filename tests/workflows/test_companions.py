"""Files beside a series: found where BIDS puts them."""

import json

import pytest
from pumba_pipe.workflows.companions import find_companions


@pytest.fixture
def data(tmp_path):
    for name in (
        'sub-01/dwi/sub-01_acq-x_dwi.nii.gz',
        'sub-01/dwi/sub-01_dwi.nii.gz',
        'sub-01/perf/sub-01_run-1_asl.nii.gz',
        'sub-01/perf/sub-01_run-2_asl.nii.gz',
        'sub-01/perf/sub-01_m0scan.nii.gz',
        'sub-01/perf/sub-01_run-2_m0scan.nii.gz',
        'sub-01/pet/sub-01_pet.nii.gz',
        'sub-01/func/sub-01_task-rest_bold.nii.gz',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    return tmp_path


def test_the_nearest_file_counts(data):
    image = data / 'sub-01/dwi/sub-01_acq-x_dwi.nii.gz'
    assert find_companions(image, data).files == ()
    for name in ('dwi.bval', 'sub-01/sub-01_dwi.bval', 'sub-01/dwi/sub-01_acq-x_dwi.bval'):
        (data / name).write_text('0')
        assert find_companions(image, data).files == (data / name,)
    other = data / 'sub-01/dwi/sub-01_dwi.nii.gz'
    assert find_companions(other, data).b_values == data / 'sub-01/sub-01_dwi.bval'


def test_sidecars_are_all_read_the_nearest_last(data):
    names = ('pet.json', 'sub-01/sub-01_pet.json', 'sub-01/pet/sub-01_pet.json')
    for name in (*names, 'sub-01/pet/sub-01_trc-x_pet.json'):
        (data / name).write_text('{}')
    found = find_companions(data / 'sub-01/pet/sub-01_pet.nii.gz', data)
    assert found.sidecars == tuple(data / name for name in names)


def test_an_m0_image_is_found_by_its_name_or_by_what_it_says(data):
    def m0(run):
        return find_companions(data / f'sub-01/perf/sub-01_run-{run}_asl.nii.gz', data).m0

    folder = data / 'sub-01/perf'
    assert m0(1) == folder / 'sub-01_m0scan.nii.gz'
    assert m0(2) == folder / 'sub-01_run-2_m0scan.nii.gz'
    uri = {'IntendedFor': ['bids::sub-01/perf/sub-01_run-1_asl.nii.gz']}
    (folder / 'sub-01_run-2_m0scan.json').write_text(json.dumps(uri))
    assert m0(1) == folder / 'sub-01_run-2_m0scan.nii.gz'
    (data / 'asl.json').write_text('{"M0Type": "Included"}')
    assert m0(1) is None
    (folder / 'sub-01_run-1_asl.json').write_text('{"M0Type": "Separate"}')
    assert m0(1) == folder / 'sub-01_run-2_m0scan.nii.gz'


def test_an_m0_image_that_is_for_another_series_is_not_taken(data):
    def m0(run):
        return find_companions(data / f'sub-01/perf/sub-01_run-{run}_asl.nii.gz', data).m0

    folder = data / 'sub-01/perf'
    (folder / 'sub-01_run-2_m0scan.nii.gz').unlink()
    sidecar, image = folder / 'sub-01_m0scan.json', folder / 'sub-01_m0scan.nii.gz'
    for entry in ('perf/sub-01_run-1_asl.nii.gz', ['bids::sub-01/perf/sub-01_run-1_asl.nii']):
        sidecar.write_text(json.dumps({'IntendedFor': entry}))
        assert (m0(1), m0(2)) == (image, None)
    for nothing in ([], None, 7, [None]):
        sidecar.write_text(json.dumps({'IntendedFor': nothing}))
        assert (m0(1), m0(2)) == (image, image)


def test_other_images_need_nothing(data):
    (data / 'bold.json').write_text('{}')
    assert find_companions(data / 'sub-01/func/sub-01_task-rest_bold.nii.gz', data).files == ()
