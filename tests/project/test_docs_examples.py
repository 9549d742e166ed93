"""The examples in the documents work: each page is followed from top to bottom.

Commands are called in this process, as their console scripts call them; other lines go to bash.
What would take a reader's afternoon is cut short by the table SHORTER, and by nothing else.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SHIPPED = ROOT / 'pumba_pipe' / 'weights' / 'default.safetensors'
COMMANDS = {
    point.name: point
    for point in distribution('pumba_pipe').entry_points.select(group='console_scripts')
}

RUN = ('sh', 'python')
FILES = ('toml', 'yaml', 'json')  # saved under the name that the page gives them
OUTPUT = 'text'  # what a command prints, or a listing of files; not checked
# How a line begins that sets up a machine: checked for consistency, not carried out.
INSTALLING = ('python3 -m venv', '. .venv', 'pip ', 'make ')
# How a line begins that starts several processes: test_distributed.py does that, not these tests.
SEVERAL = ('torchrun ', 'sbatch ')
# How a line begins that the shell itself carries out.
SHELL = ('cp ', 'mkdir ', 'ls ', 'echo ')
# Packages that an example needs and the tests do not install.
OPTIONAL = ('monai', 'torchio')
PLACEHOLDERS = {'BIDS_DIR': 'bids', 'OUT_DIR': 'out', 'DIR': 'cases'}

# Documented words -> what is carried out here. A few steps on small cubes make weights that can
# be read and find nothing, so images are stripped with the shipped ones after a look at those.
FEW = (
    '--steps 2 --batch 1 --coarse-size 16 --fine-size 16 --widths 2 4 --cache-size 2 '
    '--threads 1 --quiet --no-calibration'
)
SHORTER = {
    '--time-limit 8h': FEW,
    '--time-limit 3h': FEW,
    '--time-limit 5h': FEW,
    '--time-limit 2h --batch 8 --cache-workers 12': f'{FEW} --cache-workers 2',
    '--finetune cases --init default': (
        '--finetune cases --init default --steps 2 --batch 1 --coarse-size 48 --fine-size 48 '
        '--cache-size 2 --threads 1 --quiet --no-calibration'
    ),
    '-n 3 --size 48': '-n 1 --size 32',
    '-n 2 --seed 7': '-n 1 --seed 7 --size 48',
    '-n 2 --seed 2': '-n 2 --seed 2 --size 48',
    '-n 1 --voxel-mm 0.2 --seed 3': '-n 1 --voxel-mm 0.4 --seed 3 --size 48',
    '--weights runs/first/weights.safetensors': f'--weights {SHIPPED}',
    '--weights runs/vole/weights.safetensors': f'--weights {SHIPPED}',
    # two steps teach nothing, and a network that has learned nothing finds no brain to score
    "    steps=20_000,\n    heads=20,\n    head_size=96,\n    training={'batch': 2},\n": (
        f"    steps=2, heads=1, head_size=48, init_weights=Path('{SHIPPED}'),\n"
        "    training={'batch': 1, 'coarse_size': 64, 'fine_size': 64, 'cache_size': 2,\n"
        "              'calibrate': False},\n"
    ),
    # there is no SLURM here: the file is read and checked, and nothing handed out
    '--use-plugin slurm.yml': '--use-plugin slurm.yml --dry-run',
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the paragraph before it."""

    language: str
    text: str
    before: str


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding='utf-8')
    found = []
    for match in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()].rstrip().rsplit('\n\n', 1)[-1]
        found.append(Block(match[1], match[2], before))
    return found


def shortened(text: str) -> str:
    """Put what is carried out in place of what is documented."""
    for documented, carried_out in SHORTER.items():
        text = text.replace(documented, carried_out)
    return text


def lines_of(block: Block) -> list[str]:
    """Commands of a shell block, without comments."""
    joined = block.text.replace('\\\n', ' ')
    lines = [re.sub(r'(^|\s)#.*', '', line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def installing(line: str) -> bool:
    return line.startswith(INSTALLING)


def install_lines() -> list[str]:
    blocks = [block for page in PAGES for block in blocks_of(page) if block.language == 'sh']
    return [line for block in blocks for line in lines_of(block) if installing(line)]


# ---- what a reader has at hand ----


def save(path: Path, data: np.ndarray, voxel_mm: float = 4.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0]))
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)


@pytest.fixture(scope='session')
def at_hand(bids_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a BIDS data set and its results, and a template."""
    from pumba_pipe import load_recipe, synthesize

    root = tmp_path_factory.mktemp('reader')
    sample = synthesize(load_recipe(), 5, (48, 48, 48))
    head, brain = (sample.image.numpy() * 1000).astype(np.int16), sample.label.numpy()
    brain = (brain > 0).astype(np.uint8)
    for name in ('head', 'other', 'cases/human_T1w_a/image'):
        save(root / f'{name}.nii.gz', head)
    for name in ('corrected', 'cases/human_T1w_a/mask'):
        save(root / f'{name}.nii.gz', brain)
    for name in 'ab':
        save(root / f'scans/{name}/T1w.nii.gz', head)
    (root / 'subject/mri').mkdir(parents=True)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    scaled = (head / head.max() * 255).astype(np.uint8)  # as FreeSurfer does
    nib.save(nib.MGHImage(scaled, affine), root / 'subject/mri/T1.mgz')
    (root / 'list.txt').write_text('head.nii.gz\n')
    series = nib.Nifti1Image(np.stack([head] * 5, -1), np.diag([4.0, 4.0, 4.0, 1.0]))
    series.header.set_xyzt_units('mm', 'sec')
    series.header.set_zooms((4.0, 4.0, 4.0, 2.0))  # the page says so in the sidecar
    nib.save(series, root / 'bold.nii.gz')
    template = root / 'templates/tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_res-02'
    save(template.with_name(f'{template.name}_T1w.nii.gz'), head)
    save(template.with_name(f'{template.name}_desc-brain_mask.nii.gz'), brain)
    (root / 'participants.txt').write_text('01\n02\n')
    shutil.copytree(bids_dir, root / 'bids', ignore=shutil.ignore_patterns('sub-03', 'ses-b'))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_line('pumba bids out participant --nprocs 1 --skip-bids-validation', patch)
    return root


@pytest.fixture
def reader(
    at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.MonkeyPatch]:
    """A copy of that folder of one's own, which is the current one."""
    shutil.copytree(at_hand, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    # a page that does not say where templates are finds none, and fetches none
    (tmp_path / 'nowhere/tpl-none').mkdir(parents=True)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'nowhere'))
    yield monkeypatch


# ---- carrying out ----


def run_line(line: str, patch: pytest.MonkeyPatch) -> None:
    """Carry out one line of a shell block; it must succeed."""
    if line.startswith(SHELL):
        subprocess.run(['bash', '-c', line], check=True)
        return None
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)]
    if words[0] == 'export':
        name, value = words[1].split('=', 1)
        return patch.setenv(name, os.path.expandvars(value.replace('$PWD', os.getcwd())))
    with pytest.MonkeyPatch.context() as for_this_line:
        while re.match(r'[A-Z_]+=', words[0]):
            for_this_line.setenv(*words.pop(0).split('=', 1))
        for_this_line.setattr(sys, 'argv', words)
        if words[0] in COMMANDS:
            code = called(COMMANDS[words[0]].load(), words[1:])
        elif words[:2] == ['python', '-m']:
            code = called(importlib.import_module(words[2]).main, words[3:])
        else:
            raise AssertionError(f'{line}: neither a command of ours nor a known kind of line')
    assert code == 0, line


def called(main: object, words: list[str]) -> int:
    """Call a command; ``--help`` and ``--version`` leave by SystemExit."""
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


def run_script(text: str) -> None:
    """Carry out a block that is a script, as a job of a batch system would be."""
    path = os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH']])
    Path('job.sh').write_text(text)
    environment = {**os.environ, 'PATH': path, 'SLURM_ARRAY_TASK_ID': '1', 'TMPDIR': os.getcwd()}
    subprocess.run(['bash', '-eu', 'job.sh'], check=True, env=environment)


def file_name(block: Block) -> str:
    """Name that the page gives a file: in the words before it, or in its first line."""
    pattern = r'[\w-]+\.(?:toml|yml|json)'
    named = re.findall(f'`({pattern})`', block.before) or re.findall(f'^# ({pattern})', block.text)
    assert named, f'the page does not say how this file is called:\n{block.text}'
    return named[-1]


def save_file(block: Block) -> None:
    from pumba_pipe import load_recipe

    path = Path(file_name(block))
    path.write_text(block.text)
    if 'generator =' in block.text:
        load_recipe(path)


def run_block(block: Block, names: dict, patch: pytest.MonkeyPatch) -> None:
    text = shortened(block.text)
    if block.language in FILES:
        save_file(block)
    elif block.language == 'python':
        exec(compile(text, 'example', 'exec', dont_inherit=True), names)
    elif block.language == 'sh' and text.startswith('#!'):
        run_script(text)
    elif block.language == 'sh':
        for line in lines_of(Block('sh', text, '')):
            if not line.startswith((*INSTALLING, *SEVERAL)):
                run_line(line, patch)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_page_can_be_followed(page: Path, reader: pytest.MonkeyPatch) -> None:
    names: dict = {'__name__': 'example'}
    left_out = set()
    for block in blocks_of(page):
        lacking = lacking_packages(block)
        left_out |= lacking
        if not lacking:
            run_block(block, names, reader)
        weights = re.findall(r'--weights (runs/\S+)', block.text)
        check_weights(weights)
    if left_out:
        pytest.skip(f'the rest works, but not installed: {", ".join(sorted(left_out))}')


def lacking_packages(block: Block) -> set[str]:
    """Optional packages that a block imports and that are not installed."""
    imported = set(re.findall(r'^(?:import|from) (\w+)', block.text, re.MULTILINE))
    return {name for name in imported & set(OPTIONAL) if importlib.util.find_spec(name) is None}


def check_weights(files: list[str]) -> None:
    """The weights that a page goes on with were made by what it said before."""
    from pumba_pipe import load_weights

    for file in files:
        assert load_weights(file).card['stages']


# ---- what is not carried out ----


def test_every_block_is_of_a_known_kind() -> None:
    kinds = {block.language for page in PAGES for block in blocks_of(page)}
    assert kinds <= {*RUN, *FILES, OUTPUT}
    for page in PAGES:
        fences = re.findall(r'^\s*(?:```|~~~)', page.read_text('utf-8'), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize('documented', SHORTER)
def test_what_is_cut_short_is_in_a_page(documented: str) -> None:
    assert any(documented in block.text for page in PAGES for block in blocks_of(page))


def test_installing_is_consistent() -> None:
    """Files, extras and names in the lines that set up a machine are those of this repository."""
    metadata = distribution('pumba_pipe').metadata
    extras = set(metadata.get_all('Provides-Extra'))
    needed = ' '.join(distribution('pumba_pipe').requires or [])
    lines = [line for line in install_lines() if line.startswith('pip ')]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[1] in ('install', 'wheel'), line
        if '-c' in words:
            assert (ROOT / words[words.index('-c') + 1]).is_file(), line
        assert set(re.findall(r'\.\[(\w+)\]', line)) <= extras, line
        takes_value = ('-c', '-w', '--find-links', '--index-url')
        values = {words[i + 1] for i, word in enumerate(words) if word in takes_value}
        for word in words[2:]:
            if not word.startswith(('-', '.')) and word not in values:
                assert word == 'pumba_pipe' or word in needed, line


def test_make_targets_exist() -> None:
    named = {match for line in install_lines() for match in re.findall(r'^make (\w+)', line)}
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    assert named <= set(re.findall(r'^([\w-]+):', makefile, re.MULTILINE))
