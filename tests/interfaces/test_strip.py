import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline import engine as pe

from pumba_pipe import interfaces
from pumba_pipe.common.errors import InputError, OutputError, PumbaError, WeightsError
from pumba_pipe.interfaces import (
    SaveDerivative,
    SaveFigures,
    SkullStrip,
    SynthesizeHeads,
    strip_mem_gb,
)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEAVY = ('torch', 'SimpleITK', 'matplotlib', 'nilearn', 'niworkflows', 'pandas', 'bids')
EVERY = [
    getattr(interfaces, name)
    for name in interfaces.__all__
    if isinstance(getattr(interfaces, name), type)
]


def test_importing_the_interfaces_imports_nothing_heavy():
    code = (
        'import sys, pumba_pipe.interfaces; '
        f'print(*[name for name in {HEAVY} if name in sys.modules])'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, '')


@pytest.mark.parametrize('interface', EVERY, ids=lambda interface: interface.__name__)
def test_where_a_node_runs_does_not_change_its_hash(interface):
    plain = interface().inputs.get_hashval()[1]
    where = {'use_gpu': True, 'device': 'cuda', 'num_threads': 3, 'resume': False}
    known = {name: value for name, value in where.items() if name in interface().inputs.get()}
    assert interface(**known).inputs.get_hashval()[1] == plain


@pytest.mark.parametrize('interface', EVERY, ids=lambda interface: interface.__name__)
def test_interfaces_pickle(interface):
    again = pickle.loads(pickle.dumps(interface()))
    assert again.inputs.get_hashval() == interface().inputs.get_hashval()


@pytest.mark.parametrize('interface', EVERY, ids=lambda interface: interface.__name__)
def test_fields_are_described(interface):
    assert interface.__doc__
    for spec in (interface.input_spec(), interface.output_spec()):
        for name in spec.copyable_trait_names():
            assert spec.trait(name).desc, name


def test_a_recipe_file_counts_by_its_content(tmp_path):
    recipe = tmp_path / 'own.toml'
    hashes = []
    for neck in (0.1, 0.8):
        recipe.write_text(f"generator = 'shapes'\n[skin]\nneck = {neck}\n")
        hashes.append(SynthesizeHeads(recipe=str(recipe)).inputs.get_hashval()[1])
    assert hashes[0] != hashes[1]


def test_outputs_are_known_before_running(head_file, in_folder):
    outputs = SkullStrip(in_file=str(head_file), out_mask='m.nii.gz')._list_outputs()
    assert outputs['out_file'] == str(in_folder / 'head_desc-brain.nii.gz')
    assert outputs['out_mask'] == str(in_folder / 'm.nii.gz')
    assert outputs['quality'] == str(in_folder / 'head_desc-brain_quality.json')
    assert not {'out_prob', 'out_sdt'} & set(outputs)
    assert not list(in_folder.iterdir())


def test_the_masked_image_is_left_out_on_request(head_file, in_folder):
    found = SkullStrip(in_file=str(head_file), num_threads=1, mask_only=True).run().outputs
    assert not isinstance(found.out_file, str)
    assert sorted(path.name for path in in_folder.iterdir()) == [
        'head_desc-brain_mask.nii.gz', 'head_desc-brain_quality.json',
    ]  # fmt: skip
    assert Path(found.out_mask).parent == in_folder


def test_fields_are_those_of_the_synthstrip_interface():
    inputs, outputs = SkullStrip().inputs, SkullStrip.output_spec()
    names = {'in_file', 'use_gpu', 'model', 'border_mm', 'out_file', 'out_mask', 'num_threads'}
    assert names <= set(inputs.copyable_trait_names())
    assert {'out_file', 'out_mask'} <= set(outputs.copyable_trait_names())
    assert inputs.use_gpu is False


def test_what_is_asked_for_changes_the_hash(head_file):
    def digest(**inputs):
        return SkullStrip(in_file=str(head_file), **inputs).inputs.get_hashval()[1]

    assert digest() == digest(csf='auto')
    changes = ({}, {'border_mm': 1.0}, {'csf': 'exclude'}, {'out_sdt': 'd.nii.gz'})
    assert len({digest(**change) for change in changes}) == 4


def test_node_writes_to_its_own_folder(head_file, in_folder):
    strip = pe.Node(
        SkullStrip(in_file=str(head_file), num_threads=1, out_prob='p.nii.gz', out_sdt='d.nii.gz'),
        name='strip',
        base_dir=str(in_folder),
    )
    outputs = strip.run().outputs
    mask, brain = nib.load(outputs.out_mask), nib.load(outputs.out_file)
    source = nib.load(head_file)
    written = {Path(path).parent for path in outputs.get().values() if isinstance(path, str)}
    assert written == {in_folder / 'strip'}
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, source.affine)
    inside = np.asarray(mask.dataobj) > 0
    np.testing.assert_array_equal(brain.get_fdata()[inside], source.get_fdata()[inside])
    assert not brain.get_fdata()[~inside].any()
    assert nib.load(outputs.out_prob).get_fdata().min() >= 0
    distance = nib.load(outputs.out_sdt).get_fdata()
    assert (distance[inside] < 0).all() and (distance[~inside] > 0).all()
    assert json.loads(Path(outputs.quality).read_text())['volume_ml'] > 0
    assert strip.n_procs == 1


def test_without_use_gpu_no_gpu_is_looked_for(head_file, in_folder, monkeypatch):
    asked = {}

    def strip_file(*files, **options):
        asked.update(options)
        return SimpleNamespace(quality=SimpleNamespace(notes=()))

    monkeypatch.setattr('pumba_pipe.extraction.strip_file.strip_file', strip_file)
    interface = SkullStrip(in_file=str(head_file), device='cuda:7')
    interface._run_interface(None)
    assert asked['device'] == 'cpu'
    interface.inputs.use_gpu = True
    interface._run_interface(None)
    assert asked['device'] == 'cuda:7'


def test_memory_grows_with_the_image():
    assert strip_mem_gb() == strip_mem_gb((256, 256, 256))
    assert strip_mem_gb((64, 64, 64)) < strip_mem_gb((512, 512, 512))
    assert strip_mem_gb((64, 64, 64)) < strip_mem_gb((64, 64, 64, 500)) < 5


def test_derivative_is_described_and_replaced(tmp_path):
    source, quality = tmp_path / 'a.nii.gz', tmp_path / 'q.json'
    quality.write_text('{"expected_dice": 0.5}')
    target = tmp_path / 'out' / 'sub-01' / 'b_mask.nii.gz'
    for content in (b'old', b'new'):
        source.write_bytes(content)
        sink = SaveDerivative(
            in_file=str(source), out_path=str(target), metadata={'Type': 'Brain'},
            quality=str(quality),
        )  # fmt: skip
        assert sink.run().outputs.out_file == str(target)
        assert target.read_bytes() == content
    described = json.loads(target.with_name('b_mask.json').read_text())
    assert (described['Type'], described['Quality']) == ('Brain', {'expected_dice': 0.5})
    assert described['FileRecord']['SHA256'] == hashlib.sha256(b'new').hexdigest()
    assert len(list(target.parent.iterdir())) == 2


def test_a_full_disk_leaves_no_half_written_derivative(tmp_path, monkeypatch):
    def run_out_of_space(source, target):
        Path(target).write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    source, target = tmp_path / 'a.nii.gz', tmp_path / 'out' / 'b.nii.gz'
    source.write_bytes(b'whole')
    monkeypatch.setattr('shutil.copyfile', run_out_of_space)
    with pytest.raises(OutputError, match='No space left'):
        SaveDerivative(in_file=str(source), out_path=str(target), metadata={}).run()
    assert list(target.parent.iterdir()) == []


def test_other_default_weights_change_the_hash(head_file, quick_weights, tmp_path, monkeypatch):
    """A node kept the mask of the weights that were the default before."""
    node = SkullStrip(in_file=str(head_file))
    before = node.inputs.get_hashval()[1]
    other = tmp_path / 'other.safetensors'
    other.write_bytes(quick_weights.read_bytes() + b' ')
    monkeypatch.setenv('PUMBA_WEIGHTS', str(other))
    assert SkullStrip(in_file=str(head_file)).inputs.get_hashval()[1] != before
    monkeypatch.setenv('PUMBA_WEIGHTS', str(tmp_path / 'nowhere.safetensors'))
    with pytest.raises(WeightsError, match='nowhere'):
        SkullStrip(in_file=str(head_file), out_mask='mask.nii.gz').run()


def test_places_of_derivatives_that_are_none(head_file, in_folder):
    source = str(head_file)
    for path in ('', 'mask.nii.gz', '~/mask.nii.gz'):
        with pytest.raises(OutputError, match='is no absolute path; nothing was written'):
            SaveDerivative(in_file=source, out_path=path).run()
    gone = str(in_folder / 'gone.nii.gz')
    with pytest.raises(InputError, match='cannot be kept'):
        SaveDerivative(in_file=source, out_path=gone, keeps='0' * 64).run()
    with pytest.raises(ValueError, match='source_file'):
        SaveDerivative(in_file=source, out_path=gone, source_record={'Size': 1}).run()
    figures = dict.fromkeys(('mosaic', 'before_after', 'thumbnail', 'viewer'), source)
    record = str(in_folder / 'record.json')
    for paths, place, message in (
        ({'picture': gone}, record, "'picture' is none of mosaic"),
        ({'mosaic': 'a.png'}, record, 'no absolute path'),
        ({'mosaic': gone}, 'record.json', 'no absolute path'),
    ):
        with pytest.raises(PumbaError, match=message):
            SaveFigures(**figures, out_paths=paths, record_path=place).run()
    assert not list(in_folder.glob('*.*'))


def test_suffixes_that_are_none(in_folder):
    for suffix in ('', '../T1w', 'T1 w'):
        with pytest.raises(InputError, match='a suffix has letters and digits'):
            SynthesizeHeads(count=1, size=16, suffixes=[suffix]).run()
    assert not list(in_folder.iterdir())
