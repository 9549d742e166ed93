"""Plan of a run: images, settings, and the state of earlier results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pumba_pipe.bids_app.execution.device_check import prepare_weights
from pumba_pipe.bids_app.execution.plugin_file import PluginChoice, read_plugin
from pumba_pipe.bids_app.options.config import RunConfig, UsageError
from pumba_pipe.bids_app.selection.dataset import Selection, select_images, validate
from pumba_pipe.bids_app.selection.species import named_species
from pumba_pipe.workflows.base import StripSettings
from pumba_pipe.workflows.done import judge
from pumba_pipe.workflows.manual_masks import find_masks, with_manual_mask
from pumba_pipe.workflows.naming import subject_of
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.templates import Template, find_template, parse_space

from pumba_pipe.common.errors import InputError
from pumba_pipe.common.signals import raise_if_interrupted
from pumba_pipe.results.judgement import AGAIN, Judgement

Log = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A run, checked and ready to be carried out.

    Attributes
    ----------
    config : RunConfig
    settings : StripSettings
    images : list of BrainOutputs
        All that were asked for.
    found : dict of Path to Judgement
        What is there of each image.
    broken : dict of Path to str
        Images that cannot be read, or whose results have no place, and why.
    plugin : PluginChoice or None
        Nipype plugin; None for our own choice.
    """

    config: RunConfig
    settings: StripSettings
    images: list[BrainOutputs]
    found: dict[Path, Judgement]
    broken: dict[Path, str] = field(default_factory=dict)
    plugin: PluginChoice | None = None

    @property
    def todo(self) -> list[BrainOutputs]:
        """Images that are not done, or out of date."""
        return [one for one in self.images if self.found[one.source].state in AGAIN]

    @property
    def subjects(self) -> list[str]:
        """Labels of the participants, in order."""
        sources = [*(outputs.source for outputs in self.images), *self.broken]
        return sorted({subject_of(source) for source in sources} - {''})  # not of folders

    def count(self, state: str) -> int:
        """How many images are in a state."""
        return sum(found.state == state for found in self.found.values())

    @property
    def manual(self) -> tuple[int, int]:
        """How many masks in the output folder are kept as edited, and how many given ones used."""
        kept = sum(outputs.kept_mask is not None for outputs in self.images)
        given = sum(outputs.manual is not None for outputs in self.images) - kept
        return kept + self.count('edited'), given


def make_plan(config: RunConfig, log: Log) -> Plan:
    """Check everything that can be checked before any work.

    Parameters
    ----------
    config : RunConfig
    log : callable
        Takes a line for the user.

    Raises
    ------
    PumbaError
        The run cannot be carried out as asked for.
    """
    _check_extras(config)
    plugin = read_plugin(config.plugin_file) if config.plugin_file else None
    templates = _templates(config)
    selection = _selected(config, log)
    settings = _settings(config, templates)
    images = _all_outputs(config, selection.images, settings, log)
    raise_if_interrupted()  # all that takes long to be imported has been
    broken = selection.broken | same_results(images, config.output_dir)
    images = [outputs for outputs in images if outputs.source not in broken]
    images, unusable = _with_manual_masks(config, images, log)
    found, problems = _judged(images)
    images = [outputs for outputs in images if outputs.source in found]
    return Plan(config, settings, images, found, broken | unusable | problems, plugin)


def _templates(config: RunConfig) -> tuple[Template, ...]:
    """Find the templates that images are registered to; a dry run fetches none."""
    return tuple(
        find_template(parse_space(space), fetch=not config.dry_run) for space in config.spaces
    )


def _selected(config: RunConfig, log: Log) -> Selection:
    """Look at the data set, and say what is odd about it."""
    warning = None if config.skip_bids_validation else validate(config)
    if warning:
        log(f'warning: {warning}')
    selection = select_images(config)
    for remark in selection.remarks:
        log(remark)
    return selection


def _settings(config: RunConfig, templates: tuple[Template, ...]) -> StripSettings:
    """How images are stripped, with weights and a device that were tried."""
    checked = prepare_weights(config)
    return StripSettings(
        weights=checked.weights,
        sha256=checked.sha256,
        border_mm=config.border_mm,
        csf=config.csf,
        device=checked.device,
        num_threads=config.omp_nthreads,
        n4=config.n4,
        spaces=templates,
        deformable=config.deformable,
        probability=config.probability,
        reports=config.reports,
        sloppy=config.sloppy,
        seed=config.seed,
    )


def _all_outputs(
    config: RunConfig, images: Sequence[Path], settings: StripSettings, log: Log
) -> list[BrainOutputs]:
    """Say for each image what is written, and where."""
    species = named_species(config, map(subject_of, images), log)
    return [
        BrainOutputs(
            path,
            config.bids_dir,
            config.output_dir,
            settings,
            species=species.get(subject_of(path), ''),
        )
        for path in images
    ]


def _judged(
    images: Sequence[BrainOutputs],
) -> tuple[dict[Path, Judgement], dict[Path, str]]:
    """Say what there is of each image, and why some cannot be done."""
    found: dict[Path, Judgement] = {}
    problems: dict[Path, str] = {}
    for outputs in images:
        judgement = judge(outputs)
        blocked = judgement.reason if judgement.state == 'blocked' else ''
        problem = blocked or _problem_of_mask(outputs, judgement)
        if problem:
            problems[outputs.source] = problem
        else:
            found[outputs.source] = judgement
    return found, problems


def _with_manual_masks(
    config: RunConfig, images: Sequence[BrainOutputs], log: Log
) -> tuple[list[BrainOutputs], dict[Path, str]]:
    """Give images the masks that take the place of the network's; name those that cannot be used.

    Raises
    ------
    UsageError
        There are no masks in the folder that was named.
    """
    given: dict[Path, list[Path]] = {}
    if config.masks is not None:
        try:
            given = find_masks(config.masks, images, log)
        except InputError as error:
            raise UsageError(f'--masks {error}') from None
        log(f'--masks {config.masks}: masks of {len(given)} of {len(images)} images')
    ready, unusable = [], {}
    for outputs in images:
        candidates = given.get(outputs.source, [])
        if len(candidates) > 1:
            names = ', '.join(mask.name for mask in candidates)
            unusable[outputs.source] = f'--masks has several masks of this image ({names})'
            continue
        mask = candidates[0] if candidates else None
        try:
            chosen = with_manual_mask(outputs, mask, config.discard_edits)
        except OSError as error:
            unusable[outputs.source] = (
                f'{error.filename}: cannot read this file ({error.strerror})'
            )
            continue
        if mask is not None and chosen.kept_mask and not mask.samefile(outputs.mask):
            log(f'{outputs.mask}: was edited by hand and is kept; {mask} is not used')
        ready.append(chosen)
    return ready, unusable


def _problem_of_mask(outputs: BrainOutputs, found: Judgement) -> str:
    """Say why a manual mask cannot be used; nothing when it can, or was used before."""
    from pumba_pipe.images.masks import check_grid, grid_of, load_mask

    if outputs.manual is None or found.state not in AGAIN:
        return ''
    try:
        mask, affine = load_mask(outputs.manual.path)
        image_shape, image_affine = grid_of(outputs.source)
        check_grid(outputs.manual.path, mask.shape, affine, image_shape, image_affine)
    except InputError as error:
        return str(error)
    return '' if mask.any() else f'{outputs.manual.path}: this mask is empty'


def same_results(images: Sequence[BrainOutputs], output_dir: Path) -> dict[Path, str]:
    """Find images whose results would have the same names, and say with which others."""
    fold = str.casefold if ignores_case(output_dir) else str
    users: dict[str, dict[Path, None]] = defaultdict(dict)
    for outputs in images:
        for target in outputs.everything():
            users[fold(str(target.path))][outputs.source] = None
    shared: dict[Path, str] = {}
    for sources in users.values():
        if len(sources) > 1:
            for source in sources:
                others = ', '.join(one.name for one in sources if one != source)
                shared[source] = f'its results would have the same names as those of {others}'
    return shared


def ignores_case(folder: Path) -> bool:
    """Whether a folder's disk takes small and capital letters for the same; nothing is written."""
    for there in (folder, *folder.parents):
        other = there.with_name(there.name.swapcase()) if there.name else there
        if other != there and there.exists():
            return other.exists() and there.samefile(other)
    return False


def _check_extras(config: RunConfig) -> None:
    """Refuse what needs a package that is not installed."""
    if config.deformable and find_spec('ants') is None:
        raise UsageError(
            '--deformable: needs ANTsPy, which is not installed; run "pip install antspyx"'
        )
    if config.resource_monitor and find_spec('psutil') is None:
        raise UsageError(
            '--resource-monitor: needs psutil, which is not installed; run "pip install psutil"'
        )
