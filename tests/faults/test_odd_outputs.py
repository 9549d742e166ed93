"""Odd files in an output folder: each is named once and left out, the others are used."""

import json
import os
from pathlib import Path

import pytest
from pumba_pipe.bids_app.run import main

from pumba_pipe.reports.findings import find_all

ODD = {
    'a list': '[1, 2]',
    'deep': '{"a":' * 100_000 + '1' + '}' * 100_000,
    'deep within bounds of Python': '{"a":' * 300 + '1' + '}' * 300,
    'huge numbers': '{"Sources": [1e999]}',
    'huge whole numbers': '{"Quality": {"volume_ml": 1' + '0' * 4000 + '}}',
    'NaN': '{"Quality": {"expected_dice": NaN}}',
    'cut short': '{"Sources": ["bids:raw:',
    'empty': '',
    'no text': b'\xff\x00',
}
ODD_CONTENT = {
    'quality as a list': {'Quality': [1]},
    'no BIDS name': {'Sources': ['bids:raw:sub-02/anat/x.nii.gz']},
    'a place outside': {'Sources': ['bids:raw:../../sub-02_T1w.nii.gz']},
}
USED = {
    'flags that are a number': {'flags': 3},
    'flags that are objects': {'flags': [{'a': [None]}]},
    'numbers as text': {'volume_ml': 'many', 'expected_dice': '0.9'},
    'objects for numbers': {'volume_ml': {'a': 1}, 'components': [1, [2]]},
    'a surrogate': {'notes': ['\ud800']},
    'control characters': {'flags': ['\x1b[31m\x07']},
}


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / 'raw'
    for label in ('01', '02'):
        (root / f'sub-{label}/anat').mkdir(parents=True)
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return root


@pytest.fixture
def out(derivative):
    derivative('sub-01_T1w')
    return derivative('sub-02_T1w')


def sidecar(out, label='02'):
    return out / f'sub-{label}/anat/sub-{label}_desc-brain_mask.json'


def group(raw, out, *words):
    return main([str(raw), str(out), 'group', *words])


def pages(raw, out):
    return main([str(raw), str(out), 'participant', '--reports-only', '--nprocs', '1'])


def own(out):
    description = {
        'Name': 'x', 'BIDSVersion': '1.9.0', 'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': 'pumba_pipe'}],
    }  # fmt: skip
    (out / 'dataset_description.json').write_text(json.dumps(description))


@pytest.mark.parametrize('content', ODD.values(), ids=ODD)
def test_group_and_pages_name_an_odd_file_and_go_on(raw, out, capsys, content):
    sidecar(out).write_bytes(content if isinstance(content, bytes) else content.encode())
    own(out)
    assert group(raw, out) == 0
    printed = capsys.readouterr()
    named = [line for line in printed.out.splitlines() if str(sidecar(out)) in line]
    assert len(named) == 1
    assert 'left out' in named[0]
    rows = (out / 'group_T1w.tsv').read_text().splitlines()
    assert [row.split('\t')[0] for row in rows[1:]] == ['sub-01_T1w']
    assert pages(raw, out) == 0
    printed = capsys.readouterr()
    assert [str(sidecar(out)) in line for line in printed.err.splitlines()] == [True]
    assert (out / 'sub-02.html').is_file()


@pytest.mark.parametrize('content', ODD_CONTENT.values(), ids=ODD_CONTENT)
def test_records_of_nothing_are_named(raw, out, capsys, content):
    path = sidecar(out)
    path.write_text(json.dumps(json.loads(path.read_text()) | content))
    assert group(raw, out) == 0
    assert capsys.readouterr().out.count('left out: ') == 1


@pytest.mark.parametrize('quality', USED.values(), ids=USED)
def test_odd_values_are_shown_and_stop_nothing(raw, out, derivative, capsys, quality):
    derivative('sub-02_T1w', **quality)
    own(out)
    assert group(raw, out) == 0
    assert pages(raw, out) == 0
    printed = capsys.readouterr()
    assert printed.err == ''
    assert len((out / 'group_T1w.tsv').read_text().splitlines()) == 3


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no such files here')
@pytest.mark.parametrize('kind', ['folder', 'pipe', 'device'])
def test_what_is_no_file_is_passed_over_at_once(out, kind):
    path = sidecar(out)
    path.unlink()
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to('/dev/zero')
    remarks = []
    assert [found.subject for found in find_all(out, remark=remarks.append)] == ['01']
    assert len(remarks) == 1


TABLES = {
    'no text': b'participant_id\tspecies\nsub-01\t\xff\xfe\n',
    'UTF-16': 'participant_id\tspecies\nsub-01\tmouse\n'.encode('utf-16'),
    'empty': b'',
    'zeros': bytes(1000),
    'another table': b'a\tb\n1\t2\n',
    'a wide line': b'participant_id\t' * 100_000 + b'\nsub-01\n',
}


@pytest.mark.parametrize('content', TABLES.values(), ids=TABLES)
def test_group_goes_on_without_a_table_it_cannot_read(raw, out, capsys, content):
    (raw / 'participants.tsv').write_bytes(content)
    assert group(raw, out) == 0
    printed = capsys.readouterr()
    assert printed.err == ''
    assert 'all images are compared as if of one species' in printed.out
    assert len((out / 'group_T1w.tsv').read_text().splitlines()) == 3


@pytest.mark.parametrize('kind', ['folder', 'pipe', 'huge', 'dangling', 'loop'])
def test_group_goes_on_without_a_table_that_is_none(raw, out, capsys, kind):
    path = raw / 'participants.tsv'
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        if not hasattr(os, 'mkfifo'):
            pytest.skip('no such files here')
        os.mkfifo(path)
    elif kind == 'huge':
        with path.open('wb') as file:
            file.truncate(2**40)
    elif kind == 'loop':
        path.symlink_to(path)
    else:
        path.symlink_to(raw / 'nowhere')
    assert group(raw, out) == 0
    assert len((out / 'group_T1w.tsv').read_text().splitlines()) == 3
    printed = capsys.readouterr().out
    assert printed.count('pumba: warning: ') == 1
    assert str(path) in printed


def test_a_table_that_is_needed_is_one_line(raw, out, capsys):
    (raw / 'participants.tsv').write_bytes(b'\xff')
    assert group(raw, out, '--species', 'mouse') == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize(
    'content',
    ['[]', '{"GeneratedBy": 3}', '{"GeneratedBy": [3]}', '{' * 100_000, '\x00', '{"Name": NaN}'],
)
def test_a_folder_with_an_odd_description_is_not_taken(raw, out, capsys, content):
    path = out / 'dataset_description.json'
    path.write_text(content)
    assert group(raw, out) == 2
    assert capsys.readouterr().err.count('\n') == 1
    assert path.read_text() == content


@pytest.mark.parametrize(
    'content', ['{"Name": ["x"], "DatasetDOI": {}, "BIDSVersion": "1.9.0"}', '[', '{"a": NaN}']
)
def test_the_input_may_describe_itself_oddly(raw, tmp_path, content):
    from pumba_pipe.bids_app.outputs.description import write_description

    (raw / 'dataset_description.json').write_text(content)
    remarks = []
    write_description(raw, tmp_path / 'new', remark=remarks.append)
    made = json.loads((tmp_path / 'new/dataset_description.json').read_text())
    assert made['Name'] == 'raw: brain masks'
    assert len(remarks) == (content[1:7] != '"Name"')


def test_a_mask_whose_sidecar_is_odd_is_not_scored(tmp_path, capsys):
    from pumba_pipe.evaluation.cases import find_bids_cases

    for label in ('01', '02', '03'):
        for root, name in (('raw', 'T1w.nii.gz'), ('masks', 'desc-brain_mask.nii.gz')):
            place = tmp_path / root / f'sub-{label}/anat'
            place.mkdir(parents=True)
            (place / f'sub-{label}_{name}').touch()
    masks: Path = tmp_path / 'masks'
    sidecar(masks, '01').write_text('{"Sources": 3}')
    sidecar(masks, '02').write_text('[')
    remarks = []
    cases = find_bids_cases(masks, tmp_path / 'raw', remarks.append)
    assert [case.name for case in cases] == ['sub-03_T1w']
    assert ['sub-01' in remarks[0], 'sub-02' in remarks[1], len(remarks)] == [True, True, 2]


FILES = {
    '--bids-filter-file': ('[1]', '{"t1w": 3}', '{' * 100_000, '{"t1w": {"run": NaN}}', '\x00'),
    '--config-file': ('[' * 50_000, 'options = 3', 'a = 1' + '0' * 5000, '[options]\nmem = nan'),
    '--use-plugin': (
        '[' * 20_000, 'plugin: [a]', 'plugin: MultiProc\nplugin_args: {n_procs: lots}',
        'plugin: MultiProc\nplugin_args: &a {b: *a}', '!!python/name:os.system', '\x07',
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ('option', 'content'), [(option, one) for option, several in FILES.items() for one in several]
)
def test_odd_files_of_options_are_one_line(raw, tmp_path, capsys, option, content):
    path = tmp_path / 'odd'
    path.write_text(content)
    words = [str(raw), str(tmp_path / 'new'), 'participant', '--skip-bids-validation']
    assert main([*words, '--nprocs', '1', option, str(path)]) == 2
    printed = capsys.readouterr().err
    assert printed.count('\n') == 1
    assert str(path) in printed
    assert not (tmp_path / 'new').exists()
