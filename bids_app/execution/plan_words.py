"""What a user reads about a plan: remarks, a summary, and a line for each image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pumba_pipe.workflows.manual_masks import EDITED

from pumba_pipe.common.text import counted
from pumba_pipe.common.weights_file import SHIPPED

if TYPE_CHECKING:
    from pumba_pipe.bids_app.execution.plan import Plan
    from pumba_pipe.workflows.outputs import BrainOutputs

    from pumba_pipe.results.judgement import Judgement

MAX_NAMED = 20  # masks that are named
STATES = {
    'done': 'done before',
    'edited': 'edited by hand, kept',
    'missing': 'would be stripped',
    'outdated': 'would be stripped again',
}


def weights_name(weights: Path) -> str:
    """How weights are called in texts: ``default``, the shipped ones, or the name of a file."""
    return 'default' if weights == SHIPPED.absolute() else weights.name


def manual_in_words(plan: Plan) -> list[str]:
    """Parts of a line about masks that are not the network's; none without such masks."""
    kept, given = plan.manual
    words = [f'{kept} kept as edited by hand'] if kept else []
    return [*words, f'{given} with masks of {plan.config.masks}'] if given else words


def remarks(plan: Plan) -> list[str]:
    """What a user should know about earlier results."""
    discarded = [
        path
        for outputs in plan.todo
        for path in outputs.replaceable
        if plan.config.discard_edits  # else these are copies, which new ones replace
    ]
    edited = [one.reason for one in plan.found.values() if one.state == 'edited']
    edited += [
        f'{outputs.mask}: was edited by hand and is kept; what is made of it is made again'
        for outputs in plan.todo
        if outputs.kept_mask and outputs.kept_mask.source == EDITED
    ]
    lines = [f'{path}: the edited mask is discarded' for path in discarded]
    lines += edited[:MAX_NAMED]
    if len(edited) > MAX_NAMED:
        lines.append(f'{len(edited) - MAX_NAMED} more masks were edited by hand and are kept')
    unrecorded = sum(found.unrecorded for found in plan.found.values())
    if unrecorded:
        lines.append(
            f'{unrecorded} images were done by an earlier version, which kept no record of '
            'their scans: they are done again'
        )
    return lines


def summary(plan: Plan) -> str:
    """One line about what there is to do."""
    outdated = plan.count('outdated')
    return (
        f'{counted(len(plan.images), "image")}: {len(plan.todo)} to strip on '
        f'{plan.settings.device}, '
        f'{plan.count("done")} done before'
        + ''.join(f', {words}' for words in manual_in_words(plan))
        + (f', {len(plan.broken)} more cannot be done' if plan.broken else '')
        + (f', {outdated} done before but out of date' if outdated else '')
    )


def listing(plan: Plan) -> list[str]:
    """A line for each image."""
    root = plan.config.bids_dir
    lines = [
        f'{outputs.source.relative_to(root)}: {_state(outputs, plan.found[outputs.source])} -> '
        f'{outputs.mask.relative_to(outputs.output_dir)}'
        for outputs in plan.images
    ]
    return lines + [f'{path.relative_to(root)}: {why}' for path, why in plan.broken.items()]


def _state(outputs: BrainOutputs, found: Judgement) -> str:
    """State of an image, and why it is done again."""
    state = STATES[found.state]
    if outputs.kept_mask and found.state != 'done':
        state = 'edited by hand, kept; what is made of it would be made again'
    elif outputs.kept_mask:
        state = 'done before, with a mask that is kept as edited by hand'
    elif outputs.manual:
        state += f' with {outputs.manual.source}'
    return f'{state}, {found.reason}' if found.state == 'outdated' else state
