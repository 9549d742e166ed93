"""A plugin of pytest for the test suites of others: they build workflows with our function.

`.ci/nipreps` runs public tests of sMRIPrep and NiBabies so. They build graphs and run none of the
nodes, so that images stand for the templates, and nothing is downloaded. A module that is not
installed is passed over.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before templateflow is imported: what stands for templates must not reach the user's own.
TEMPLATES = tempfile.TemporaryDirectory()
os.environ.update(TEMPLATEFLOW_HOME=TEMPLATES.name, TEMPLATEFLOW_AUTOUPDATE='0')

PLACES = {
    'smriprep.workflows.anatomical': 'init_brain_extraction_wf',
    'nibabies.workflows.anatomical.fit': 'init_infant_brain_extraction_wf',
}


def pytest_configure() -> None:
    """Put our functions where the modules have imported theirs."""
    from pumba_pipe import workflows

    client = importlib.import_module('templateflow.client')
    client._s3_get = write_placeholder
    for module, name in PLACES.items():
        if find_spec(module.partition('.')[0]):
            setattr(importlib.import_module(module), name, getattr(workflows, name))


def write_placeholder(config: Any, path: Path) -> None:
    """Write something of a template's name in place of a download."""
    import nibabel as nib
    import numpy as np

    if path.name.endswith('.nii.gz'):
        nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)), path)
    else:
        path.write_text('{}' if path.suffix == '.json' else 'a template')
