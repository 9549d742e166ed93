"""Pages of participants: what they say, and that they need nothing but themselves."""

import json
import re
import shutil
import subprocess
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from pumba_pipe.common.errors import OutputError
from pumba_pipe.reports.figures import write_figures
from pumba_pipe.reports.findings import find_all
from pumba_pipe.reports.naming import figure_paths
from pumba_pipe.reports.records import Failure, RunSummary
from pumba_pipe.reports.subject import write_subject_report
from pumba_pipe.reports.words import in_words, minutes

CHROMIUM = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
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
    derivative('sub-01_T2w', confidence=0.2, flags=['low confidence: look at this mask'])
    derivative('sub-02_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    page = report(root, '01')
    assert '2 images with a mask, 1 to look at, 0 failed.' in page.text
    assert 'low confidence: look at this mask' in page.text
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
    assert addresses == ['sub-01/log/run%201/crash-1.txt']
    assert '/elsewhere/crash-2.txt' in page.text


def test_everything_from_outside_is_escaped(derivative):
    root = derivative(
        'sub-01_T1w',
        source=f'sub-01/anat/sub-01_acq-{EVIL.replace("/", "")}_T1w.nii.gz',
        flags=[EVIL],
        notes=[EVIL],
        **{EVIL: EVIL, 'volume_ml': EVIL, 'confidence': EVIL},
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


def test_a_page_needs_nothing_but_itself(derivative, ball_head):
    root = derivative('sub-01_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    page = report(root, '01')
    assert external(page) == []
    (policy,) = (a['content'] for tag, a in page.tags if tag == 'meta' and 'http-equiv' in a)
    assert "default-src 'none'" in policy
    assert 'http' not in policy
    assert 'url(' not in (root / 'sub-01.html').read_text().split('</style>')[0]


def test_the_viewer_is_there_once_and_only_where_it_is_needed(derivative, ball_head):
    root = derivative('sub-01_T1w')
    derivative('sub-01_T2w')
    assert not [a for tag, a in report(root, '01').tags if a.get('id') == 'niivue']
    for name in ('sub-01_T1w', 'sub-01_T2w'):
        with_figures(root, name, ball_head)
    tags = report(root, '01').tags
    assert len([a for tag, a in tags if a.get('id') == 'niivue']) == 1
    assert len([a for tag, a in tags if a.get('class') == 'viewer']) == 2


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


@pytest.fixture
def browse(tmp_path):
    """A function that opens a page in a browser, without network."""

    def run(page, *words):
        command = [
            CHROMIUM, '--headless', '--no-sandbox', '--hide-scrollbars', '--mute-audio',
            f'--user-data-dir={tmp_path / "profile"}', '--enable-unsafe-swiftshader',
            '--host-resolver-rules=MAP * ~NOTFOUND', '--window-size=1200,1600',
            '--virtual-time-budget=15000', *words, page.as_uri(),
        ]  # fmt: skip
        return subprocess.run(command, check=True, capture_output=True, timeout=240, text=True)

    return run


@pytest.fixture
def opened_page(derivative, ball_head):
    """A page whose slice viewer is open from the start."""
    root = derivative('sub-01_T1w')
    with_figures(root, 'sub-01_T1w', ball_head)
    page = write_subject_report(root, '01', {}, RUN)
    text = page.read_text('utf-8')
    page.write_text(text.replace('<details class="viewer"', '<details open class="viewer"'))
    return page


def stage_of(seen):
    return re.search(r'<div class="stage[^>]*>(.*?)</div>', seen, re.DOTALL)[1]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason='no Chromium on this machine')
class TestInABrowser:
    def test_a_page_is_drawn(self, opened_page, browse, tmp_path):
        browse(opened_page, f'--screenshot={tmp_path / "picture.png"}')
        with Image.open(tmp_path / 'picture.png') as file:
            picture = np.asarray(file.convert('RGB')).astype(int)
        assert picture[:8, :8].min() > 240  # a light page
        assert (picture.max(-1) < 5).mean() > 0.2  # black around the head
        assert ((picture[..., 0] - picture[..., 2]) > 100).sum() > 1000  # outlines

    def test_slider_and_viewer_run(self, opened_page, browse):
        seen = browse(opened_page, '--dump-dom').stdout
        assert 'class="pair sliding"' in seen
        assert '<canvas' in stage_of(seen)
        assert seen.count('class="controls"') == 2  # the template, and the one in use

    def test_without_webgl_the_page_says_so(self, opened_page, browse):
        seen = browse(opened_page, '--dump-dom', '--disable-gpu', '--disable-3d-apis').stdout
        assert 'this browser has no WebGL 2' in stage_of(seen)
        assert 'The pictures above show the same mask.' in stage_of(seen)
