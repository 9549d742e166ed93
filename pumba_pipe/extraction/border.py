"""Where a mask ends between the wide and the tight border, by the size of the brain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Networks predict two borders, one with a rim of CSF and one without. Reference masks of
# human heads mostly hug the cortex, those of monkeys and apes leave more room: a matter of
# convention that no image shows. Around the brain of a mouse there is hardly any CSF: what the
# border with CSF would include there is bone and muscle.
TINY, LESS_TINY = 1.0, 3.0  # mL
SMALL, LARGE = 600.0, 1000.0  # mL
# In a brain of this radius in voxels that room is half a voxel, and the question an idle one.
COARSE, RESOLVED = 16.0, 20.0


Csf = Literal['auto', 'include', 'exclude']
CSF: tuple[str, ...] = get_args(Csf)
FORMER_CSF = {'in': 'include', 'out': 'exclude'}  # words of earlier versions, still accepted


def csf_choice(word: str) -> str:
    """Return a choice of `CSF` for a word of this version or of an earlier one.

    Examples
    --------
    >>> csf_choice('in'), csf_choice('auto')
    ('include', 'auto')
    """
    return FORMER_CSF.get(word, word)


def csf_exclusion(volume: float, voxel_size: NDArray[np.float64], csf: Csf = 'auto') -> float:
    """Share of the tight border in the mask's, 0..1; the rest is the wide one's.

    For brains of 3 to 600 mL it is the wide one, up to 1 mL and from 1,000 mL on the tight one, in
    between it follows the logarithm of the volume; brains of a radius below 16 voxels are not cut
    tightly. All of it was chosen on real scans (docs/experiments.md).

    Parameters
    ----------
    volume : float
        Of what lies within the wide border, in millilitres.
    voxel_size : ndarray, shape (3,)
        In millimetres.
    csf : str
        ``'include'`` is the border with CSF and ``'exclude'`` the one without, whatever the
        brain's size.
    """
    csf = cast(Csf, csf_choice(csf))
    if csf != 'auto':
        return float(csf == 'exclude')
    small = math.log(LESS_TINY / max(volume, TINY)) / math.log(LESS_TINY / TINY)
    large = math.log(max(volume, SMALL) / SMALL) / math.log(LARGE / SMALL)
    voxels = volume * 1000 / math.prod(map(float, voxel_size))
    radius = (voxels * 3 / (4 * math.pi)) ** (1 / 3)
    resolved = max(0.0, radius - COARSE) / (RESOLVED - COARSE)
    return min(1.0, max(small, large)) * min(1.0, resolved)
