"""In place of niworkflows' brain extraction in sMRIPrep, and its results found by sMRIPrep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.workflows import StripSettings
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.templates import find_template, parse_space

# sMRIPrep takes seconds to import and keeps the folder of TemplateFlow: another process.
BUILD = """
import json, sys
import smriprep.workflows.anatomical as anatomical
from niworkflows.utils.spaces import Reference, SpatialReferences
from pumba_pipe.workflows import init_brain_extraction_wf

folder = sys.argv[1]
anatomical.init_brain_extraction_wf = init_brain_extraction_wf
workflow = anatomical.init_anat_fit_wf(
    bids_root=folder, output_dir=folder, freesurfer=True, hires=False, longitudinal=False,
    msm_sulc=False, t1w=[sys.argv[2]], t2w=[], skull_strip_mode='force',
    skull_strip_template=Reference('X'), spaces=SpatialReferences(['X'], checkpoint=True),
    precomputed={}, omp_nthreads=1, sloppy=True,
)
part = workflow.get_node('brain_extraction_wf')
edges = [
    (str(source[0] if isinstance(source, tuple) else source), target)
    for _, node, data in workflow._graph.out_edges(part, data=True)
    for source, target in data['connect']
]
workflow._generate_flatgraph()
nodes = [str(node) for node in workflow._graph.nodes if '.brain_extraction_wf.' in str(node)]
print(json.dumps({'nodes': nodes, 'edges': edges}))
"""
COLLECT = """
import json, sys
from smriprep.utils.bids import collect_derivatives
print(json.dumps(collect_derivatives(sys.argv[1], '01', ['X'], session_id=None)))
"""


@pytest.fixture(scope='module')
def templateflow(head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TemplateFlow of one template, so that nothing is looked for on the network."""
    home = tmp_path_factory.mktemp('templateflow')
    folder = home / 'tpl-X'
    folder.mkdir()
    (folder / 'template_description.json').write_text('{"Identifier": "X", "Name": "X"}')
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for name, data in zip(('T1w', 'desc-brain_mask'), head, strict=True):
        image = nib.Nifti1Image(data.astype(np.float32), affine)
        for number in (1, 2):
            nib.save(image, folder / f'tpl-X_res-0{number}_{name}.nii.gz')
    return home


def run_script(code: str, templateflow: Path, *arguments: Path) -> dict:
    """Run code that prints JSON in its last line."""
    settings = {'TEMPLATEFLOW_HOME': str(templateflow), 'TEMPLATEFLOW_AUTOUPDATE': '0'}
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **settings, 'NO_ET': '1', 'FS_LICENSE': ''},
        cwd=sys.prefix,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_smriprep_builds_its_graph_with_our_brain_extraction(templateflow, bids_dir, tmp_path):
    t1w = bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz'
    built = run_script(BUILD, templateflow, tmp_path, t1w)
    names = {node.split('.')[-1] for node in built['nodes']}
    assert {'strip', 'inu_n4_final', 'apply_mask', 'classify'} <= names
    assert not {'norm', 'inu_n4'} & names
    assert sorted(map(tuple, built['edges'])) == [
        ('outputnode.bias_corrected', 't1w_preproc'),
        ('outputnode.out_file', 't1w_brain'),
        ('outputnode.out_mask', 't1w_mask'),
        ('outputnode.out_segm', 'ants_seg'),
    ]


def test_smriprep_finds_our_derivatives(templateflow, bids_dir, tmp_path, monkeypatch):
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(templateflow))
    settings = StripSettings(
        weights=tmp_path / 'w', sha256='ab', spaces=(find_template(parse_space('X:res-2')),)
    )
    output_dir = tmp_path / 'out'
    for suffix in ('T1w', 'T2w'):
        source = bids_dir / f'sub-01/anat/sub-01_{suffix}.nii.gz'
        for target in BrainOutputs(source, bids_dir, output_dir, settings).everything():
            target.path.parent.mkdir(parents=True, exist_ok=True)
            target.path.write_bytes(b'x')
    description = {'Name': 'masks', 'BIDSVersion': '1.10.0', 'DatasetType': 'derivative'}
    (output_dir / 'dataset_description.json').write_text(json.dumps(description))
    anat = output_dir / 'sub-01/anat'
    assert run_script(COLLECT, templateflow, output_dir) == {
        't1w_preproc': str(anat / 'sub-01_desc-preproc_T1w.nii.gz'),
        't1w_mask': str(anat / 'sub-01_desc-brain_mask.nii.gz'),
        'transforms': {
            'X': {
                'forward': str(anat / 'sub-01_from-T1w_to-X_mode-image_xfm.txt'),
                'reverse': str(anat / 'sub-01_from-X_to-T1w_mode-image_xfm.txt'),
            }
        },
    }
