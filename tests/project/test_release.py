"""The files of a release: what they hold, that they can be rebuilt, and that they work."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import types
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import pumba_pipe

ROOT = Path(__file__).parents[2]
EPOCH = 1_700_000_000
FOLDERS = ('.ci', '.github', 'bids_app', 'docker', 'docs', 'pumba_pipe', 'tests', 'workflows')
FILES = ('.dockerignore', '.pre-commit-config.yaml', 'CHANGELOG.md', 'CITATION.cff',
         'CODE_OF_CONDUCT.md', 'CONTRIBUTING.md', 'LICENSE', 'MANIFEST.in', 'Makefile',
         'README.md', 'SECURITY.md', 'constraints.txt', 'pyproject.toml', 'setup.py')  # fmt: skip
NOT_TO_COPY = shutil.ignore_patterns('__pycache__', '*.pyc')


@pytest.fixture(scope='session')
def release() -> types.ModuleType:
    """The program that builds releases; it is no part of the package."""
    spec = importlib.util.spec_from_file_location('release', ROOT / '.ci' / 'release.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_of_checkout(folder: Path) -> Path:
    """Copy what is in the repository, so that building leaves the checkout clean."""
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)  # not its time, not its permissions
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, folder / name, ignore=NOT_TO_COPY, copy_function=shutil.copyfile
        )
    return folder


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path
    wheel_of_checkout: Path  # built elsewhere, later, and not by way of the source distribution


@pytest.fixture(scope='session')
def built(release: types.ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp('release')
    wheel, sdist = release.build(copy_of_checkout(place / 'checkout'), place / 'dist', EPOCH)
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--no-index']
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', *options, '-w', place / 'other', '.'],
        cwd=copy_of_checkout(place / 'another checkout'),
        env=os.environ | {'SOURCE_DATE_EPOCH': str(EPOCH)},
        check=True,
    )
    return Built(wheel, sdist, place / 'other' / wheel.name)


@pytest.fixture(scope='session')
def wheel_names(built: Built) -> set[str]:
    return set(zipfile.ZipFile(built.wheel).namelist())


def test_wheel_can_be_rebuilt(built: Built) -> None:
    """From other folders, at another time, by way of the source distribution: the same bytes."""
    assert built.wheel.read_bytes() == built.wheel_of_checkout.read_bytes()


def test_wheel_holds_every_module_under_one_name(wheel_names: set[str]) -> None:
    own = {file.relative_to(ROOT).as_posix() for file in (ROOT / 'pumba_pipe').rglob('*.py')}
    mapped = {
        f'pumba_pipe/{file.relative_to(ROOT).as_posix()}'
        for name in ('workflows', 'bids_app')
        for file in (ROOT / name).rglob('*.py')
    }
    assert {name for name in wheel_names if name.endswith('.py')} == own | mapped
    tops = {name.partition('/')[0] for name in wheel_names}
    assert tops == {'pumba_pipe', f'pumba_pipe-{pumba_pipe.__version__}.dist-info'}


def test_wheel_holds_recipes_weights_reports_and_licence(wheel_names: set[str]) -> None:
    folder = ROOT / 'pumba_pipe'
    data = [folder / 'py.typed', *(folder / 'synthesis' / 'recipes').glob('*.toml')]
    for name in ('weights', 'reports/templates'):
        data += [file for file in (folder / name).glob('*') if file.is_file()]
    assert {file.relative_to(ROOT).as_posix() for file in data} <= wheel_names
    assert 'pumba_pipe/synthesis/recipes/default.toml' in wheel_names
    assert 'pumba_pipe/weights/default.safetensors' in wheel_names
    assert 'pumba_pipe/reports/templates/subject.html' in wheel_names
    assert any(name.endswith('.dist-info/licenses/LICENSE') for name in wheel_names)


def test_source_distribution_is_the_repository(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {name.partition('/')[2] for name in archive.getnames()}
    wanted = set(FILES)
    for folder in FOLDERS:
        wanted |= {
            file.relative_to(ROOT).as_posix()
            for file in (ROOT / folder).rglob('*')
            if file.is_file() and '__pycache__' not in file.parts
        }
    assert sorted(wanted - held) == []


def test_real_heads_are_in_no_wheel(built: Built, wheel_names: set[str]) -> None:
    """The source distribution has them: its tests need them."""
    with tarfile.open(built.sdist) as archive:
        held = {name.partition('/')[2] for name in archive.getnames()}
    images = {
        file.relative_to(ROOT).as_posix() for file in (ROOT / 'tests' / 'data').rglob('*.nii.gz')
    }
    assert images
    assert images | {'tests/data/ATTRIBUTION.md'} <= held
    assert [name for name in wheel_names if '.nii' in name or 'tests/' in name] == []


def test_every_tracked_file_is_known_here() -> None:
    """A new folder of the repository has to be thought of in MANIFEST.in and above."""
    if not (ROOT / '.git').exists():
        pytest.skip('not a clone of the repository: Git cannot say which files belong to it')
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    tops = {name.partition('/')[0] for name in listed.splitlines()}
    assert tops - {'.gitignore', *FOLDERS} <= set(FILES)


def test_description_is_fit_for_pypi(built: Built) -> None:
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'twine',
            '--no-color',
            'check',
            '--strict',
            built.wheel,
            built.sdist,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count('PASSED') == 2


def test_installed_wheel_runs_the_demo_away_from_the_repository(
    built: Built, tmp_path: Path
) -> None:
    """A fresh environment: our package from the wheel, what it needs from this environment."""
    venv.create(tmp_path / 'venv', with_pip=False, symlinks=os.name != 'nt')
    scripts = tmp_path / 'venv' / ('Scripts' if os.name == 'nt' else 'bin')
    python = scripts / 'python'
    here = {'cwd': tmp_path, 'env': clean_environment(), 'text': True, 'check': True}
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet']
    subprocess.run([*pip, '--no-deps', '--no-index', built.wheel], **here)
    borrow_packages(tmp_path, python)

    where = 'import pumba_pipe.bids_app.run as r, pumba_pipe.workflows as w; print(r, w)'
    shown = subprocess.run([python, '-P', '-c', where] if sys.version_info >= (3, 11)
                           else [python, '-c', where], capture_output=True, **here)  # fmt: skip
    assert shown.stdout.count(str(tmp_path / 'venv')) == 2

    subprocess.run([scripts / 'pumba-synth', 'bids', '-n', '1', '--size', '48'], **here)
    words = ['bids', 'out', 'participant', '--skip-bids-validation', '--nprocs', '1']
    subprocess.run([scripts / 'pumba', *words], **here)
    subprocess.run([scripts / 'pumba', 'bids', 'out', 'group'], **here)
    masks = list((tmp_path / 'out').glob('sub-*/anat/*_desc-brain_mask.nii.gz'))
    assert masks
    assert list((tmp_path / 'out').glob('sub-*.html'))
    assert list((tmp_path / 'out').glob('group_*.tsv'))


def clean_environment() -> dict[str, str]:
    """This process' environment, less what could lead Python back to the repository."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith('PYTHON')}
    return kept | {'OMP_NUM_THREADS': '1'}


def borrow_packages(place: Path, python: Path) -> None:
    """Let an environment see the packages of this one, after its own.

    Folders that a ``.pth`` file names are searched, but their own ``.pth`` files are not read: an
    editable installation of the package stays out of sight.
    """
    ask = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    folder = subprocess.run([python, '-c', ask], capture_output=True, text=True, check=True)
    others = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    Path(folder.stdout.strip(), 'borrowed.pth').write_text('\n'.join(others) + '\n')


# ---- what has to agree before a release ----


def test_versions_agree_here(release: types.ModuleType) -> None:
    written = release.versions(ROOT)
    assert {version for found in written.values() for version in found} == {pumba_pipe.__version__}
    if (ROOT / '.git').exists():
        assert release.problems(ROOT, release=False) == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small repository, ready to be released as 1.2.3 but for the tag."""
    texts = {
        'pumba_pipe/_version.py': "__version__ = '1.2.3'\n",
        'docker/Dockerfile': 'ARG VERSION=1.2.3\nFROM x\nARG VERSION=1.2.3\n',
        'docker/Apptainer.def': '%arguments\n    VERSION=1.2.3\n',
        'docker/conda/recipe.yaml': 'context:\n  version: 1.2.3\n  version: ${{ version }}\n',
        'CHANGELOG.md': '# Changelog\n\n## [1.2.3] - 2026-01-31\n\n## [1.0.0] - 2025-01-31\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, 'init', '--quiet')
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    identity = ['-c', 'user.name=nobody', '-c', 'user.email=nobody@example.org']
    subprocess.run(['git', *identity, *words], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, 'add', '--all')
    git(folder, 'commit', '--quiet', '--no-gpg-sign', '-m', 'as it is')


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_release_needs_the_tag_of_its_version(release: types.ModuleType, clone: Path) -> None:
    assert release.problems(clone, release=False) == []
    (line,) = release.problems(clone, release=True)
    assert line == 'tag of the last commit: none, not v1.2.3'
    git(clone, 'tag', 'v1.2.3')
    assert release.problems(clone, release=True) == []
    (clone / 'note').touch()
    (line,) = release.problems(clone, release=True)
    assert 'not committed' in line


@pytest.mark.parametrize(
    ('file', 'old', 'new', 'message'),
    [
        ('pumba_pipe/_version.py', '1.2.3', '1.2.4', 'not 1.2.4'),
        ('pumba_pipe/_version.py', '__version__', 'version', 'is missing, not none'),
        ('docker/Dockerfile', 'FROM x\nARG VERSION=1.2.3', 'FROM x\nARG VERSION=1.0.0', '1.0.0'),
        ('docker/Apptainer.def', 'VERSION=1.2.3', 'VERSION=', 'Apptainer.def'),
        ('docker/conda/recipe.yaml', 'version: 1.2.3', 'version: 1.2.2', '1.2.2, not 1.2.3'),
        ('CHANGELOG.md', '## [1.2.3] - 2026-01-31\n', '', 'the version is 1.0.0'),
        ('CHANGELOG.md', '2026-01-31', 'unreleased', "the date of 1.2.3 is 'unreleased'"),
    ],
)
def test_what_does_not_agree_is_named(
    release: types.ModuleType, clone: Path, file: str, old: str, new: str, message: str
) -> None:
    replace(clone / file, old, new)
    commit(clone)
    git(clone, 'tag', 'v1.2.3')  # a tag is checked whenever there is one
    assert message in '\n'.join(release.problems(clone, release=False))
