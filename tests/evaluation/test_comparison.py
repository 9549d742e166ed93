"""Tables of scores beside those of other tools."""

from pathlib import Path

import pytest

from pumba_pipe.common.errors import InputError
from pumba_pipe.evaluation.comparison import (
    calibration_lines,
    comparison_lines,
    read_peers,
    write_comparison,
)

SCORES = """\
case\tspecies\tmodality\tdice\thd95_mm\tvolume_ratio\texpected_dice\
\texpected_dice_low\texpected_dice_high\tflagged
a\thuman\tT1w\t0.96\t2.0\t1.0\t0.95\t0.90\t0.98\tno
b\thuman\tT2w\t0.90\t4.0\t1.1\t0.70\t0.50\t0.80\tyes
c\tmouse\tT2w\t0.80\t1.0\t1.4\t0.92\t0.75\t0.96\tno
d\tmacaque\tT1w\tn/a\tn/a\tn/a\tn/a\tn/a\tn/a\tn/a
"""
PEERS = """\
# Others

| case | first | second |
|---|---|---|
| a | 0.97 | 0.95 |
| b | 0.91 |  |
| c | 0.70 | 0.60 |
| d | 0.50 |  |

| median | first | second |
|---|---|---|
| human | 9 | 9 |
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    scores, peers = tmp_path / 'scores.tsv', tmp_path / 'peers.md'
    scores.write_text(SCORES, encoding='utf-8')
    peers.write_text(PEERS, encoding='utf-8')
    return scores, peers, tmp_path / 'out.md'


def rows():
    names, *lines = [line.split('\t') for line in SCORES.splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_peers_are_read_from_the_first_table_of_cases(files):
    assert read_peers(files[1]) == {
        'a': {'first': 0.97, 'second': 0.95},
        'b': {'first': 0.91},
        'c': {'first': 0.70, 'second': 0.60},
        'd': {'first': 0.50},
    }


def test_medians_stand_beside_ours_on_the_same_cases(files):
    lines = comparison_lines(rows(), read_peers(files[1]))
    assert '| human | 2 | 0.930 | 0.940 | 0.950 (on 1; ours 0.960) |' in lines
    # nothing was found in d: that counts as 0
    assert '| monkey, ape and rodent | 2 | 0.400 | 0.600 | 0.600 (on 1; ours 0.800) |' in lines


def test_poor_masks_are_counted_by_flag():
    lines = calibration_lines(rows())
    assert '| 0.85 | 1 | 0 | 1 |' in lines
    assert '| 0.93 | 2 | 1 | 0 |' in lines
    # a and c lie within their intervals, b above; of d nothing is known
    assert '| all | 3 | 0.857 | 0.887 | 0.667 | 1 | 1 | 0 | 1 | 0 |' in lines
    assert '| rodent | 1 | 0.920 | 0.800 | 1.000 | 0 | 1 | 0 | 0 | 0 |' in lines
    assert lines[-1].endswith('0.50.')


def test_a_page_is_written(files):
    scores, peers, out = files
    write_comparison(scores, out, peers)
    page = out.read_text('utf-8')
    assert page.index('| d | 0.000 |') < page.index('| c | 0.800 |') < page.index('| a | 0.960 |')
    assert '0.970 (first)' in page
    write_comparison(scores, out)
    assert 'first' not in out.read_text('utf-8').replace('poorest first', '')


@pytest.mark.parametrize('text', ['no table here\n', '| case | x |\n|---|---|\n| a | high |\n'])
def test_what_is_no_table_of_peers_is_refused(tmp_path, text):
    path = tmp_path / 'peers.md'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(InputError, match=r'peers\.md'):
        read_peers(path)


def test_the_page_of_the_documents_says_how_it_was_made(files):
    write_comparison(files[0], files[2])
    documented = Path(__file__).parents[2] / 'docs' / 'accuracy-tables.md'
    head = files[2].read_text('utf-8').splitlines()[:5]
    assert documented.read_text('utf-8').splitlines()[:5] == head


def test_an_empty_mask_has_no_distance(files):
    """Nothing of c overlaps its reference: a Dice of 0 and no HD95."""
    scores, peers, out = files
    scores.write_text(SCORES.replace('0.80\t1.0', '0.0000\tn/a'), encoding='utf-8')
    write_comparison(scores, out, peers)
    assert '| c | 0.000 | n/a | 1.40 | 0.92 (0.75-0.96) | 0.700 (first) |' in out.read_text(
        'utf-8'
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (SCORES.replace('modality', 'kind'), 'has no column modality'),
        (SCORES.splitlines()[0], 'no rows'),
        (SCORES.replace('0.96', 'high'), "line 2, column dice: 'high' is not a number"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(files, text, message):
    files[0].write_text(text, encoding='utf-8')
    with pytest.raises(InputError, match=rf'scores\.tsv: .*{message}'):
        write_comparison(files[0], files[2])
    assert not files[2].exists()


def cells(line):
    return line.strip().strip('|').split('|')


def test_tables_have_as_many_cells_as_columns(files, tmp_path):
    """Without other tools the first table had an empty column more than its rule."""
    scores, _, page = files
    odd = tmp_path / 'odd.tsv'
    odd.write_text(SCORES.replace('\na\t', '\na|<b>\t'))
    for source in (scores, odd):
        write_comparison(source, page)
        tables = [[]]
        for line in page.read_text('utf-8').splitlines():
            if line.startswith('|'):
                tables[-1].append(line)
            elif tables[-1]:
                tables.append([])
        tables = [table for table in tables if table]
        assert len(tables) > 1
        for table in tables:
            assert {len(cells(line)) for line in table} == {len(cells(table[1]))}
    assert 'a&#124;&lt;b>' in page.read_text('utf-8')
