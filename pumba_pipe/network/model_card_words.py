"""What model cards say of every weights file, in the form of Mitchell et al. 2019.

Nothing here depends on one file: figures come from its card and its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORM = (
    'In the form of [Mitchell et al. 2019](https://arxiv.org/abs/1810.03993). What is not '
    'known is called unknown.'
)
INTENDED_USE = (
    '**Use.** Finding the brain in a 3D scan of a head, or in the mean of a series, for '
    'research: MRI of any contrast first of all; of PET and CT only what was scored below.',
    '**Users.** People who process images of brains, and look at the masks.',
    '**Not for** diagnosis, treatment or any decision about a patient. Not for scans without a '
    'brain, for tumours to be outlined, for tissue classes or regions, and not to make a scan '
    'anonymous: stripped images show no face, but their headers, and the image that is kept '
    'beside them, may tell who it is.',
)
FACTORS = (
    'Species, contrast, voxel size and artefacts make the difference; scores are given by '
    'species and contrast. Neither sex, origin, disease nor scanner is recorded with the '
    'scores, and age only where the table names it: **how the accuracy differs between such '
    'groups of people is unknown.**',
)
METRICS = (
    'Dice overlap of mask and reference at a probability of one half, and HD95, the 95th '
    'percentile of the distances between the surfaces, the larger of both directions. By group '
    'of species and contrast the median and the lowest; no interval, since most groups have '
    'few scans. Each mask comes with the Dice to be expected of it and, where that is low or '
    'something is odd, flags.',
)
EVALUATION = (
    'The cases are listed below with their scores. They are not part of the weights, and of '
    'the repository only the few of its demo. Reference masks are of varying quality: of the '
    "project's own real scans hardly any was drawn by hand (`docs/accuracy.md`). Where weights "
    'or settings were chosen on the cases that are scored, as those of the project were on its '
    'real scans, scores are too good: expect somewhat less on other scans.',
)
NOT_SCORED = ('No scores are given here: how accurate these weights are is unknown.',)
SYNTHETIC_ETHICS = (
    '**Privacy.** No image of a person or an animal entered training; real ones were used only '
    'to score networks and to choose between them.',
)
REAL_ETHICS = (
    '**Privacy.** Labelled real images took part: something of them may be found in the '
    'weights. Share these weights only if the consent or the licence of the images allows it.',
)
ETHICS = (
    '**Fairness.** Accuracy was not compared between groups of people, see Factors. Synthetic '
    'heads are random shapes that stand for no group; that does not show that masks are '
    'equally good for all.',
    '**Harm.** A mask that is wrong may lead to wrong volumes and wrong findings, mostly where '
    'many masks are used and none is looked at. The flags lower that risk, and do not remove '
    'it.',
    '**Animals.** Nothing was scanned for this work; scans for evaluation had been published '
    'before, under their own rules.',
)
CAVEATS = (
    'Not a medical device. Look at masks, and first at those with flags.',
    'A group that is not listed was not tested. Where a group has one scan, its score says '
    'little.',
    'What belongs to the brain is a convention: how much CSF, where the brainstem ends. A part '
    'of the differences from references is one of convention.',
    'Known weak points are listed in `docs/limits.md`.',
)


def training_cost(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Time of all runs that are listed, by hardware; and what is not known of the cost.

    Parameters
    ----------
    stages : mapping
        Of a card, each with the run ``before`` it.
    """
    seconds: dict[str, float] = {}
    for stage in stages.values():
        run: Mapping[str, Any] | None = stage
        while run:
            hardware = str(run['hardware'])
            seconds[hardware] = seconds.get(hardware, 0.0) + float(run['seconds'])
            run = run.get('before')
    times = ', '.join(f'{duration(total)} on {name}' for name, total in seconds.items())
    return (
        f'**Time:** {times}, all runs above together. Runs that were thrown away, the search for '
        'recipes and settings, and processes that made heads beside a run are not counted: how '
        'long they took is unknown. **Energy and emissions:** not measured, unknown.'
    )


def duration(seconds: float) -> str:
    """Say a time in minutes, or in hours from two on.

    Examples
    --------
    >>> duration(420), duration(9000)
    ('7 minutes', '2.5 hours')
    """
    return f'{seconds / 60:.0f} minutes' if seconds < 7200 else f'{seconds / 3600:.1f} hours'
