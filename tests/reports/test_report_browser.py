"""Pages in a real browser, from disk and without network."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pumba_pipe.bids_app.run import main

from pumba_pipe.images.drawing import OUTLINE
from pumba_pipe.reports.figures import write_figures
from pumba_pipe.reports.findings import find_all
from pumba_pipe.reports.index import write_index
from pumba_pipe.reports.naming import figure_paths
from pumba_pipe.reports.records import RunSummary
from pumba_pipe.reports.subject import write_subject_report

spec = importlib.util.spec_from_file_location('browser', Path(__file__).with_name('browser.py'))
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not helper.CHROMIUM, reason='no Chromium on this machine'),
]
VIEWER_OPEN = "document.querySelector('details.viewer').open = true"
VIEWER_READY = "document.querySelector('.place')?.textContent"
WIDTH = '[document.documentElement.scrollWidth, innerWidth]'


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with helper.Browser(tmp_path_factory.mktemp('browser')) as one:
        yield one


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    """Where the data set is kept once it is made."""
    return tmp_path_factory.mktemp('store') / 'kept'


@pytest.fixture
def data_set(store, derivative, ball_head, tmp_path):
    """A derivative data set with all its pages: two participants, three images, a bad one."""
    if not store.exists():
        make_data_set(derivative, ball_head, tmp_path / 'bids')
        store.mkdir()
        for name in ('bids', 'out'):
            shutil.move(tmp_path / name, store / name)
    for name in ('bids', 'out'):
        shutil.copytree(store / name, tmp_path / name)
    return tmp_path / 'out'


def make_data_set(derivative, ball_head, raw):
    root = derivative('sub-01_T1w', expected_dice=0.9)
    derivative('sub-01_T2w', expected_dice=0.95)
    flags = ['expected Dice 0.20 (0.10-0.40): the border is unsure']
    derivative('sub-02_T1w', expected_dice=0.2, gamma_dice=0.93, flags=flags)
    files = ball_head()
    for name in ('sub-01_T1w', 'sub-01_T2w', 'sub-02_T1w'):
        write_figures(*files, figure_paths(root, Path(f'{name}.nii.gz')))
    whole = root / 'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz'
    shutil.copy(files[0], whole)
    sidecar = whole.with_name('sub-01_desc-preproc_T1w.json')
    sidecar.write_text('{"Sources": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]}')
    raw.mkdir()
    (raw / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    for _ in range(2):  # the second time, participants' pages know of the group pages
        for subject in ('01', '02'):
            write_subject_report(root, subject, {}, RunSummary('1.2.3'))
        assert main([str(raw), str(root), 'group']) == 0


def seen(browser, selector='body'):
    """Pixels of an element, as a person sees them."""
    x, y, width, height = browser.run(
        f'(() => {{ const one = document.querySelector({json.dumps(selector)});'
        'one.scrollIntoView({ block: "center" }); const box = one.getBoundingClientRect();'
        'return [box.left, box.top, box.width, box.height]; })()'
    )
    browser.screenshot(browser.folder / 'seen.png')
    picture = Image.open(browser.folder / 'seen.png').convert('RGB')
    box = (round(x), round(max(y, 0)), round(x + width), round(min(y + height, picture.height)))
    return np.asarray(picture.crop(box)).astype(int)


def is_line(pixels):
    return np.abs(pixels - OUTLINE).max(-1) < 40


def place(browser):
    """Place of the viewer's crosshair in mm."""
    words = browser.run(VIEWER_READY)
    return [float(value) for value in re.findall(r'[xyz] (-?[\d.]+)', words)]


def test_a_page_is_drawn(browser, data_set):
    browser.open(data_set / 'sub-01.html')
    page = seen(browser)
    assert page[:8, :8].min() > 240  # a light page
    mosaic = seen(browser, '.enlarge img')
    assert (mosaic.max(-1) < 5).mean() > 0.2  # black around the head
    assert is_line(mosaic).sum() > 1000
    assert browser.run("document.querySelectorAll('.pair.sliding').length") == 2


def test_a_picture_is_enlarged_by_a_click_and_small_again_by_a_key(browser, data_set):
    browser.open(data_set / 'sub-01.html')
    browser.resize(700, 700)
    before = browser.run("document.querySelector('.enlarge img').clientWidth")
    browser.click('.enlarge img')
    shown = "document.querySelector('dialog[open] img')?.clientWidth ?? 0"
    assert browser.run(shown) >= 2 * before
    browser.press('Escape')
    assert browser.run(shown) == 0
    browser.click('.pair .enlarge')
    assert browser.run(shown) >= 2 * before
    browser.click('dialog img')
    assert browser.run(shown) == 0
    browser.resize(1200, 1000)


def test_keys_move_through_every_voxel(browser, data_set):
    browser.open(data_set / 'sub-01.html')
    browser.run(VIEWER_OPEN)
    assert 'every voxel is shown' in browser.wait_for(VIEWER_READY)
    x, y, z = place(browser)
    step = 2.0  # mm, a voxel
    moves = {
        'ArrowRight': (1, 0, 0), 'ArrowLeft': (-1, 0, 0), 'ArrowUp': (0, 1, 0),
        'ArrowDown': (0, -1, 0), 'PageUp': (0, 0, 1), 'PageDown': (0, 0, -1),
    }  # fmt: skip
    for key, move in moves.items():  # the axial plane is in use first
        browser.press('Home', key)
        assert place(browser) == [
            at + step * by for at, by in zip((x, y, z), move, strict=True)
        ], key  # fmt: skip
    browser.press('Home', '3', 'ArrowRight', 'ArrowUp', 'PageUp')  # sagittal
    assert place(browser) == [x + step, y + step, z + step]
    browser.press('Home')
    browser.click('.plane[data-axis="1"] canvas')
    assert place(browser)[1] == y


def test_outline_and_crosshair_are_seen_and_go_away(browser, data_set):
    browser.open(data_set / 'sub-01.html')
    browser.run(VIEWER_OPEN)
    browser.wait_for(VIEWER_READY)
    axial = '.plane[data-axis="2"] canvas'
    with_both = seen(browser, axial)
    line = is_line(with_both)
    assert line.sum() > 150
    rows, columns = np.nonzero(line[3:-3, 3:-3])
    around = [
        with_both[row : row + 7, column : column + 7].sum(-1).min()
        for row, column in zip(rows, columns, strict=True)
    ]
    assert np.mean(np.array(around) < 150) > 0.95  # dark seams
    blue = lambda pixels: (pixels[..., 2] - pixels[..., 0] > 50).sum()  # noqa: E731
    assert blue(with_both) > 200
    browser.press('c')
    assert blue(seen(browser, axial)) < 20
    browser.press('o')
    assert is_line(seen(browser, axial)).sum() < 20
    browser.press('f')
    tinted = seen(browser, axial)
    assert (tinted[..., 0] - tinted[..., 2] > 20).mean() > 0.1
    assert browser.run("document.querySelector('[name=outline]').checked") is False


def test_what_a_browser_cannot_show_is_said(browser, data_set):
    hide = 'delete window.DecompressionStream'
    script = browser.ask('Page.addScriptToEvaluateOnNewDocument', source=hide)
    browser.open(data_set / 'sub-01.html')
    browser.run(VIEWER_OPEN)
    words = "document.querySelector('.stage').textContent"
    assert browser.wait_for(f"{words}.includes('does not run here') && {words}")
    assert 'The pictures above show the same mask.' in browser.run(words)
    browser.ask('Page.removeScriptToEvaluateOnNewDocument', identifier=script['identifier'])


def test_pages_fit_onto_a_telephone(browser, data_set):
    browser.resize(390, 844)
    for page in ('index', 'sub-01', 'sub-02', 'group_T1w'):
        browser.open(data_set / f'{page}.html')
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        if page.startswith('sub'):
            browser.wait_for(VIEWER_READY)
        content, window = browser.run(WIDTH)
        assert window == 390 and content <= 390, page
    browser.resize(1200, 1000)


def test_pages_lead_to_each_other_both_ways(browser, data_set):
    links = {}
    for page in sorted(data_set.glob('*.html')):
        browser.open(page)
        addresses = browser.run(  # of dots in a drawing they are objects
            "[...document.querySelectorAll('a[href]')].map((one) => one.href.baseVal ?? one.href)"
        )
        paths = [address.removeprefix('file://').split('#')[0] for address in addresses]
        local = [data_set / path for path in paths if path]
        assert all(path.is_file() for path in local), page
        links[page.name] = {path.name for path in local}
    subjects, groups = {'sub-01.html', 'sub-02.html'}, {'group_T1w.html', 'group_T2w.html'}
    assert links['index.html'] >= subjects | groups
    assert links['sub-01.html'] >= {'index.html'} | groups
    assert links['sub-02.html'] >= {'index.html', 'group_T1w.html'}
    assert links['group_T1w.html'] >= {'index.html'} | subjects


def test_the_index_is_sorted_and_searched(browser, data_set):
    browser.open(data_set / 'index.html')
    names = "[...document.querySelectorAll('.card')].filter((c) => !c.hidden).map((c) => c.id)"
    assert browser.run(names) == ['sub-02_T1w', 'sub-01_T1w', 'sub-01_T2w']
    assert browser.run("document.querySelectorAll('.card img').length") == 3

    def choose(name, value):
        browser.run(
            f'{{ const one = document.getElementById("{name}"); one.value = "{value}";'
            'one.dispatchEvent(new Event("input")); }'
        )
        return browser.run(names)

    assert choose('sort', '-quality') == ['sub-01_T2w', 'sub-01_T1w', 'sub-02_T1w']
    assert choose('sort', 'name') == ['sub-01_T1w', 'sub-01_T2w', 'sub-02_T1w']
    assert choose('search', 't2W') == ['sub-01_T2w']
    choose('search', '')
    assert choose('show', 'doubtful') == ['sub-02_T1w']


def rated(browser):
    return browser.run(
        "[...document.querySelectorAll('form.rating')].map((one) => "
        "[one.dataset.image, one.querySelector('input:checked')?.value ?? '', "
        'one.elements.note.value])'
    )


def test_ratings_stay_are_exported_and_read_by_the_group_level(
    browser, data_set, tmp_path, capsys
):
    browser.open(data_set / 'sub-01.html')
    browser.run('localStorage.clear()')
    browser.click('#image-sub-01_T1w [value=keep]')
    browser.click('#image-sub-01_T2w [value=exclude]')
    browser.click('#image-sub-01_T2w [name=note]')
    browser.press(*'a=1')
    browser.open(data_set / 'sub-01.html')
    expected = [['sub-01_T1w', 'keep', ''], ['sub-01_T2w', 'exclude', 'a=1']]
    assert rated(browser) == expected
    browser.open(data_set / 'index.html')
    assert sorted(rated(browser)) == [*expected, ['sub-02_T1w', '', '']]
    assert '2 of 3 rated: 1 keep, 0 correct, 1 exclude.' in browser.run('document.body.innerText')
    downloads = browser.save_downloads()
    browser.click('.export button')
    table = downloads / 'ratings_index.tsv'
    wait_for_file(browser, table)
    assert table.read_text().startswith('bids_name\trating\tnote\tmask\n')
    raw = tmp_path / 'bids'
    assert main([str(raw), str(data_set), 'group', '--ratings', str(table)]) == 0
    out = capsys.readouterr().out
    assert '1 to look at; ratings: 1 keep, 0 correct, 0 exclude, 1 not rated' in out
    assert 'exclude\ta=1\n' in (data_set / 'group_T2w.tsv').read_text()


def wait_for_file(browser, path):
    for _ in range(200):
        if path.is_file():
            return
        browser.run('new Promise((done) => setTimeout(done, 50))')
    raise TimeoutError(path)


def test_ratings_of_two_data_sets_do_not_mix(browser, data_set, tmp_path):
    for name in ('first', 'second'):
        shutil.copytree(data_set, tmp_path / name)
        write_index(tmp_path / name, find_all(tmp_path / name))
    browser.open(tmp_path / 'first/index.html')
    browser.click('#sub-01_T1w [value=correct]')
    browser.open(tmp_path / 'second/index.html')
    assert not any(rating for _, rating, _ in rated(browser))
    browser.open(tmp_path / 'first/index.html')
    assert [rating for _, rating, _ in rated(browser)] == ['', 'correct', '']
    (tmp_path / 'first/sub-01/anat/sub-01_desc-brain_mask.nii.gz').write_bytes(b'edited')
    write_index(tmp_path / 'first', find_all(tmp_path / 'first'))
    browser.open(tmp_path / 'first/index.html')
    assert not any(rating for _, rating, _ in rated(browser))


def test_commands_hold_the_paths_on_this_machine(browser, data_set, tmp_path):
    place = tmp_path / "a data set's"
    shutil.copytree(data_set, place)
    browser.open(place / 'sub-01.html')
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    (command, *_) = browser.run(
        "[...document.querySelectorAll('.commands code')].map((one) => one.textContent)"
    )
    mask = str(place / 'sub-01/anat/sub-01_desc-brain_mask.nii.gz').replace("'", "'\\''")
    assert f"'{mask}':colormap" in command
    browser.ask('Browser.grantPermissions', permissions=['clipboardReadWrite'])
    browser.click('.commands button')
    assert browser.wait_for("document.querySelector('.commands button').textContent == 'copied'")
    assert browser.run('navigator.clipboard.readText()') == command
