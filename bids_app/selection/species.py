"""Which species a participant is of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from pumba_pipe.bids_app.options.config import RunConfig, UsageError

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.species import is_of, scientific
from pumba_pipe.common.tables import MISSING, read_table

DEFAULT = 'homo sapiens'  # of whom nothing is said, as BIDS has it


def read_species(bids_dir: Path) -> dict[str, str]:
    """Read the column ``species`` of participants.tsv.

    Returns
    -------
    dict of str to str
        Participant label to species, for those of whom something is said.

    Raises
    ------
    UsageError
        The table cannot be read, has no column ``participant_id`` or no row, or says two
        species of one participant.
    """
    path = bids_dir / 'participants.tsv'
    if not os.path.lexists(path):  # a link to a table that is not here is no missing table
        return {}
    try:
        rows = read_table(path, ('participant_id',), 'a table of participants')
    except InputError as error:
        raise UsageError(str(error)) from None
    found: dict[str, str] = {}
    for row in rows:
        label, species = row.get('participant_id'), row.get('species')
        if label and species and species.strip().lower() != MISSING:
            who, name = label.strip().removeprefix('sub-'), scientific(species)
            if found.setdefault(who, name) != name:
                raise UsageError(
                    f'{path}: sub-{who} is there twice, as {found[who]} and as {name}; '
                    'remove one row'
                )
    return found


def of_species(bids_dir: Path, participants: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Keep the participants of some species, or of a genus.

    Raises
    ------
    UsageError
        There is none.
    """
    known = read_species(bids_dir)
    species = {label: known.get(label, DEFAULT) for label in participants}
    wanted = [scientific(name) for name in asked]
    kept = [label for label, name in species.items() if any(is_of(name, one) for one in wanted)]
    if not kept:
        there = ', '.join(sorted(set(species.values()))) or 'nobody'
        raise UsageError(f'--species {", ".join(asked)}: no such participant; there is {there}')
    return kept


def named_species(
    config: RunConfig, participants: Iterable[str], log: Callable[[str], None]
) -> dict[str, str]:
    """Species of participants as somebody has named them; empty where nobody has.

    That is participants.tsv, or ``--species human`` for those of whom it says nothing. A table
    that cannot be used names nobody, with a line to `log`.
    """
    try:
        known = read_species(config.bids_dir)
    except UsageError as error:
        log(f'warning: {error}; volumes are not compared with those of the species')
        return {}
    otherwise = DEFAULT if config.species else ''
    return {label: known.get(label, otherwise) for label in participants}
