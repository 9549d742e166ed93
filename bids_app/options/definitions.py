"""The options of `pumba`, group by group."""

from __future__ import annotations

import argparse
from pathlib import Path

from pumba_pipe.bids_app.options.config import (
    MAX_DEFAULT_THREADS,
    MODALITIES,
    OTHER_MODALITIES,
    RunConfig,
)
from pumba_pipe.bids_app.options.value_types import (
    border,
    existing_file,
    gigabytes,
    memory_gb,
    participant_label,
    seed,
    session_label,
    space,
)
from pumba_pipe.workflows.settings import N4_CHOICES

from pumba_pipe.common.resources import MEMORY_SHARE
from pumba_pipe.common.shared_options import add_gpu, add_quiet, add_version, positive_int
from pumba_pipe.extraction.border import CSF, csf_choice

N_CPUS = ('--n_cpus', '--n-procs', '--n_procs', '--n_proc')  # spellings of other programs


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all options."""
    for add in (add_selection, _add_method, _add_output, _add_resources, _add_conduct):
        add(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add what chooses among the images of a data set."""
    group = parser.add_argument_group('which images')
    group.add_argument(
        '--participant-label', '--participant_label', nargs='+', type=participant_label,
        default=[], metavar='LABEL', help='participants, with or without "sub-"; default: all',
    )  # fmt: skip
    group.add_argument(
        '--session-label', '--session_label', nargs='+', type=session_label,
        default=[], metavar='LABEL', help='sessions, with or without "ses-"; default: all',
    )  # fmt: skip
    group.add_argument(
        '--modalities', nargs='+', choices=MODALITIES, metavar='SUFFIX',
        help=f'suffixes of the images; default: {" ".join(RunConfig.modalities)} (group level: '
        f'all that have results); also known: {" ".join(OTHER_MODALITIES)}',
    )  # fmt: skip
    group.add_argument(
        '--species', nargs='+', default=[], metavar='NAME',
        help='only participants of these species by the column "species" of participants.tsv: '
        'human, mouse, rat, macaque, ... or "mus musculus"; those without an entry are human',
    )  # fmt: skip
    group.add_argument(
        '--bids-filter-file', type=existing_file, metavar='FILE',
        help='JSON file with PyBIDS filters for each kind of image, such as '
        '{"t1w": {"acquisition": null, "run": "*"}}; null: without, "*": with any',
    )  # fmt: skip
    group.add_argument(
        '--bids-database-dir', type=Path, metavar='DIR',
        help='PyBIDS index of the data set, made when it is not there: the list of files is taken '
        'from it, and values of sidecars for filters',
    )  # fmt: skip


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how they are stripped')
    group.add_argument(
        '--border-mm', type=border, default=RunConfig.border_mm, metavar='MM',
        help='grow masks by so many millimetres, shrink them when negative; '
        'default: %(default)g',
    )  # fmt: skip
    group.add_argument(
        '--csf', type=csf_choice, choices=CSF, default=RunConfig.csf,
        help='a rim of the CSF around the brain: part of the masks or not; auto: not in brains of '
        'human size; default: %(default)s',
    )  # fmt: skip
    group.add_argument(
        '--masks', type=Path, metavar='DIR',
        help='folder with masks by hand or by another tool, as BIDS names them (a derivative, or '
        "the output folder itself): they take the place of the network's",
    )  # fmt: skip
    group.add_argument(
        '--discard-edits', action='store_true',
        help='list the masks in the output folder that were edited by hand, or taken from --masks '
        'by an earlier run, and make them again',
    )  # fmt: skip
    group.add_argument('--weights', type=existing_file, metavar='FILE', help='from pumba-train')
    group.add_argument(
        '--device', default=RunConfig.device,
        help='auto (a GPU if there is one), cpu, cuda, cuda:N or mps; default: %(default)s',
    )  # fmt: skip
    add_gpu(group)
    group.add_argument(
        '--n4', choices=N4_CHOICES, default=RunConfig.n4,
        help='correction of intensity bias (N4): mask: of what is written, after stripping, with '
        'the mask as weights; both: also of what the network sees; off: none; '
        'default: %(default)s',
    )  # fmt: skip
    group.add_argument(  # of earlier versions
        '--no-n4', dest='n4', action='store_const', const='off', help=argparse.SUPPRESS
    )
    group.add_argument(
        '--output-spaces', nargs='+', type=space, default=[], metavar='SPACE',
        help='also register each image to these TemplateFlow templates, as '
        'NAME[:cohort-X][:res-Y], such as MNI152NLin2009cAsym:res-2',
    )  # fmt: skip
    group.add_argument(
        '--deformable', action='store_true',
        help='register with deformations, not only affinely; needs the extra "ants"',
    )  # fmt: skip
    group.add_argument(
        '--random-seed', type=seed, default=RunConfig.seed, metavar='N',
        help='of the registration; default: %(default)s',
    )  # fmt: skip
    group.add_argument(
        '--sloppy',
        action='store_true',
        help='few iterations of N4 and of the registration: quick and rough, for trying out',
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('what is written')
    group.add_argument(
        '--probability', action='store_true', help='also write the probability of being brain'
    )
    group.add_argument('--no-reports', action='store_true', help='no figures and pages')
    group.add_argument(
        '--ratings', nargs='+', type=existing_file, default=[], metavar='FILE',
        help='group level: tables of ratings, as the pages export them; they go into its tables '
        'and pages',
    )  # fmt: skip
    only = group.add_mutually_exclusive_group()
    only.add_argument(
        '--dry-run', action='store_true', help='check everything, list what would be done, stop'
    )
    only.add_argument(
        '--reports-only', action='store_true', help='write the pages again from earlier results'
    )
    only.add_argument(
        '--boilerplate-only',
        action='store_true',
        help='write the boilerplate for a paper (CITATION) only',
    )
    group.add_argument(
        '--write-graph', action='store_true', help='write a picture of the workflow to the logs'
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('resources')
    group.add_argument(
        '-w', '--work-dir', type=Path, default=RunConfig.work_dir, metavar='DIR',
        help='folder for intermediate files; default: ./%(default)s',
    )  # fmt: skip
    group.add_argument(
        '--clean-workdir', action='store_true',
        help='remove what earlier runs left in the work dir first',
    )  # fmt: skip
    group.add_argument(
        '--nprocs', '--nthreads', '--n-cpus', *N_CPUS, type=positive_int, metavar='N',
        help='CPUs to use altogether; default: all that this process may use',
    )  # fmt: skip
    group.add_argument(
        '--omp-nthreads', '--omp_nthreads', type=positive_int, metavar='N',
        help=f'CPUs to use for one image; default: {MAX_DEFAULT_THREADS}, or --nprocs if less',
    )  # fmt: skip
    group.add_argument(
        '--mem', '--mem-mb', '--mem_mb', type=memory_gb, metavar='SIZE',
        help='memory to use altogether, in MB or with a unit (8G); default: '
        f'{MEMORY_SHARE:.0%}% of what this process may use',
    )  # fmt: skip
    group.add_argument(
        '--mem-gb', '--mem_gb', dest='mem', type=gigabytes, default=argparse.SUPPRESS,
        metavar='GB', help='the same in GB',
    )  # fmt: skip
    group.add_argument(
        '--use-plugin', '--nipype-plugin-file', type=existing_file, metavar='FILE',
        help='YAML file with a Nipype plugin and its settings (plugin, plugin_args)',
    )  # fmt: skip
    group.add_argument(
        '--resource-monitor', action='store_true',
        help='record memory and CPU use of each step; needs psutil',
    )  # fmt: skip


def _add_conduct(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('conduct')
    group.add_argument(
        '--skip-bids-validation', '--skip_bids_validation', action='store_true',
        help='do not run bids-validator-deno on the input',
    )  # fmt: skip
    group.add_argument(
        '--config-file', type=existing_file, metavar='FILE',
        help='TOML file with options, such as the pumba.toml of an earlier run; the command line '
        'goes before',
    )  # fmt: skip
    group.add_argument(
        '--stop-on-first-crash', action='store_true', help='give up when the first image fails'
    )
    group.add_argument(
        '--notrack', action='store_true', help='accepted and without effect: nothing is ever sent'
    )
    group.add_argument(
        '-v', '--verbose', action='count', default=RunConfig.verbosity,
        help='print more; -vv: everything',
    )  # fmt: skip
    add_quiet(group)
    add_version(parser)
