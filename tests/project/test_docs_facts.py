"""What the documents say about options, outputs and numbers is so."""

from __future__ import annotations

import contextlib
import math
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
PAGES = sorted(DOCS.glob('*.md'))
# Where all options of a command are explained.
EXPLAINED = {
    'pumba': 'bids-app.md',
    'pumba-strip': 'single-images.md',
    'pumba-train': 'training.md',
    'pumba-evaluate benchmark': 'benchmark.md',
}
# Commands with tasks, each of which has options of its own.
TASKS = {
    'pumba-evaluate': ('benchmark', 'compare', 'learning-curve', 'study'),
    'pumba-weights': ('info', 'card', 'calibrate', 'average', 'export', 'join'),
}
# Options of other programs that the pages name.
FOREIGN = {'--derivatives', '--no-index', '--find-links', '--index-url', '--array', '--mem',
           '--cpus-per-task', '--time', '--standalone', '--nproc-per-node', '--nnodes',
           '--rdzv-endpoint', '--ntasks-per-node', '--gpus-per-node', '--strict',
           '--partition', '--account', '--results', '--disable_tta', '--save_bet_mask',
           '--no_bet_image', '--verbose', '--no_gpu', '--config_file',
           '--image', '--mask'}  # fmt: skip
# The second spellings that argparse knows for those who are used to them.
SPELLINGS = {
    '--participant_label', '--session_label', '--skip_bids_validation', '--n_cpus', '--n_procs',
    '--n_proc', '--mem_mb', '--mem_gb', '--omp_nthreads',
}  # fmt: skip


def text_of(name: str) -> str:
    return (DOCS / name).read_text('utf-8')


def options_of(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    name, *task_of_it = command.split()
    (point,) = distribution('pumba_pipe').entry_points.select(name=name)
    tasks = [(), *((task,) for task in TASKS.get(command, ()))]
    for task in [tuple(task_of_it)] if task_of_it else tasks:
        with contextlib.suppress(SystemExit):
            point.load()([*task, '--help'])
    return set(re.findall(r'(?<![\w-])--[a-z][\w-]*', capsys.readouterr().out))


@pytest.mark.parametrize('command', EXPLAINED)
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = text_of(EXPLAINED[command])
    known = options_of(command, capsys) - SPELLINGS - {'--help'}
    assert sorted(option for option in known if not re.search(rf'{option}(?![\w-])', page)) == []


def test_every_option_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    from pumba_pipe.bids_app import subjects

    points = distribution('pumba_pipe').entry_points.select(group='console_scripts')
    known = (FOREIGN | SPELLINGS).union(*(options_of(point.name, capsys) for point in points))
    known |= set(re.findall(r'--[a-z][\w-]*', subjects.build_parser().format_help()))
    for page in PAGES:
        named = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', page.read_text('utf-8')))
        assert named <= known, page.name


def test_a_page_leads_to_every_other() -> None:
    readme = (DOCS.parent / 'README.md').read_text('utf-8')
    assert [page.name for page in PAGES if f'](docs/{page.name})' not in readme] == []


def test_interfaces_and_workflows_are_listed() -> None:
    from pumba_pipe import interfaces, workflows

    page = text_of('nipype.md') + text_of('training.md')
    names = [name for name in interfaces.__all__ if name[0].isupper()]
    names += [name for name in workflows.__all__ if name.startswith('init_')]
    assert [name for name in names if name not in page] == []


def test_fields_of_the_node_are_listed() -> None:
    from pumba_pipe.interfaces import SkullStrip

    page = text_of('nipype.md')
    fields = [*SkullStrip.input_spec().get(), *SkullStrip.output_spec().get()]
    assert [field for field in fields if f'`{field}`' not in page] == []


def test_fields_of_brain_extraction_are_those_of_niworkflows() -> None:
    from pumba_pipe.workflows.brain_extraction import OUTPUTS, init_brain_extraction_wf

    page = text_of('nipype.md')
    workflow = init_brain_extraction_wf(omp_nthreads=1)
    inputs = workflow.get_node('inputnode').inputs.copyable_trait_names()
    assert [field for field in (*inputs, *OUTPUTS) if f'`{field}`' not in page] == []


def test_the_quality_record_is_explained() -> None:
    from pumba_pipe.extraction.quality import Quality

    page = text_of('quality-control.md')
    assert [name for name in Quality.__dataclass_fields__ if f'| `{name}` |' not in page] == []


def test_the_score_is_learned_as_the_page_says() -> None:
    from pumba_pipe.extraction.quality import EDGE_SHARE, NO_CALIBRATION
    from pumba_pipe.network.calibration import GOOD_DICE
    from pumba_pipe.training import calibration_images
    from pumba_pipe.training.calibration_dice import ALARMS
    from pumba_pipe.training.calibration_no_brain import FALSE_ALARMS
    from pumba_pipe.training.calibration_scores import SHARES
    from pumba_pipe.training.settings import CALIBRATION_HEADS

    page = re.sub(r'\s+', ' ', text_of('quality-control.md'))
    low, high = calibration_images.VOLUMES_ML
    for words in (
        f'`edge_contact` is above {EDGE_SHARE}',
        f'a note says `{NO_CALIBRATION}`',
        f'of {low:g} to {high:,.0f} mL of brain',
        f'below which {ALARMS:.0%} of the good masks'.replace('%', ' %'),
        f'(Dice from {GOOD_DICE})',
        f'{FALSE_ALARMS:.1%} of the made heads are beyond'.replace('%', ' %'),
    ):
        assert words in page
    further = round(sum(SHARES.values()) * CALIBRATION_HEADS)
    further -= CALIBRATION_HEADS
    page = re.sub(r'\s+', ' ', text_of('training.md'))
    assert f'{CALIBRATION_HEADS} made heads and {further} further images' in page


@pytest.mark.parametrize('page', ['quality-control.md', 'score.md', 'faq.md'])
def test_a_wide_interval_is_that_of_every_such_mask(page: str) -> None:
    """The example is what the shipped weights say, whatever the image."""
    from pumba_pipe.extraction.expected_dice import expit, interval
    from pumba_pipe.network.weights import load_weights
    from pumba_pipe.training.calibration_dice import CONFIDENCE

    calibration = load_weights().calibration
    assert calibration is not None and CONFIDENCE == 0.9
    low, high = map(expit, interval(calibration.dice, math.log(0.94 / 0.06)))
    text = re.sub(r'\s+', ' ', text_of(page))
    assert f'0.94 ({low:.2f}-{high:.2f})' in text and 'one in twenty' in text


def test_the_cut_is_where_the_pages_say() -> None:
    from pumba_pipe.extraction.border import COARSE, LARGE, LESS_TINY, SMALL, TINY

    page = re.sub(r'\s+', ' ', text_of('faq.md'))
    assert f'more than {LARGE:,.0f} mL' in page
    assert f'up to {TINY:g} mL' in page
    assert f'From {LESS_TINY:g} to {SMALL:g} mL' in page
    assert f'fewer than {COARSE:g} voxels' in page


def test_outliers_are_found_as_the_page_says() -> None:
    from pumba_pipe.reports.outliers import LIMIT, MIN_GROUP

    page = re.sub(r'\s+', ' ', text_of('quality-control.md'))
    assert f'more than {LIMIT} robust standard deviations' in page
    assert f'fewer than {MIN_GROUP} images' in page


def test_memory_is_what_the_pages_say() -> None:
    from pumba_pipe.interfaces import bias_mem_gb, strip_mem_gb

    shape = (256, 256, 256)
    for name in ('faq.md', 'install.md'):
        assert f'bout {strip_mem_gb(shape):.1f} GB' in text_of(name)
    assert abs(bias_mem_gb(shape) - strip_mem_gb(shape)) < 0.1, 'as much for N4'


def test_names_of_outputs_are_those_of_the_page() -> None:
    from pumba_pipe.workflows.naming import (
        brain_path,
        mask_path,
        parse_name,
        preproc_path,
        probability_path,
        transform_paths,
    )
    from pumba_pipe.workflows.templates import parse_space

    page = text_of('outputs.md')
    space = parse_space('MNI152NLin2009cAsym:res-2')
    t1w, t2w = parse_name(Path('sub-01_T1w.nii.gz')), parse_name(Path('sub-01_T2w.nii.gz'))
    made = [rule(name) for name in (t1w, t2w)
            for rule in (brain_path, mask_path, preproc_path, probability_path)]  # fmt: skip
    made += [mask_path(t1w, space), preproc_path(t1w, space)]
    made += [*transform_paths(t1w, space, '.txt')]
    made_names = [path.name for path in made]
    assert [name for name in made_names if f'`{name}`' not in page] == []
    mp2rage = mask_path(parse_name(Path('sub-01_inv-1_MP2RAGE.nii.gz')))
    assert f'`{mp2rage.name.removesuffix(".nii.gz")}`' in page


def test_default_modalities_and_uncorrected_images() -> None:
    from pumba_pipe.bids_app.options.config import DEFAULT_MODALITIES
    from pumba_pipe.workflows.settings import NOT_CORRECTED

    assert f'`{" ".join(DEFAULT_MODALITIES)}`' in text_of('bids-app.md')
    assert [name for name in NOT_CORRECTED if name != 'UNIT1' and 'map' not in name] == ['MTsat']


def test_volumes_have_one_unit_wherever_a_user_reads_them() -> None:
    """Keys and columns are called ``volume_ml``; in words it is mL, as in journals."""
    read = [
        *DOCS.parent.glob('*.md'),
        *DOCS.parent.glob('docs/**/*.md'),
        *DOCS.parent.glob('docs/**/*.ipynb'),
    ]
    read += [*DOCS.parent.glob('pumba_pipe/**/*.py'), *DOCS.parent.glob('pumba_pipe/**/*.html')]
    assert len(read) > 100
    assert [path for path in read if re.search(r'\bml\b', path.read_text('utf-8'))] == []
