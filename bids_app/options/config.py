"""Configuration of a run: plain values, nothing global."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pumba_pipe.workflows.modalities import MODALITIES as KNOWN_MODALITIES
from pumba_pipe.workflows.settings import N4, StripSettings

from pumba_pipe.common.errors import PumbaError
from pumba_pipe.common.resources import available_cpus, available_memory_gb
from pumba_pipe.extraction.border import Csf
from pumba_pipe.extraction.options import ExtractionOptions

DEFAULT_MODALITIES = tuple(name for name, one in KNOWN_MODALITIES.items() if one.default)
OTHER_MODALITIES = tuple(name for name, one in KNOWN_MODALITIES.items() if not one.default)
MODALITIES = DEFAULT_MODALITIES + OTHER_MODALITIES
MAX_DEFAULT_THREADS = 4  # more speed up one image little; several images side by side do more
OptionValue = bool | int | float | str | list[str]


class UsageError(PumbaError):
    """The command cannot be carried out as it was given."""


def new_run_id() -> str:
    """Name of a run: when it started, and something no other run has."""
    return f'{datetime.now():%Y%m%d-%H%M%S}_{uuid.uuid4()}'


@dataclass(frozen=True)
class RunConfig:
    """Options of one run, with their defaults: the command line and its help take them from here.

    Attributes
    ----------
    bids_dir, output_dir : Path
        Absolute, without symbolic links.
    analysis_level : str
        ``'participant'`` or ``'group'``.
    work_dir : Path
        Folder for intermediate files.
    participants, sessions : tuple of str
        Labels without ``sub-`` and ``ses-``; empty for all.
    modalities : tuple of str
        Suffixes of the images to strip.
    species : tuple of str
        Only participants of these species; empty for all.
    filter_file : Path or None
        PyBIDS filters, for each kind of image.
    database_dir : Path or None
        Index of the data set, read or made.
    border_mm : float
    csf : str
    masks : Path or None
        Folder with masks that take the place of the network's.
    discard_edits : bool
        Make masks again that were edited.
    n4 : str
        Correction of the intensity bias: ``'off'``, ``'mask'`` or ``'both'``.
    spaces : tuple of str
        Templates to register images to, as ``SPACE[:cohort-X][:res-Y]``.
    deformable : bool
        Register with deformations, not only affinely.
    probability : bool
        Write a map of the probability of being brain.
    reports : bool
        Write a page for each participant.
    ratings : tuple of Path
        Tables of ratings, for the group level.
    sloppy : bool
        Quick and rough, for tests.
    seed : int
        Of the registration.
    nprocs : int
        CPUs to use altogether; default: all that this process may use.
    omp_nthreads : int
        CPUs to use for each image; default: `MAX_DEFAULT_THREADS`, or `nprocs` if less.
    mem_gb : float
        Memory to use altogether, in GB; default: nine tenths of what this process may use.
    plugin_file : Path or None
        YAML file that names a Nipype plugin.
    device : str
        As given: ``'auto'``, ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``.
    weights : Path or None
        None for the shipped ones.
    clean_workdir, resource_monitor, write_graph, stop_on_first_crash : bool
    dry_run, reports_only, boilerplate_only : bool
        Do only so much; one of them at most.
    skip_bids_validation : bool
    quiet : bool
        Print warnings and failures only.
    verbosity : int
    run_id : str
    command : str
        The command line.
    options : dict
        The options in the spelling of the command line, without those left to the program.
    """

    bids_dir: Path
    output_dir: Path
    analysis_level: str
    work_dir: Path = Path('work')
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    species: tuple[str, ...] = ()
    filter_file: Path | None = None
    database_dir: Path | None = None
    border_mm: float = StripSettings.border_mm
    csf: Csf = StripSettings.csf
    masks: Path | None = None
    discard_edits: bool = False
    n4: N4 = StripSettings.n4
    spaces: tuple[str, ...] = ()
    deformable: bool = StripSettings.deformable
    probability: bool = StripSettings.probability
    reports: bool = StripSettings.reports
    ratings: tuple[Path, ...] = ()
    sloppy: bool = StripSettings.sloppy
    seed: int = StripSettings.seed
    nprocs: int = field(default_factory=available_cpus)
    omp_nthreads: int = 0
    mem_gb: float = field(default_factory=available_memory_gb)
    plugin_file: Path | None = None
    device: str = ExtractionOptions.device
    weights: Path | None = None
    clean_workdir: bool = False
    resource_monitor: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    skip_bids_validation: bool = False
    verbosity: int = 0
    quiet: bool = False
    run_id: str = field(default_factory=new_run_id)
    command: str = ''
    options: Mapping[str, OptionValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.omp_nthreads:
            threads = min(MAX_DEFAULT_THREADS, self.nprocs)
            object.__setattr__(self, 'omp_nthreads', threads)

    @property
    def resource_record(self) -> Path | None:
        """File for the use of memory and CPU, None when it is not watched."""
        if not self.resource_monitor:
            return None
        return self.output_dir / 'logs' / f'resource_monitor_{self.run_id}.json'


def check_folders(config: RunConfig) -> None:
    """Refuse folders that are missing or would put results among the input.

    Results may lie in ``derivatives/`` of the data set, the place BIDS has for them.

    Raises
    ------
    UsageError
    """
    bids_dir, output_dir = config.bids_dir, config.output_dir
    if not bids_dir.is_dir():
        found = 'is not a folder' if bids_dir.exists() else 'does not exist'
        raise UsageError(f'bids_dir {bids_dir}: {found}')
    if not (bids_dir / 'dataset_description.json').is_file():
        raise UsageError(
            f'bids_dir {bids_dir}: no dataset_description.json here; this is not a BIDS data set. '
            'If it is one but for this file, save there as dataset_description.json: '
            '{"Name": "My data", "BIDSVersion": "1.10.0"}'
        )
    if output_dir == bids_dir:
        raise UsageError(
            f'output_dir {output_dir}: is the input data set; choose another folder, such as '
            f'{bids_dir / "derivatives" / "pumba"}'
        )
    if _inside(output_dir, bids_dir) and not _inside(output_dir, bids_dir / 'derivatives'):
        raise UsageError(
            f'output_dir {output_dir}: lies inside the input data set; choose a folder outside, '
            f'or one in {bids_dir / "derivatives"}'
        )
    _check_place(output_dir)
    for folder in (config.work_dir, *config.work_dir.parents):
        if folder == bids_dir:
            raise UsageError(
                f'work dir {config.work_dir}: lies inside the input data set; choose another '
                'with -w'
            )
    if config.work_dir == output_dir:
        raise UsageError(f'work dir {config.work_dir}: is output_dir; choose another with -w')


def _check_place(output_dir: Path) -> None:
    """Refuse a file where the output folder, or one above it, should be: a dry run makes none."""
    for folder in (output_dir, *output_dir.parents):
        if os.path.lexists(folder):
            if not folder.is_dir():
                raise UsageError(
                    f'output_dir {output_dir}: cannot write here ({folder} is not a folder)'
                )
            return


def _inside(path: Path, folder: Path) -> bool:
    return folder in path.parents
