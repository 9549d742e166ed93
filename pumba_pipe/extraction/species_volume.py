"""Is the volume of a brain one that its species can have? A plain rule, by published sizes.

A voxel size that is ten times too large, as of animals stored for programs made for humans, makes
the volume a thousand times too large. The rule is asked after the mask is made, changes nothing
in it, and only where somebody has named the species. It is no part of the expected Dice, and
nothing of it enters training or calibration.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pumba_pipe.common.species import is_of, scientific

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pumba_pipe.extraction.quality import Quality

IMPLAUSIBLE = 'the volume is implausible for the species'
WIDER = 3.0  # times: masks are not exact, and animals differ; ten times in length is 1000 here


class Sizes(NamedTuple):
    """Brain of a newborn and of an adult, in mL (of weights in g, which are 4 % more)."""

    newborn: float
    adult: float


# Of a genus, the smallest newborn and the largest adult that are named. "A quarter": no primate's
# brain is a smaller part of the adult's at birth than the human's, 27 % (Robson and Wood 2008).
# Humans are scanned before birth, too.
KNOWN = {
    # 1352 g, at birth 364 g: Robson and Wood 2008, J Anat 212:394, table 3. Fetuses from 18 weeks
    # on: Jarvis et al. 2019, Eur Radiol 29:3488; the least, rounded down.
    'homo sapiens': Sizes(15.0, 1352.0),
    # 384 g, at birth 137 g: Robson and Wood 2008, table 3, after Herndon et al. 1999
    'pan troglodytes': Sizes(137.0, 384.0),
    # M. mulatta 87.3 g, M. fascicularis 46.2 g: Herculano-Houzel et al. 2007, PNAS 104:3562, and
    # Gabi et al. 2010, Brain Behav Evol 76:32; at birth a quarter
    'macaca': Sizes(11.5, 87.3),
    # P. cynocephalus 151.2 g: Gabi et al. 2010; at birth a quarter
    'papio': Sizes(37.8, 151.2),
    # 7.8 g: Herculano-Houzel et al. 2007; at birth a quarter
    'callithrix': Sizes(1.9, 7.8),
    # Domestic 134 g; minipig at birth 27.8 g: Jelsing et al. 2006, J Exp Biol 209:1454, table 2
    'sus scrofa': Sizes(27.8, 134.0),
    # 1.80 g: Herculano-Houzel et al. 2006, PNAS 103:12138; at birth 0.2 g, rounded: Gottlieb et
    # al. 1977, Biol Neonate 32:166
    'rattus': Sizes(0.2, 1.8),
    # 0.42 g: Herculano-Houzel et al. 2006; at birth 0.08 g, rounded: Gottlieb et al. 1977
    'mus': Sizes(0.08, 0.42),
}


def plausible_range(species: str) -> tuple[float, float] | None:
    """Volumes in mL that a brain of a species may have, newborn or adult; None: not known.

    Examples
    --------
    >>> low, high = plausible_range('rat')
    >>> low < 0.1 < 2.0 < high < 10
    True
    >>> plausible_range('unicorn') is None
    True
    """
    name = scientific(species)
    sizes = next((sizes for group, sizes in KNOWN.items() if is_of(name, group)), None)
    return None if sizes is None else (sizes.newborn / WIDER, sizes.adult * WIDER)


def implausible_volume(species: str, volume_ml: float) -> str:
    """Say that a brain of a species cannot have a volume; nothing where it can, or nobody knows.

    Examples
    --------
    >>> implausible_volume('rat', 1620)
    'the volume is implausible for the species: 1620 mL, where rattus norvegicus may have 0.067 \
to 5.4 mL; check the voxel size in the header'
    >>> implausible_volume('rat', 1.62), implausible_volume('', 1620)
    ('', '')
    """
    limits = plausible_range(species)
    volume_ml = round(volume_ml, 4)  # as records hold it, by which it is judged again
    if limits is None or limits[0] <= volume_ml <= limits[1]:
        return ''
    low, high = limits
    return (
        f'{IMPLAUSIBLE}: {volume_ml:.4g} mL, where {scientific(species)} may have {low:.2g} to '
        f'{high:.4g} mL; check the voxel size in the header'
    )


def with_species(quality: Quality, species: str) -> Quality:
    """Add the flag of an implausible volume to a quality record, where there is reason to."""
    said = implausible_volume(species, quality.volume_ml)
    return replace(quality, flags=(*quality.flags, said)) if said else quality


def says_other_of_volume(record: Mapping[str, Any], species: str) -> bool:
    """Whether a stored record says of the volume something else than is said of it today.

    Where nobody has named the species, whatever it says may stay.
    """
    volume, flags = record.get('volume_ml'), record.get('flags')
    if not isinstance(volume, int | float) or not isinstance(flags, list):
        return False
    if plausible_range(species) is None:
        return False
    flagged = any(str(flag).startswith(IMPLAUSIBLE) for flag in flags)
    return flagged != bool(implausible_volume(species, volume))
