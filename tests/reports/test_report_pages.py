"""Pages of participants: what they say, and that they need nothing but themselves."""

import json
import shutil
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import pytest

from pumba_pipe.common.errors import OutputError
from pumba_pipe.extraction.expected_dice import SHORTFALLS, ExpectedDice
from pumba_pipe.extraction.plausibility import NOISE, SECOND, UNIFORM
from pumba_pipe.extraction.quality import EDGE, STRIPPED
from pumba_pipe.reports.figures import write_figures
from pumba_pipe.reports.findings import find_all
from pumba_pipe.reports.naming import figure_paths
from pumba_pipe.reports.reasons import measured, reason_of
from pumba_pipe.reports.records import Failure, RunSummary
from pumba_pipe.reports.subject import write_subject_report
from pumba_pipe.reports.words import in_words, minutes

RUN = RunSummary(
    version='1.2.3',
    command_line='pumba in out participant',
    started=datetime(2026, 1, 2, 3, 4, 5),
    seconds=75,
    weights='own.safetensors',
    weights_sha256='c0ffee',
    device='cpu',
    options={'border_mm': 1.5, 'participants': ['01', '02']},
    boilerplate='One sentence.\n\nAnother paragraph.',
)
NO_FAILURES = MappingProxyType({})
EVIL = '<script>alert("x")</script>'


class Reader(HTMLParser):
    """Takes a page apart."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {'script', 'style'} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())


def report(root, subject, failures=NO_FAILURES, run=RUN):
    return Reader(write_subject_report(root, subject, failures, run).read_text('utf-8'))


def with_figures(root, name, ball_head):
    in_file, in_mask = ball_head(folder=root.parent / 'raw')
    write_figures(in_file, in_mask, figure_paths(root, Path(f'{name}.nii.gz')))


def external(page):
    """Addresses that a page would fetch."""
    found = []
    for tag, attributes in page.tags:
        for key in ('src', 'href', 'srcset', 'data', 'action', 'poster', 'xlink:href'):
            address = attributes.get(key) or ''
            if address and not (tag == 'a' and key == 'href') and not address.startswith('data:'):
                found.append((tag, address))
        if 'url(' in (attributes.get('style') or ''):
            found.append((tag, attributes['style']))
    return found


def test_a_page_says_what_there_is(derivative, ball_head):
    root = derivative('sub-01_T1w')
    derivative('sub-01_T2w', expected_dice=0.8, flags=['expected Dice 0.80 (0.43-0.94)'])
    derivative('sub-02_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    page = report(root, '01')
    assert '2 images with a mask, 1 to look at, 0 failed.' in page.text
    assert 'expected Dice 0.80 (0.43-0.94)' in page.text
    assert 'expected Dice 0.95 (0.90–0.97)' in page.text
    assert 'confidence' not in page.text.lower(), 'a copy is shown once'
    assert '1300 mL' in page.text
    assert 'BrainExtraction / BorderMm' in page.text
    assert 'sub-02' not in page.text
    for words in ('1.2.3', 'pumba in out participant', '2026-01-02 03:04:05, 1 min 15 s'):
        assert words in page.text
    for words in ('own.safetensors', 'c0ffee', 'border_mm', '01; 02', 'Another paragraph.'):
        assert words in page.text
    addresses = [tag['href'] for name, tag in page.tags if name == 'a']
    assert 'sub-01/anat/sub-01_desc-brain_mask.nii.gz' in addresses
    assert {'#image-sub-01_T1w', '#image-sub-01_T2w'} <= set(addresses)
    assert [tag['src'][:21] for name, tag in page.tags if name == 'img'] == [
        'data:image/png;base64'
    ] * 2
    assert 'There is no mosaic of this image.' in page.text  # of the T2w image


@pytest.mark.parametrize(('expected', 'explained'), [(0.94, 1), (None, 0)])
def test_wide_intervals_are_explained_where_there_are_some(derivative, expected, explained):
    root = derivative('sub-01_T1w', expected_dice=expected)
    page = report(root, '01')
    assert page.text.count('its width follows from the expected Dice alone') == explained


def test_sessions_are_apart(derivative):
    root = derivative('sub-01_ses-b_T1w', 'sub-01/ses-b')
    derivative('sub-01_ses-a_acq-x_T1w', 'sub-01/ses-a')
    derivative('sub-01_ses-a_T1w', 'sub-01/ses-a')
    text = report(root, '01').text
    places = [text.rindex(words) for words in ('Session a', 'acq-x_T1w', 'Session b')]
    assert places == sorted(places)


def test_a_participant_whose_images_all_failed(tmp_path):
    crash = tmp_path / 'sub-01/log/run 1/crash-1.txt'
    failures = {
        'sub-01_T1w.nii.gz': Failure('the file is empty', crash),
        'sub-01_T2w.nii.gz': Failure('broken header', Path('/elsewhere/crash-2.txt')),
    }
    page = report(tmp_path, '01', failures)
    assert '0 images with a mask, 2 failed.' in page.text
    assert 'the file is empty' in page.text
    assert 'Every image failed; the reasons stand above.' in page.text
    addresses = [tag['href'] for name, tag in page.tags if name == 'a']
    assert addresses == ['index.html', 'sub-01/log/run%201/crash-1.txt']
    assert '/elsewhere/crash-2.txt' in page.text


def test_everything_from_outside_is_escaped(derivative):
    root = derivative(
        'sub-01_T1w',
        source=f'sub-01/anat/sub-01_acq-{EVIL.replace("/", "")}_T1w.nii.gz',
        flags=[EVIL],
        notes=[EVIL],
        **{EVIL: EVIL, 'volume_ml': EVIL, 'expected_dice': EVIL},
    )
    sidecar = root / 'sub-01/anat/sub-01_desc-brain_mask.json'
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {EVIL: {'"><img src=x onerror=alert(1)>': EVIL}}))
    run = RunSummary(EVIL, EVIL, options={EVIL: EVIL}, boilerplate=EVIL, weights=EVIL, device=EVIL)
    page = report(root, '01', {EVIL: Failure(EVIL, root / f'sub-01/{EVIL}.txt')}, run)
    assert page.text.count('alert("x")') > 8
    assert [tag for tag, _ in page.tags].count('script') == 1
    assert not any(tag == 'img' for tag, _ in page.tags)
    assert not any(key.startswith('on') for _, attributes in page.tags for key in attributes)


def test_flags_come_with_their_reasons(derivative):
    moves = SHORTFALLS['gamma_dice']
    root = derivative(
        'sub-01_T1w', expected_dice=0.8, gamma_dice=0.946, edge_contact=0.0712, reasons=[moves],
        flags=[f'expected Dice 0.80 (0.43-0.94): {moves}',
               'the brain touches the edge of the field of view', 'a flag of another version'],
    )  # fmt: skip
    text = report(root, '01').text
    assert f'(0.43-0.94): {moves} Why: Dice 0.946 with the mask of the brightened image.' in text
    assert 'field of view Why: 7% of its surface lies there: a part of it may be missing.' in text
    assert 'a flag of another version a' not in text and text.count('Why: ') == 2


def test_what_was_measured_stands_in_the_order_of_the_reasons():
    record = {'gamma_dice': 0.95, 'tta_dice': 0.82, 'boundary_certainty': None}
    record['reasons'] = [
        SHORTFALLS[key] for key in ('tta_dice', 'boundary_certainty', 'gamma_dice')
    ]
    assert measured(record) == [
        'mean Dice 0.820 of the masks of two views with their average',
        'Dice 0.950 with the mask of the brightened image',
    ]
    former = {'tta_dice': 0.82, 'reasons': ['mirrored views give other masks']}
    assert measured(former) == ['mean Dice 0.820 of the masks of two views with their average']
    for odd in (None, 'words', ['of another version'], [3]):
        assert measured(record | {'reasons': odd}) == []


def test_every_flag_that_stripping_sets_has_a_reason():
    record = {'edge_contact': 0.1, 'gamma_dice': 0.9, 'reasons': [SHORTFALLS['gamma_dice']]}
    expected = ExpectedDice(0.7, 0.2, 0.9, (SHORTFALLS['gamma_dice'],), '', True)
    no_brain = 'may be no brain: rounder and surer than brains are'
    flags = [str(expected), no_brain, EDGE, STRIPPED, UNIFORM, NOISE, SECOND]
    assert all(reason_of(flag, record) for flag in flags)


def test_commands_for_other_programs_name_image_and_mask(derivative):
    root = derivative('sub-01_T2w')
    assert not any('data-command' in a for _, a in report(root, '01').tags)
    whole = root / 'sub-01/anat/sub-01_space-T2w_desc-preproc_T2w.nii.gz'
    other = root / 'sub-01/anat/sub-01_space-A_desc-preproc_T2w.nii.gz'
    for file in (whole, other):
        file.write_bytes(b'x')
        sources = {'Sources': ['bids:raw:sub-01/anat/sub-01_T2w.nii.gz']}
        file.with_name(file.name.replace('.nii.gz', '.json')).write_text(json.dumps(sources))
    page = report(root, '01')
    (shown,) = (a for tag, a in page.tags if tag == 'ul' and a.get('class') == 'commands')
    assert shown['data-image'] == whole.relative_to(root).as_posix()
    assert shown['data-mask'] == 'sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz'
    commands = [a['data-command'] for _, a in page.tags if 'data-command' in a]
    assert [command.split()[0] for command in commands] == [
        'freeview', 'fsleyes', 'itksnap', 'mrview',
    ]  # fmt: skip
    assert all(command.count('IMAGE') == command.count('MASK') == 1 for command in commands)


def test_a_rating_knows_its_data_set_and_its_mask(derivative, tmp_path):
    root = derivative('sub-01_T1w')

    def keys(place):
        page = report(place, '01')
        (main,) = (a['data-dataset'] for tag, a in page.tags if tag == 'main')
        (mask,) = (a['data-mask'] for tag, a in page.tags if a.get('class') == 'rating')
        return main, mask

    first = keys(root)
    assert first == keys(root)
    shutil.copytree(root, tmp_path / 'other')
    assert keys(tmp_path / 'other')[0] != first[0]
    (root / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').write_bytes(b'edited')
    assert keys(root)[0] == first[0] and keys(root)[1] != first[1]


def test_a_page_needs_nothing_but_itself(derivative, ball_head):
    root = derivative('sub-01_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    page = report(root, '01')
    assert external(page) == []
    (policy,) = (a['content'] for tag, a in page.tags if tag == 'meta' and 'http-equiv' in a)
    assert "default-src 'none'" in policy
    assert 'http' not in policy
    assert 'url(' not in (root / 'sub-01.html').read_text().split('</style>')[0]


def viewers(page):
    return [json.loads(a['data-volume']) for _, a in page.tags if a.get('class') == 'viewer']


def test_a_viewer_is_there_only_where_there_is_something_to_see(derivative, ball_head):
    root = derivative('sub-01_T1w')
    derivative('sub-01_T2w')
    assert viewers(report(root, '01')) == []
    with_figures(root, 'sub-01_T2w', ball_head)
    (volume,) = viewers(report(root, '01'))
    assert volume['shape'] == [40, 48, 36]


WHOLE = {
    'shape': [2, 2, 2], 'voxel_size': [1, 1, 1], 'factors': [1, 1, 1], 'rows': 8,
    'affine': [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], 'image': ['aGk='], 'mask': 'aGk=',
}  # fmt: skip


@pytest.mark.parametrize(
    'change',
    [
        {'mask': '"><script>'}, {'image': 'aGk=', 'mask': 7}, {'image': ["'<"]}, {'shape': [1, 1]},
        {'shape': [9e9, 1, 1]}, {'shape': [0, 1, 1]}, {'rows': 'many'}, {'affine': [[1]] * 3},
        {'voxel_size': [1, 1, EVIL]}, {'factors': None}, {'image': None},
    ],
)  # fmt: skip
def test_damaged_data_of_a_viewer_count_as_missing(derivative, change):
    root = derivative('sub-01_T1w')
    place = figure_paths(root, Path('sub-01_T1w.nii.gz'))['viewer']
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(WHOLE))
    assert viewers(report(root, '01')) == [WHOLE]
    place.write_text(json.dumps(WHOLE | change))
    assert viewers(report(root, '01')) == []


@pytest.mark.parametrize('content', ['', '[]', '{"image": 1, "mask": 2}', '{"image": "\\"<"}'])
def test_damaged_figures_count_as_missing(derivative, ball_head, content):
    root = derivative('sub-01_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    paths = figure_paths(root, Path('sub-01_T1w.nii.gz'))
    paths['viewer'].write_text(content)
    paths['mosaic'].write_text(content)
    page = report(root, '01')
    assert 'There is no mosaic of this image.' in page.text
    assert not [tag for tag, a in page.tags if a.get('class') == 'viewer']


def test_findings_leave_out_what_is_not_a_result(derivative):
    root = derivative('sub-01_T1w')
    derivative('sub-02_T1w')
    anat = root / 'sub-01/anat'
    (root / 'sub-02/anat/sub-02_desc-brain_mask.nii.gz').unlink()  # killed in between
    others = {
        'sub-01_desc-brain_T1w': {'Sources': ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']},
        'sub-01_desc-preproc_T1w': {'Sources': ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']},
        'sub-01_space-A_desc-brain_mask': {
            'Sources': ['bids::sub-01/anat/sub-01_desc-brain_mask.nii.gz']
        },
        'sub-01_foreign': {'Sources': 7},
        'sub-01_list': [1],
    }
    for name, content in others.items():
        (anat / f'{name}.json').write_text(json.dumps(content))
        (anat / f'{name}.nii.gz').write_bytes(b'x')
    (anat / 'sub-01_broken.json').write_text('{')
    (anat / 'sub-01_broken.nii.gz').write_bytes(b'x')
    (found,) = find_all(root)
    assert (found.name, found.suffix, found.session) == ('sub-01_T1w', 'T1w', None)
    assert [file.name for file in found.files] == [
        'sub-01_desc-brain_T1w.nii.gz',
        'sub-01_desc-brain_mask.nii.gz',
        'sub-01_desc-preproc_T1w.nii.gz',
        'sub-01_space-A_desc-brain_mask.nii.gz',
    ]


def test_a_page_that_cannot_be_written_is_one_error(derivative):
    root = derivative('sub-01_T1w')
    (root / 'sub-01.html').mkdir()
    with pytest.raises(OutputError, match='cannot write this file'):
        report(root, '01')
    assert not list(root.glob('.partial-*'))


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, '–'),
        ([], '–'),
        (0.0, '0.0'),
        (3, '3'),
        (float('nan'), 'nan'),
        ({'a': [1]}, 'a: 1'),
    ],
)
def test_values_in_words(value, text):
    assert in_words(value) == text


def test_durations_in_words():
    assert [minutes(59.9), minutes(60), minutes(3725)] == ['59.9 s', '1 min 0 s', '1 h 2 min']
