"""The group level: tables, pages, outliers."""

import hashlib
import json
import re
from dataclasses import fields

import pytest
from pumba_pipe.bids_app.group import columns
from pumba_pipe.bids_app.run import main

from pumba_pipe.common.tables import cell
from pumba_pipe.extraction.expected_dice import SHORTFALLS
from pumba_pipe.extraction.quality import Quality
from pumba_pipe.reports.findings import find_all
from pumba_pipe.reports.index import write_index
from pumba_pipe.reports.outliers import find_outliers
from pumba_pipe.reports.plots import BASE, LEFT, RIGHT, dot_plot, ticks


@pytest.fixture
def raw(tmp_path):
    """A raw data set that only names its participants."""
    root = tmp_path / 'raw'
    root.mkdir()
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    rows = ['participant_id\tspecies', *(f'sub-m{number}\tmus musculus' for number in range(6))]
    (root / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    return root


@pytest.fixture
def results(derivative):
    """Masks of eight humans, of whom one is small, six mice, and one T2w image."""
    for number in range(8):
        volume = 300.0 if number == 3 else 1300.0 + 9 * number
        root = derivative(f'sub-h{number}_T1w', volume_ml=volume)
    for number in range(6):
        derivative(f'sub-m{number}_T1w', volume_ml=0.4 + 0.01 * number)
    derivative('sub-h0_T2w', flags=['the image looks skull-stripped already'], expected_dice=0.8)
    return root


def group(raw, out, *words):
    return main([str(raw), str(out), 'group', *words])


def table(path):
    head, *rows = (line.split('\t') for line in path.read_text('utf-8').splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_tables(raw, results, capsys):
    assert group(raw, results) == 0
    rows = table(results / 'group_T1w.tsv')
    assert [*rows[0]] == [*columns()] == [*json.loads((results / 'group_T1w.json').read_text())]
    assert len(rows) == 14
    by_name = {row['bids_name']: row for row in rows}
    assert by_name['sub-h0_T1w']['species'] == 'n/a'
    assert by_name['sub-m0_T1w']['species'] == 'mus musculus'
    assert by_name['sub-m0_T1w']['outlying'] == 'n/a'
    assert re.fullmatch(r'volume_ml: -\d+\.\d', by_name['sub-h3_T1w']['outlying'])
    (other,) = table(results / 'group_T2w.tsv')
    assert other['flags'] == 'the image looks skull-stripped already'
    assert other['already_stripped'] == 'false'
    out = capsys.readouterr().out
    assert 'group_T1w.tsv: 14 images, 1 to look at' in out
    assert 'group_T2w.html' in out


def test_participants_without_any_mask_are_named(raw, results, capsys):
    for label in ('h0', 'm1', 'lost', 'gone'):
        (raw / f'sub-{label}').mkdir()
    assert group(raw, results) == 0
    assert 'without a mask in the tables: sub-gone, sub-lost; ' in capsys.readouterr().out
    assert group(raw, results, '--participant-label', 'h0', 'gone') == 0
    out = capsys.readouterr().out
    assert 'without a mask in the tables: sub-gone; ' in out
    assert 'group_T1w.tsv: 1 image, ' in out
    assert group(raw, results, '--modalities', 'T2w') == 0
    assert 'without a mask in the tables: sub-gone, sub-lost; ' in capsys.readouterr().out
    assert group(raw, results, '--species', 'mouse') == 0
    assert 'without a mask in the tables' not in capsys.readouterr().out


@pytest.mark.parametrize('name', ['desc-brain_mask', 'space-T2w_desc-brain_mask'])
def test_a_mask_without_a_quality_record_is_named(name, raw, results, capsys):
    """Its participant was said to have no mask."""
    sidecar = next(results.rglob(f'sub-h0_{name}.json'))
    content = json.loads(sidecar.read_text('utf-8'))
    del content['Quality']
    sidecar.write_text(json.dumps(content))
    assert group(raw, results) == 0
    assert f'left out: {sidecar.with_suffix(".nii.gz")}: no quality record' in (
        capsys.readouterr().out
    )


def test_tables_have_the_whole_quality_record():
    assert {field.name for field in fields(Quality)} < set(columns())


def test_one_asks_for_some_images(raw, results):
    assert group(raw, results, '--participant-label', 'h0', 'm1', '--modalities', 'T1w') == 0
    names = [row['bids_name'] for row in table(results / 'group_T1w.tsv')]
    assert names == ['sub-h0_T1w', 'sub-m1_T1w']
    assert not (results / 'group_T2w.tsv').exists()
    assert group(raw, results, '--species', 'mouse', '--modalities', 'T1w') == 0
    assert len(table(results / 'group_T1w.tsv')) == 6


def test_no_results_are_one_line(raw, tmp_path, capsys):
    assert group(raw, tmp_path / 'nothing') == 2
    assert 'run the participant level first' in capsys.readouterr().err


def test_a_page_leads_to_those_of_participants(raw, results):
    (results / 'sub-h3.html').write_text('a page')
    assert group(raw, results) == 0
    page = (results / 'group_T1w.html').read_text('utf-8')
    assert '14 images of' in page
    assert page.count('href="sub-h3.html#image-sub-h3_T1w"') == 9  # 8 dots and a row
    assert 'sub-h1.html' not in page
    assert 'volume low (z = -' in page
    assert page.count('<circle class="out"') == 1
    assert page.count('<circle class="dot"') == 8 * 14 - 1
    assert page.count('<script') == 1
    assert set(re.findall(r'(?:src|href)="(?!#|sub-)[^"]*"', page)) == {'href="index.html"'}


def test_a_page_escapes_what_it_shows(raw, derivative):
    evil = '<script>alert(1)</script>'
    root = derivative('sub-01_T1w', flags=[evil], volume_ml=evil, expected_dice=evil)
    (raw / 'participants.tsv').write_text(f'participant_id\tspecies\nsub-01\t{evil}\n')
    assert group(raw, root) == 0
    page = (root / 'group_T1w.html').read_text('utf-8')
    assert page.count('<script') == 1
    assert page.count('&lt;script&gt;') >= 3


def test_no_pages_when_none_are_wanted(raw, results):
    assert group(raw, results, '--no-reports') == 0
    assert not list(results.glob('*.html'))


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, 'n/a'),
        ([], 'n/a'),
        (' \t', 'n/a'),
        (True, 'true'),
        (['a', 'b\n'], 'a; b'),
        (1.5, '1.5'),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


class TestOutliers:
    def test_a_value_unlike_many_equal_ones_is_one(self, derivative):
        for number in range(9):
            root = derivative(f'sub-{number}_T1w', edge_contact=0.3 if number == 4 else 0.0)
        assert [[*one] for one in find_outliers(find_all(root))] == [
            ['edge_contact'] if number == 4 else [] for number in range(9)
        ]

    @pytest.mark.parametrize(
        'quality', [{'expected_dice': 0.99}, {'components': 2}, {'boundary_certainty': 0.79}]
    )
    def test_what_is_better_or_hardly_worse_is_none(self, derivative, quality):
        for number in range(9):
            root = derivative(f'sub-{number}_T1w', **(quality if number == 4 else {}))
        assert find_outliers(find_all(root)) == [{}] * 9

    def test_few_images_are_not_judged(self, derivative):
        for number in range(4):
            root = derivative(f'sub-{number}_T1w', volume_ml=1.0 if number == 1 else 1300.0)
        assert find_outliers(find_all(root)) == [{}] * 4

    def test_what_is_missing_is_left_out(self, derivative):
        for number in range(8):
            root = derivative(
                f'sub-{number}_T1w', volume_ml=None if number == 1 else 1300.0 + number
            )
        assert find_outliers(find_all(root)) == [{}] * 8


class TestPlots:
    @pytest.mark.parametrize(
        'values', [[1.0], [0.0] * 5, [-3.0, 1e6], [0.1 * n for n in range(900)]]
    )
    def test_dots_lie_in_the_drawing(self, values):
        plot = dot_plot(values)
        assert len(plot.places) == len(values)
        assert all(LEFT <= x <= RIGHT and 0 < y < BASE for x, y in plot.places)
        assert plot.quartiles[0] <= plot.quartiles[1] <= plot.quartiles[2]
        assert 1 <= len(plot.ticks) <= 7

    def test_dots_keep_the_order_of_their_values(self):
        plot = dot_plot([3.0, 1.0, 2.0])
        x = [place[0] for place in plot.places]
        assert x[1] < x[2] < x[0]

    def test_counts_have_whole_ticks(self):
        assert [text for _, text in ticks(0.9, 3.1, whole=True)] == ['1', '2', '3']
        assert [text for _, text in dot_plot([1, 1, 2]).ticks] == ['1', '2']


class TestRatings:
    @pytest.fixture
    def rate(self, tmp_path):
        def write(*rows, head='bids_name\trating\tnote\tmask', name='ratings.tsv'):
            path = tmp_path / name
            path.write_text('\n'.join([head, *('\t'.join(row) for row in rows)]) + '\n')
            return path

        return write

    def test_they_go_into_tables_and_pages(self, raw, results, rate, capsys):
        evil = '<script>alert(1)</script>'
        mask = hashlib.sha256(b'a mask').hexdigest()[:16]
        ratings = rate(
            ('sub-h0_T1w', 'Keep', 'n/a', mask),
            ('sub-h3_T1w', 'exclude', evil, 'n/a'),
            ('sub-h0_T2w', 'n/a', 'ask Ann', ''),
        )
        assert group(raw, results, '--ratings', str(ratings)) == 0
        rows = {row['bids_name']: row for row in table(results / 'group_T1w.tsv')}
        assert [rows[f'sub-h{n}_T1w']['rating'] for n in (0, 1, 3)] == ['keep', 'n/a', 'exclude']
        assert rows['sub-h3_T1w']['rating_note'] == evil
        explained = json.loads((results / 'group_T1w.json').read_text())
        assert list(explained['rating']['Levels']) == ['keep', 'correct', 'exclude']
        out = capsys.readouterr().out
        assert '1 to look at; ratings: 1 keep, 0 correct, 1 exclude, 12 not rated' in out
        page = (results / 'group_T1w.html').read_text()
        assert 'Ratings:</strong> 1 keep, 0 correct, 1 exclude, 12 not rated.' in page
        for text in (page, (results / 'index.html').read_text()):
            assert text.count('<script') == 1 and '&lt;script&gt;alert' in text
        assert 'data-rating="exclude"' in (results / 'index.html').read_text()
        assert 'ask Ann' in (results / 'group_T2w.html').read_text()

    def test_no_note_is_lost_where_an_image_is_in_several_tables(self, raw, results, rate):
        first = rate(('sub-h0_T1w', 'keep', 'blurred', ''), ('sub-h0_T1w', 'keep', '', ''))
        second = rate(('sub-h0_T1w', 'keep', 'ask Ann', ''), name='b.tsv')
        assert group(raw, results, '--ratings', str(first), str(second)) == 0
        (row,) = (
            row for row in table(results / 'group_T1w.tsv') if row['bids_name'] == 'sub-h0_T1w'
        )
        assert row['rating_note'] == 'blurred; ask Ann'

    def test_a_run_without_them_says_that_they_go(self, raw, results, rate, capsys):
        ratings = rate(('sub-h0_T1w', 'keep', '', ''))
        assert group(raw, results, '--ratings', str(ratings)) == 0
        assert 'loses' not in capsys.readouterr().out
        assert group(raw, results) == 0
        out = capsys.readouterr().out
        table = results / 'group_T1w.tsv'
        assert f'{table}: loses its ratings; to have them again, give --ratings' in out
        assert 'group_T2w.tsv: loses' not in out  # of which none was rated

    def test_without_them_nothing_is_said_of_them(self, raw, results, capsys):
        assert group(raw, results) == 0
        assert 'rating' not in capsys.readouterr().out
        assert 'rating' not in (results / 'group_T1w.tsv').read_text()

    def test_rows_that_cannot_be_used_are_a_line_each(self, raw, results, rate, capsys):
        first = rate(
            ('sub-h0_T1w', 'keep'),
            ('sub-nobody_T1w', 'keep'),
            ('sub-h1_T1w', 'good'),
            ('sub-h2_T1w', 'keep'),
            head='bids_name\trating',
        )
        second = rate(
            ('sub-h0_T1w', 'keep'), ('sub-h2_T1w', 'exclude'), name='b.tsv'
        )  # fmt: skip
        assert group(raw, results, '--ratings', str(first), str(second)) == 2
        lines = capsys.readouterr().err.splitlines()
        start = 'pumba: error: --ratings'
        assert lines == [
            f"{start} {first}: 'sub-nobody_T1w': there is no mask of such an image; take "
            'names from the column bids_name of a group table, such as sub-h0_T1w',
            f"{start} {first}: 'sub-h1_T1w': the rating 'good' is none of keep, correct, exclude",
            f"{start} {second}: 'sub-h2_T1w': is rated exclude here and keep in {first}; keep "
            'one of both',
            'pumba: error: --ratings: 3 rows cannot be used; mend or remove them',
        ]
        assert not list(results.glob('group_*')) and not (results / 'index.html').exists()

    def test_ratings_of_an_earlier_mask_are_left_out(self, raw, results, rate, capsys):
        ratings = rate(('sub-h0_T1w', 'exclude', '', '0123456789abcdef'))
        assert group(raw, results, '--ratings', str(ratings)) == 0
        out = capsys.readouterr().out
        assert "'sub-h0_T1w': rated before its mask was changed; left out" in out
        assert 'ratings: 0 keep, 0 correct, 0 exclude, 14 not rated' in out

    @pytest.mark.parametrize(
        ('content', 'words'),
        [
            (
                'a\tb\n1\t2\n',
                'is not a table of ratings, as the pages export it, it has no column',
            ),
            (
                'bids_name,rating\na,keep\n',
                'has no column bids_name, rating; separate its columns',
            ),
            ('bids_name\trating\n', 'has no rows'),
            (b'\xff\xfe\x00', 'not UTF-8'),
        ],
    )
    def test_other_files_are_one_line(self, raw, results, tmp_path, content, words, capsys):
        path = tmp_path / 'x.tsv'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert group(raw, results, '--ratings', str(path)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line and str(path) in line

    def test_only_the_group_level_reads_them(self, raw, results, rate, capsys):
        ratings = str(rate(('sub-h0_T1w', 'keep')))
        assert main([str(raw), str(results), 'participant', '--ratings', ratings]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert '--ratings: only the group level reads ratings' in line


class TestIndex:
    def test_those_of_low_quality_come_first(self, derivative, raw):
        root = derivative('sub-b_T1w', expected_dice=0.8)
        derivative('sub-a_T1w', expected_dice=0.9)
        derivative('sub-c_T1w', expected_dice=None)
        moves = SHORTFALLS['gamma_dice']
        flags = [f'expected Dice 0.30 (0.10-0.60): {moves}']
        derivative('sub-d_T2w', expected_dice=0.3, gamma_dice=0.9, reasons=[moves], flags=flags)
        (root / 'sub-e.html').write_text('a page')
        assert group(raw, root) == 0
        page = (root / 'index.html').read_text('utf-8')
        names = re.findall(r'data-name="([^"]*)"', page)
        assert names == ['sub-d_T2w', 'sub-b_T1w', 'sub-a_T1w', 'sub-c_T1w']
        assert 'Why: Dice 0.900 with the mask of the brightened image' in page
        assert re.findall(r'<a href="([^"]*)"', page) == [
            'group_T1w.html', 'group_T2w.html', 'sub-e.html'
        ]  # fmt: skip

    def test_it_says_what_is_not_written_yet(self, derivative):
        root = derivative('sub-a_T1w')
        page = write_index(root, find_all(root)).read_text('utf-8')
        assert 'Group page of T1w images: not written yet' in page
        assert 'id="group-T1w"' in page

    def test_it_needs_nothing_but_itself_and_escapes_everything(self, derivative):
        evil = '"><script>alert(1)</script>'
        root = derivative('sub-a_T1w', flags=[evil], expected_dice=0.2)
        (root / 'dataset_description.json').write_text(json.dumps({'Name': evil}))
        (root / f'sub-{evil.replace("/", "")}.html').write_text('a page')
        page = write_index(root, find_all(root)).read_text('utf-8')
        assert page.count('<script') == 1
        assert page.count('&lt;script&gt;') >= 4
        assert 'default-src &#39;none&#39;' in page
        assert re.findall(r'(?:src|href)="(?!sub-|data:)[^"]*"', page) == []
