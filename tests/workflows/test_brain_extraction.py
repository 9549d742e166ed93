"""Brain extraction with the fields of niworkflows' own, carried out on a head."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pumba_pipe.workflows import init_brain_extraction_wf

from pumba_pipe.images.masks import dice


def values(path: Path | str) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize('n4', ['mask', 'both'])
def test_brain_extraction_as_niworkflows_has_it(head_file, head, tmp_path, n4, run_for):
    workflow = init_brain_extraction_wf(
        in_template='OASIS30ANTs', template_spec={}, normalization_quality='testing',
        atropos_use_random_seed=False, omp_nthreads=1, n4=n4,
    )  # fmt: skip
    assert ('inu_n4' in workflow.list_node_names()) == (n4 == 'both')
    workflow.inputs.inputnode.in_files = [str(head_file)]
    fields = ('out_file', 'out_mask', 'bias_corrected', 'bias_image', 'out_segm', 'out_tpms')
    found = run_for(workflow, fields, tmp_path)
    for field in ('out_file', 'bias_corrected', 'bias_image'):
        assert len(found[field]) == 1
    mask = values(found['out_mask']).astype(bool)
    assert dice(mask, head[1].astype(bool)) > 0.8
    corrected, bias = values(found['bias_corrected'][0]), values(found['bias_image'][0])
    np.testing.assert_allclose(corrected * bias, values(head_file), rtol=1e-3, atol=1e-2)
    np.testing.assert_array_equal(values(found['out_file'][0]), np.where(mask, corrected, 0))
    classes = values(found['out_segm'])
    np.testing.assert_array_equal(np.unique(classes), [0, 1, 2, 3])
    np.testing.assert_array_equal(classes > 0, mask)
    means = [corrected[classes == number].mean() for number in (1, 2, 3)]
    assert means == sorted(means)
    shares = sum(values(path) for path in found['out_tpms'])
    np.testing.assert_allclose(shares, mask, atol=1e-5)


def test_an_argument_nobody_knows_is_refused():
    with pytest.raises(TypeError, match='no argument in_templat'):
        init_brain_extraction_wf(in_templat='X')
