"""Our brain extraction in place of parts that are tagged for it, as that of NiBabies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.utility import IdentityInterface, Merge
from nipype.pipeline import engine as pe
from pumba_pipe.workflows import init_infant_brain_extraction_wf, splice_brain_extraction
from pumba_pipe.workflows.splicing import INPUT, OUTPUTS, TAG

from pumba_pipe.common.errors import InputError
from pumba_pipe.images.masks import dice

pytest.importorskip('niworkflows.engine.splicer', reason='niworkflows is not installed')

# NiBabies takes seconds to import and keeps the folder of TemplateFlow: another process.
BUILD = """
import json, sys
import nibabies.workflows.anatomical.fit as fit
from nibabies import config
from niworkflows.utils.spaces import Reference, SpatialReferences
from nipype.pipeline import engine as pe
from pumba_pipe.workflows import splice_brain_extraction

folder, t2w, kind = sys.argv[1:]
config.execution.work_dir = folder
common = dict(
    age_months=2, bids_root=folder, longitudinal=False, omp_nthreads=1, output_dir=folder,
    segmentation_atlases=None, skull_strip_mode='force',
    skull_strip_template=Reference('X', {'cohort': '1'}), skull_strip_fixed_seed=False,
    sloppy=True, spaces=SpatialReferences([Reference('X', {'cohort': '1'})], checkpoint=True),
    cifti_output=False,
    t2w=[t2w], flair=[], precomputed={}, recon_method=None,
)
if kind == 'both':
    anat = fit.init_infant_anat_fit_wf(t1w=[t2w], reference_anat='T1w', **common)
else:
    anat = fit.init_infant_single_anat_fit_wf(t1w=[], reference_anat='T2w', **common)
root = pe.Workflow('root')
root.add_nodes([anat])
splice_brain_extraction(root, omp_nthreads=1, sloppy=True)
root._generate_flatgraph()
part = '.infant_brain_extraction_wf.'
nodes = [node for node in root._graph.nodes if part in str(node)]
edges = {
    (node.name, source[0] if isinstance(source, tuple) else source, target)
    for node in nodes
    for _, other, data in root._graph.out_edges(node, data=True)
    if part not in str(other)
    for source, target in data['connect']
}
inside = sorted({str(node).split('.')[-1] for node in nodes})
print(json.dumps({'nodes': inside, 'edges': sorted(edges)}))
"""


def init_theirs_wf(name: str, *, tag: str = TAG, field: str = INPUT) -> pe.Workflow:
    """A workflow with one part that is tagged, and hands all of its outputs on."""
    tagged = pe.Workflow('theirs_wf')
    tagged._tag = tag
    for node, fields in (('inputnode', [field]), ('outputnode', OUTPUTS)):
        tagged.add_nodes([pe.Node(IdentityInterface(fields=list(fields)), name=node)])
    workflow = pe.Workflow(name)
    inputnode = pe.Node(IdentityInterface(fields=['image']), name='inputnode')
    gather = pe.Node(Merge(len(OUTPUTS)), name='gather')
    workflow.connect(
        [
            (inputnode, tagged, [('image', f'inputnode.{field}')]),
            (tagged, gather, [(f'outputnode.{x}', f'in{n}') for n, x in enumerate(OUTPUTS, 1)]),
        ]
    )
    return workflow


def data(path: Path | str) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_ours_runs_in_place_of_theirs(head_file, head, tmp_path):
    workflow = splice_brain_extraction(init_theirs_wf('whole'), omp_nthreads=1, sloppy=True)
    workflow.base_dir = str(tmp_path)
    workflow.inputs.inputnode.image = str(head_file)
    (gather,) = (node for node in workflow.run('Linear').nodes if node.name == 'gather')
    found = dict(zip(OUTPUTS, map(data, gather.result.outputs.out), strict=True))
    mask, corrected = found['out_mask'] > 0, found['t2w_preproc']
    assert dice(mask, head[1] > 0) > 0.8
    assert found['out_probmap'][mask].min() >= 0.5
    assert found['out_probmap'].max() <= 1
    np.testing.assert_array_equal(found['t2w_brain'], np.where(mask, corrected, 0))
    assert np.corrcoef(corrected[mask], data(head_file)[mask])[0, 1] > 0.8
    assert not np.array_equal(corrected, data(head_file))


def test_every_tagged_part_is_replaced():
    """Also of two in one workflow, and where nothing is connected with what is around it."""
    root, people = pe.Workflow('root'), [init_theirs_wf('sub_01'), init_theirs_wf('sub_02')]
    second = init_theirs_wf('whole').get_node('theirs_wf').clone('second')
    second._tag = TAG
    people[1].connect(second, 'outputnode.out_mask', pe.Node(Merge(1), name='more'), 'in1')
    root.add_nodes(people)
    assert splice_brain_extraction(root) is root
    for name in ('sub_01.theirs_wf', 'sub_02.theirs_wf', 'sub_02.second'):
        assert root.get_node(name).get_node('strip') is not None, name
    once = root.get_node('sub_01.theirs_wf')
    splice_brain_extraction(root, border_mm=2.0)  # ours is tagged, too
    again = root.get_node('sub_01.theirs_wf')
    assert again is not once
    assert again.get_node('strip').inputs.border_mm == 2


def test_what_cannot_be_replaced_is_said():
    with pytest.raises(InputError, match=r'no part of it is tagged anat\.brain-extraction'):
        splice_brain_extraction(init_theirs_wf('whole', tag='anat.recon'))
    workflow = init_theirs_wf('whole', field='bold')
    with pytest.raises(InputError, match=r'whole\.theirs_wf: is connected by inputnode\.bold'):
        splice_brain_extraction(workflow)
    assert workflow.get_node('theirs_wf').get_node('strip') is None
    with pytest.raises(TypeError, match='no argument age_month'):
        init_infant_brain_extraction_wf(age_month=1)


SINGLE = [
    ('out_mask', 'anat_mask'),
    ('t2w_brain', 'anat_brain'),
    ('t2w_preproc', 'anat_preproc'),
]
BOTH = [
    ('out_mask', 't2w_mask'),
    ('out_probmap', 't2w_probmap'),
    ('t2w_brain', 't2w_brain'),
    ('t2w_preproc', 't2w_preproc'),
]


@pytest.mark.parametrize(('kind', 'edges'), [('single', SINGLE), ('both', BOTH)])
def test_nibabies(kind, edges, head, head_file, tmp_path):
    pytest.importorskip('nibabies', reason='nibabies is not installed')
    folder = tmp_path / 'templateflow/tpl-X/cohort-1'
    folder.mkdir(parents=True)
    names = [f'tpl-X_cohort-1_{name}.nii.gz' for name in ('T1w', 'desc-brain_mask')]
    for name, array in zip(names, head, strict=True):
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), folder / name)
    (folder.parent / 'template_description.json').write_text('{"Identifier": "X", "Name": "X"}')
    t2w = tmp_path / 'sub-01_T2w.nii.gz'
    t2w.write_bytes(head_file.read_bytes())
    settings = {'TEMPLATEFLOW_HOME': str(tmp_path / 'templateflow'), 'NO_ET': '1'}
    done = subprocess.run(
        [sys.executable, '-c', BUILD, str(tmp_path), str(t2w), kind],
        capture_output=True,
        text=True,
        env={**os.environ, **settings, 'TEMPLATEFLOW_AUTOUPDATE': '0', 'FS_LICENSE': ''},
        cwd=sys.prefix,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    built = json.loads(done.stdout.strip().splitlines()[-1])
    assert {'strip', 'inu_n4_final', 'apply_mask'} <= set(built['nodes'])
    assert 'norm' not in built['nodes']
    assert built['edges'] == [['outputnode', ours, theirs] for ours, theirs in edges]
