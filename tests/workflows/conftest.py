"""What tests of workflows share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def run_for() -> Callable[..., dict]:
    """A function that runs a workflow in one process and returns fields of its outputnode."""
    from nipype.interfaces.utility import Merge
    from nipype.pipeline import engine as pe

    def run(workflow: pe.Workflow, fields: tuple[str, ...], folder: Path) -> dict:
        parent = pe.Workflow('test', base_dir=str(folder))
        gather = pe.Node(Merge(len(fields), no_flatten=True), name='gather')
        for number, field in enumerate(fields, 1):
            parent.connect(workflow, f'outputnode.{field}', gather, f'in{number}')
        graph = parent.run(plugin='Linear')
        (node,) = [node for node in graph.nodes if node.name == 'gather']
        return dict(zip(fields, node.result.outputs.out, strict=True))

    return run
