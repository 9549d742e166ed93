"""Plan of a run: images, settings, and the state of earlier results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pumba_pipe.bids_app.execution.engine import prepare_engine
from pumba_pipe.bids_app.execution.plugin_file import PluginChoice, read_plugin
from pumba_pipe.bids_app.options.config import RunConfig, UsageError
from pumba_pipe.bids_app.selection.dataset import select_images, validate
from pumba_pipe.workflows.base import StripSettings
from pumba_pipe.workflows.naming import subject_of
from pumba_pipe.workflows.outputs import BrainOutputs
from pumba_pipe.workflows.templates import find_template, parse_space

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
    states : dict of Path to str
        What is there of each image: see `BrainOutputs.state`.
    broken : dict of Path to str
        Images that cannot be read, and why.
    plugin : PluginChoice or None
        Nipype plugin; None for our own choice.
    """

    config: RunConfig
    settings: StripSettings
    images: list[BrainOutputs]
    states: dict[Path, str]
    broken: dict[Path, str] = field(default_factory=dict)
    plugin: PluginChoice | None = None

    @property
    def todo(self) -> list[BrainOutputs]:
        """Images that are not done, or out of date."""
        return [outputs for outputs in self.images if self.states[outputs.source] != 'done']

    @property
    def subjects(self) -> list[str]:
        """Labels of the participants, in order."""
        sources = [*(outputs.source for outputs in self.images), *self.broken]
        return sorted({subject_of(source) for source in sources})

    def count(self, state: str) -> int:
        """How many images are in a state."""
        return sum(found == state for found in self.states.values())

    def summary(self) -> str:
        """One line about what there is to do."""
        outdated = self.count('outdated')
        return (
            f'{len(self.images)} images: {len(self.todo)} to strip on {self.settings.device}, '
            f'{self.count("done")} done before'
            + (f', {len(self.broken)} more cannot be read' if self.broken else '')
            + (f', {outdated} done before but out of date' if outdated else '')
        )

    def listing(self) -> list[str]:
        """A line for each image."""
        root = self.config.bids_dir
        words = {
            'done': 'done before',
            'missing': 'would be stripped',
            'outdated': 'would be stripped again, out of date',
        }
        return [
            *(
                f'{outputs.source.relative_to(root)}: {words[self.states[outputs.source]]} -> '
                f'{outputs.mask.relative_to(outputs.output_dir)}'
                for outputs in self.images
            ),
            *(f'{path.relative_to(root)}: {reason}' for path, reason in self.broken.items()),
        ]


def weights_name(config: RunConfig) -> str:
    """How the weights are called: ``default``, or the name of a file."""
    return config.weights.name if config.weights else 'default'


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
    templates = tuple(find_template(parse_space(space)) for space in config.spaces)
    warning = None if config.skip_bids_validation else validate(config)
    if warning:
        log(f'warning: {warning}')
    selection = select_images(config)
    for remark in selection.remarks:
        log(remark)
    engine = prepare_engine(config)
    settings = StripSettings(
        weights=engine.weights,
        sha256=engine.sha256,
        border_mm=config.border_mm,
        csf=config.csf,
        device=engine.device,
        num_threads=config.omp_nthreads,
        bias_correction=config.n4,
        spaces=templates,
        deformable=config.deformable,
        probability=config.probability,
        reports=config.reports,
        sloppy=config.sloppy,
        seed=config.seed,
    )
    images = [
        BrainOutputs(path, config.bids_dir, config.output_dir, settings)
        for path in selection.images
    ]
    states = {outputs.source: outputs.state() for outputs in images}
    return Plan(config, settings, images, states, selection.broken, plugin)


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
