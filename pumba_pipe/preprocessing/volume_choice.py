"""Which volumes of a series its reference is made of, by the files that lie beside the series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumba_pipe.common.documents import brief, read_json
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.tables import read_table
from pumba_pipe.images.volume import B0_LIMIT, read_b_values

VOLUME_TYPE = 'volume_type'  # column of aslcontext.tsv
NOT_USED = ('noRF', 'n/a')  # further types that BIDS knows
ASL_ORDER = ('control', 'label', 'deltam', 'cbf')  # what a reference is made of, the best first


@dataclass(frozen=True)
class Choice:
    """Volumes of a series.

    Attributes
    ----------
    indices : tuple of int
    kind : str
        What they are, in words.
    weights : tuple of float
        Of each in the mean; empty for equal ones. Volumes with weights look unlike each other,
        so that none counts as an outlier.
    """

    indices: tuple[int, ...]
    kind: str = 'volumes'
    weights: tuple[float, ...] = ()


def b0_volumes(bval_file: Path, count: int) -> Choice:
    """Volumes of a diffusion series with b-values of at most 50 s/mm^2.

    Raises
    ------
    InputError
        The file cannot be read, does not fit the series, or has no such volume.
    """
    values = read_b_values(bval_file)
    if len(values) != count:
        raise InputError(f'{bval_file}: {len(values)} b-values for {count} volumes')
    chosen = tuple(int(index) for index in np.flatnonzero(values <= B0_LIMIT))
    if not chosen:
        raise InputError(f'{bval_file}: no volume of at most {B0_LIMIT:g} s/mm^2')
    return Choice(chosen, 'b0 volumes')


def asl_volumes(context_file: Path, count: int) -> tuple[Choice | None, Choice]:
    """M0 volumes of an ASL series, and its control volumes.

    Returns
    -------
    m0 : Choice or None
        None where the series has no M0 volume.
    control : Choice
        Of a series without control volumes its labelled ones, then those of differences or of
        blood flow; the M0 volumes where there is nothing else.

    Raises
    ------
    InputError
        The file cannot be read, does not fit the series, or names something that BIDS does not.
    """
    rows = read_table(context_file, (VOLUME_TYPE,), 'an aslcontext.tsv')
    types = [row[VOLUME_TYPE].strip().lower() for row in rows]
    if len(types) != count:
        raise InputError(f'{context_file}: {len(types)} rows for {count} volumes')
    known = (*ASL_ORDER, 'm0scan', *map(str.lower, NOT_USED))
    odd = next((number for number, name in enumerate(types) if name not in known), None)
    if odd is not None:
        raise InputError(
            f'{context_file}: {VOLUME_TYPE} {brief(types[odd])} of volume {odd} is none of '
            f'{", ".join([*ASL_ORDER, "m0scan", *NOT_USED])}'
        )
    found = {
        kind: Choice(tuple(i for i, name in enumerate(types) if name == kind), f'{kind} volumes')
        for kind in (*ASL_ORDER, 'm0scan')
    }
    m0 = found['m0scan'] if found['m0scan'].indices else None
    best = next((found[kind] for kind in ASL_ORDER if found[kind].indices), m0)
    if best is None:
        raise InputError(
            f'{context_file}: names no volume as one of {", ".join([*ASL_ORDER, "m0scan"])}'
        )
    return m0, best


def pet_frames(sidecars: Sequence[Path], count: int) -> Choice:
    """All frames of a PET series, each with its duration as weight.

    The mean is then what one long frame would have shown. Late frames last longest in nearly all
    protocols, and show the brain; early ones are short, noisy and show blood. Where no sidecar
    has ``FrameDuration``, weights rise evenly from the first frame to the last.

    Parameters
    ----------
    sidecars : sequence of Path
        JSON files, later ones before earlier ones.
    count : int

    Raises
    ------
    InputError
        A file cannot be read, or the durations do not fit the series.
    """
    durations, where = None, None
    for path in sidecars:
        content = read_json(path)
        if 'FrameDuration' in content:
            durations, where = content['FrameDuration'], path
    indices = tuple(range(count))
    if where is None:
        return Choice(
            indices, 'frames, late ones with more weight', tuple(i + 1.0 for i in indices)
        )
    given = durations if isinstance(durations, list) else [durations]
    good = all(
        isinstance(one, int | float)
        and not isinstance(one, bool)
        and np.isfinite(one)
        and one >= 0
        for one in given
    )
    if len(given) != count or not good or not sum(given):
        raise InputError(
            f'{where}: FrameDuration must have {count} numbers of seconds, one for each frame'
        )
    return Choice(indices, 'frames, weighted by their duration', tuple(map(float, given)))
