"""`make ablation`: a run differs from the base recipe in what its name says, and in no more."""

import runpy
from pathlib import Path

import pytest

from pumba_pipe.synthesis.recipe import load_recipe

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / '.ci' / 'ablation.py'))


@pytest.mark.parametrize('name', SCRIPT['RUNS'])
def test_a_run_changes_what_it_names(name, tmp_path):
    _, values, _, share = SCRIPT['RUNS'][name]
    path = tmp_path / f'{name}.toml'
    path.write_text(SCRIPT['recipe_text'](values))
    changed, base = load_recipe(path), load_recipe(SCRIPT['BASE'])
    differing = {
        (table, key): value
        for table, entries in changed.tables.items()
        for key, value in entries.items()
        if value != base.tables[table][key]
    }
    expected = {(table, key): value for table in values for key, value in values[table].items()}
    assert differing == expected
    assert 0 < share <= 1


def test_the_table_has_a_row_for_each_run_that_is_done(tmp_path):
    folder = tmp_path / 'scores_none'
    folder.mkdir()
    rows = ['case\tdice', 'human_T1w_a\t0.9', 'human_T1w_b\t0.8', 'human_T2w_a\t0.5', 'dog_a\t']
    (folder / 'scores.tsv').write_text('\n'.join(rows) + '\n')
    head, _, *lines = SCRIPT['table'](tmp_path)
    assert head.count('|') == len(SCRIPT['GROUPS']) + 3
    assert lines == ['| none of those below | 0.850 | 0.500 |  |  |  | 0.000 | 0.550 |']
