"""What goes around the networks, as numbers and words: read from the code that is used here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pumba_pipe._version import __version__
from pumba_pipe.extraction import border, passes
from pumba_pipe.images import intensity
from pumba_pipe.network.engine import LOGIT_LIMIT

if TYPE_CHECKING:
    from pumba_pipe.network.weights import Model, Stage

FORMAT = 'pumba_pipe-export/1'
BORDERS = ('brain with a rim of CSF', 'brain without that rim', 'intracranial space')
STEPS = (
    'Read the image as float32. Of a series take the mean. What is not finite is 0, or the least '
    'value where that is below 0.',
    'Bring its axes into the order right, anterior, superior (RAS).',
    'Leave out planes at its edges that hold a single value: what remains is the field of view. '
    'Millimetres count from its first corner, along its axes; a voxel i has its centre at i + .5.',
    'Bring values that hide a head nearer (far_values; those of ordinary images stay). Looked at '
    'are evenly spaced voxels, about planes along each axis; their quantiles common are where '
    'values lie, and a range is the distance of the two. Padding: where the least value is below '
    '0, padding_share of the voxels have it, and the others lie more than padding_gap ranges '
    'above it, it becomes the lower quantile of the others. Spikes: where voxels lie more than '
    'far ranges beyond the quantiles, in groups (26 neighbours) of fewer than spike_voxels, all '
    'values are cut at closer ranges beyond. Where the largest magnitude lies outside of '
    'magnitudes, values are divided by a power of two.',
    'Where the background is bright (inversion), turn the grey values around: max - x + min.',
    'Coarse cube: around the middle of the field of view, as long as its longest side.',
    'Sample the field of view into the cube, axis by axis, with a triangle filter as wide as the '
    'coarser of both spacings: linear upwards, an average downwards. Beyond it the cube is 0.',
    'Grey values: percentiles of the field of view within the cube become 0 and 1; clip; '
    '0 beyond the field of view. Where they lie closer than least_share of the range from the '
    'lower one to the maximum, the maximum becomes 1.',
    'Run the coarse network once for each of its views: the cube mirrored along the axes given, '
    'its grey values to the power given. Mirror the logits back, and average them.',
    'Ceiling: the ceiling_quantile of the unscaled grey values where the coarse logits of border '
    '0 are above 0, in the field of view, the largest component with its holes filled.',
    'Fine cube: logits of border 0 above box_logit (or above their maximum minus 1, where that is '
    'less), largest component, holes filled. The cube lies around the middle of its bounding box; '
    'its side is the longest side of that box over fill. It may reach beyond the image.',
    'Sample the image into the fine cube as before; cut values at the ceiling before they are '
    'scaled.',
    'Run the fine network on the first views_to_fit views. Lay the fine cube anew around what it '
    'predicts, up to tries times, until the new cube fits: its side over the present one lies '
    'within side_ratio, and its centre is less than shift of the side away along each axis. '
    'Then run the other views on the cube that is kept, and average the logits of all.',
    'Border: (1 - s) * border 0 + s * border 1, with the share s from border, for the volume in '
    'millilitres where border 0 is above 0. s is 1 up to the first of tiny_ml and 0 from the '
    'second on, 0 up to the first of large_ml and 1 from the second on, in between it follows the '
    'logarithm of the volume; it is multiplied by a factor that rises from 0 to 1 between the '
    'radii radius_voxels of a ball of that volume, in voxels of the image.',
    'Sample the logits at the voxels of the image, linearly, axis by axis. Brain is what is above '
    'mask_logit; beyond the cube there is none. Keep the largest component (26 neighbours), fill '
    'its holes (6 neighbours), and bring the mask back to the axes of the image.',
)  # fmt: skip
LEFT_OUT = (
    'the quality record, its expected Dice and its flags',
    'images that were stripped before, of which pumba-strip keeps all',
    'the choice of unweighted volumes of a diffusion series, and the limit of 200 of others',
    'the error where no brain is found: the mask is empty then',
    'bfloat16, with which pumba-strip computes where the CPU has it: masks differ by less than '
    '0.002 in Dice',
)


def describe_pipeline(model: Model, names: Mapping[str, str]) -> dict[str, Any]:
    """Everything that goes around the networks of a weights file.

    Parameters
    ----------
    model : Model
    names : mapping of str to str
        File of each stage.

    Returns
    -------
    dict
        Plain values, as ``pipeline.json`` holds them.
    """
    return {
        'format': FORMAT,
        'made_with': f'pumba_pipe {__version__}',
        'weights_sha256': model.sha256,
        'training_data': model.card.get('training_data', 'unknown'),
        'licence': model.card.get('licence', 'unknown'),
        'not': 'a medical device; look at the masks',
        'steps': list(STEPS),
        'left_out': list(LEFT_OUT),
        'networks': {name: _network(getattr(model, name), file) for name, file in names.items()},
        'grey_values': {
            'percentiles': list(intensity.INTENSITY_PERCENTILES),
            'least_share': intensity.LEAST_SHARE,
        },
        'far_values': {
            'common': list(intensity.COMMON),
            'planes': intensity.BRIGHT_PLANES,
            'padding_share': intensity.PADDING_SHARE,
            'padding_gap': intensity.PADDING_GAP,
            'far': intensity.FAR,
            'closer': intensity.CLOSER,
            'spike_voxels': intensity.SPIKE_VOXELS,
            'magnitudes': list(intensity.SAFE_MAGNITUDES),
        },
        'inversion': {
            'level': intensity.BRIGHT,
            'share': intensity.BRIGHT_SHARE,
            'planes': intensity.BRIGHT_PLANES,
        },
        'coarse': {'views': _views(passes.COARSE_VIEWS)},
        'fine': {
            'views': _views(passes.FINE_VIEWS),
            'views_to_fit': passes.BOX_VIEWS,
            'fill': passes.BOX_FILL,
            'tries': passes.BOX_TRIES,
            'side_ratio': list(passes.BOX_RATIO),
            'shift': passes.BOX_SHIFT,
            'box_logit': passes.BOX_LOGIT,
            'ceiling_quantile': passes.CEILING_QUANTILE,
            'logit_beyond': passes.NOT_BRAIN,
        },
        'border': {
            'tiny_ml': [border.TINY, border.LESS_TINY],
            'large_ml': [border.SMALL, border.LARGE],
            'radius_voxels': [border.COARSE, border.RESOLVED],
            'mask_logit': 0.0,
        },
    }


def _network(stage: Stage, file: str) -> dict[str, Any]:
    size = stage.size
    return {
        'file': file,
        'size': size,
        'input': f'image: float32 (batch, 1, {size}, {size}, {size}), grey values 0..1',
        'output': f'logits: float32 (batch, {stage.config.borders}, {size}, {size}, {size})',
        'borders': list(BORDERS[: stage.config.borders]),
        'logits_cut_at': LOGIT_LIMIT,
    }


def _views(views: Sequence[passes.TtaView]) -> list[dict[str, Any]]:
    return [{'mirrored_axes': list(view.axes), 'power': view.power} for view in views]


def script() -> str:
    """The program that uses exported networks without this package."""
    return files('pumba_pipe.export').joinpath('strip.py').read_text(encoding='utf-8')


def readme(described: Mapping[str, Any], networks: str, how: str) -> str:
    """What a person reads first.

    Parameters
    ----------
    described : mapping
        As `describe_pipeline` returns it.
    networks : str
        What the files of the networks are.
    how : str
        Commands that use them.
    """
    lines = [
        '# Networks of pumba_pipe, for skull stripping',
        '',
        f'Written by {described["made_with"]} from weights with the SHA-256 '
        f'`{described["weights_sha256"]}`. Licence: {described["licence"]}.',
        '',
        described['training_data'],
        '',
        'Not a medical device: look at the masks.',
        '',
        networks,
        '',
        *(
            f'* `{one["file"]}` ({name}): {one["input"]} → {one["output"]}; the channels are '
            f'{", ".join(one["borders"])}'
            for name, one in described['networks'].items()
        ),
        '',
        '## Use',
        '',
        how,
        '',
        '## From a scan to a mask',
        '',
        'Numbers are those of `pipeline.json`; `strip.py` does all of this.',
        '',
        *(f'{number}. {step}' for number, step in enumerate(described['steps'], 1)),
        '',
        'Left out here, and done by `pumba-strip`:',
        '',
        *(f'* {one}' for one in described['left_out']),
    ]
    return '\n'.join(lines) + '\n'
