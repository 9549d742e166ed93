"""A plugin of pytest for the test suites of others: they build workflows with our function.

`.ci/nipreps` runs the public tests of sMRIPrep and NiBabies so. A module that is not installed is
passed over.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from pumba_pipe import workflows

PLACES = {
    'smriprep.workflows.anatomical': 'init_brain_extraction_wf',
    'nibabies.workflows.anatomical.fit': 'init_infant_brain_extraction_wf',
}


def pytest_configure() -> None:
    """Put our functions where the modules have imported theirs."""
    for module, name in PLACES.items():
        if find_spec(module.partition('.')[0]):
            setattr(importlib.import_module(module), name, getattr(workflows, name))
