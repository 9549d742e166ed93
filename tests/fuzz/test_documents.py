"""Any text as sidecar, recipe, configuration, filter or plugin file: read, or one error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pumba_pipe.bids_app.execution.plugin_file import read_plugin
from pumba_pipe.bids_app.options.config_file import as_words, read_options
from pumba_pipe.bids_app.run import main
from pumba_pipe.bids_app.selection.filters import as_query, read_filters
from pumba_pipe.bids_app.selection.species import read_species

from pumba_pipe.common.documents import read_json, read_toml, read_yaml
from pumba_pipe.common.errors import PumbaError
from pumba_pipe.synthesis.recipe import load_recipe

texts = st.text(max_size=20)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, 1e300, -0.0, 2**63])
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
WORDS = (
    'options', 'plugin', 'plugin_args', 'n_procs', 't1w', 'run', 'mem', 'modalities', 'brain',
    'lobes', 'artefact', 'noise', 'generator', '[', ']', '{', '}', '=', ':', '\n', '"', "'", '-',
    '&a', '*a', '!!set', '- ', '? ', '1e999', 'nan', '[1, 2]', '[[', ']]', ',', '#', '\x00',
    '2020-02-30', '0x', '_', '.', '<<: *a', '|', '>', '%',
)  # fmt: skip
soup = st.lists(st.sampled_from(WORDS) | texts, max_size=25).map(' '.join)
contents = soup.map(str.encode) | plain.map(lambda value: json.dumps(value).encode())
contents |= st.binary(max_size=60)
readers = {
    'json': read_json,
    'toml': read_toml,
    'yaml': read_yaml,
    'recipe.toml': load_recipe,
    'plugin.yml': read_plugin,
    'filters.json': lambda path: [as_query(one) for one in read_filters(path).values()],
    'options.toml': lambda path: as_words(read_options(path)),
    'participants.tsv': lambda path: read_species(path.parent),
}


@pytest.mark.parametrize('name', readers)
@given(content=contents)
@settings(max_examples=60)
def test_any_file(tmp_path_factory, within, name, content):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with within():
        try:
            readers[name](path)
        except PumbaError as error:
            assert name in str(error) or name == 'options.toml'  # the parser names that file
            assert len(str(error)) < len(str(path)) + 600


def sidecars():
    """Sidecars that look like ours, with odd values in places that are read."""
    quality = st.dictionaries(
        st.sampled_from(
            [
                'expected_dice',
                'expected_dice_low',
                'volume_ml',
                'flags',
                'notes',
                'components',
                'tta_dice',
            ]
        )
        | texts,
        plain,
        max_size=5,
    )
    sources = st.lists(
        st.sampled_from(
            ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz', 'bids:raw:', 'bids::sub-01', 'bids:raw:/']
        )
        | texts
        | plain,
        max_size=3,
    )
    return st.fixed_dictionaries({}, optional={
        'Quality': quality | plain, 'Sources': sources | plain, 'BrainExtraction': plain,
    }) | plain  # fmt: skip


@given(content=sidecars())
@settings(max_examples=40)
def test_any_record_in_an_output_folder(tmp_path_factory, within, capsys, content):
    base = tmp_path_factory.getbasetemp() / 'records'
    raw, out = base / 'raw', base / 'out'
    anat = out / 'sub-01/anat'
    anat.mkdir(parents=True, exist_ok=True)
    raw.mkdir(exist_ok=True)
    (raw / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    for name, text in (
        ('sub-01_desc-brain_mask', json.dumps(content)),
        ('sub-01_run-2_desc-brain_mask', json.dumps(
            {'Sources': ['bids:raw:sub-01/anat/sub-01_run-2_T1w.nii.gz'],
             'Quality': {'expected_dice': 0.9, 'flags': []}}
        )),
    ):  # fmt: skip
        (anat / f'{name}.nii.gz').touch()
        (anat / f'{name}.json').write_text(text)
    for words in (['group'], ['participant', '--reports-only', '--nprocs', '1']):
        capsys.readouterr()
        with within():
            assert main([str(raw), str(out), *words]) == 0
        printed = capsys.readouterr()
        assert all(line.startswith('pumba: ') for line in printed.err.splitlines())
    assert 'sub-01_run-2_T1w' in (out / 'group_T1w.tsv').read_text()
