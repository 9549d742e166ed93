"""The files of a release: built from the last commit, twice, compared and checked.

``make dist`` calls this, and ``make release`` calls it with ``--release``: then the last commit
has to carry the tag of its version, and the changelog a date for it. docs/releasing.md says why
the version is not taken from the tag.
"""

from __future__ import annotations

import argparse
import filecmp
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNRELEASED = 'unreleased'
# Where the version is written; all places have to agree with the first.
PLACES = {
    'pumba_pipe/_version.py': r"^__version__ = '([^']+)'$",
    'docker/Dockerfile': r'^ARG VERSION=(\S+)$',
    'docker/Apptainer.def': r'^ *VERSION=(\S+)$',
    'docker/conda/recipe.yaml': r'^  version: (\d\S*)$',
    'CHANGELOG.md': r'^## \[([^\]]+)\]',
}
HEADING = r'^## \[[^\]]+\] - (\S+)$'


class ReleaseError(Exception):
    """What stands in the way, a line each."""


def versions(root: Path) -> dict[str, list[str]]:
    """Find every version that is written down; of the changelog, the newest.

    Returns
    -------
    dict of str to list of str
        Versions by file, of `PLACES`.
    """
    found = {name: _all(root / name, pattern) for name, pattern in PLACES.items()}
    found['CHANGELOG.md'] = found['CHANGELOG.md'][:1]
    return found


def problems(root: Path, release: bool) -> list[str]:
    """Say what does not agree: version, changelog, and the tag of the last commit.

    Parameters
    ----------
    root : Path
        A clone of the repository.
    release : bool
        A tag is needed, with nothing left uncommitted; else one is checked when it is there.

    Returns
    -------
    list of str
        A line for each problem.
    """
    written = versions(root)
    version = (written['pumba_pipe/_version.py'] or ['none'])[0]
    wrong = [
        f'{name}: the version is {", ".join(found) or "missing"}, not {version}'
        for name, found in written.items()
        if set(found) != {version}
    ]
    tags = _git(root, 'tag', '--points-at', 'HEAD', '--list', 'v*').split()
    if not (tags or release):
        return wrong
    if tags != [f'v{version}']:
        wrong.append(f'tag of the last commit: {" ".join(tags) or "none"}, not v{version}')
    date = (_all(root / 'CHANGELOG.md', HEADING) or [UNRELEASED])[0]
    if not re.fullmatch(r'\d{4}-\d\d-\d\d', date):
        wrong.append(f'CHANGELOG.md: the date of {version} is {date!r}, not year-month-day')
    if release and _git(root, 'status', '--porcelain'):
        wrong.append('there are changes that are not committed: "git status" lists them')
    return wrong


def build(source: Path, out: Path, epoch: int) -> list[Path]:
    """Build the source distribution, and from it the wheel.

    Parameters
    ----------
    source : Path
        The repository's files. Folders for building are left there.
    out : Path
        Folder for the two files.
    epoch : int
        Time that the files in the wheel carry, in seconds since 1970.

    Returns
    -------
    list of Path
        Wheel and source distribution.
    """
    subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, source],
        env=os.environ | {'SOURCE_DATE_EPOCH': str(epoch)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return [*out.glob('*.whl'), *out.glob('*.tar.gz')]


def build_last_commit(root: Path, out: Path) -> list[Path]:
    """Build what the last commit holds, twice; the two wheels have to be the same.

    Permissions are made those of umask 022, because the wheel records them.
    """
    epoch = int(_git(root, 'log', '-1', '--format=%ct'))
    archive = subprocess.run(['git', 'archive', 'HEAD'], cwd=root, capture_output=True, check=True)
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as scratch:
        built = []
        for name in ('once', 'again'):
            source = Path(scratch, name)
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
                files.extractall(source, filter='data')
            built.append(build(source, Path(scratch, f'{name}-dist'), epoch))
        (wheel, sdist), (other, _) = built
        if not filecmp.cmp(wheel, other, shallow=False):
            raise ReleaseError(f'{wheel.name}: two builds differ')
        subprocess.run([sys.executable, '-m', 'twine', 'check', '--strict', wheel, sdist],
                       check=True)  # fmt: skip
        out.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(file, out)) for file in (wheel, sdist)]


def _all(file: Path, pattern: str) -> list[str]:
    return re.findall(pattern, file.read_text(encoding='utf-8'), re.MULTILINE)


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ['git', *words], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Check, build, and print where the files are."""
    parser = argparse.ArgumentParser(prog='release.py', description=__doc__.split('\n')[0])
    parser.add_argument('--release', action='store_true', help='the last commit is a release')
    parser.add_argument('--out', type=Path, default=ROOT / 'dist', help='default: dist')
    given = parser.parse_args(argv)
    try:
        wrong = problems(ROOT, given.release)
        if wrong:
            raise ReleaseError('\n'.join(wrong))
        for file in build_last_commit(ROOT, given.out):
            print(file)
    except ReleaseError as error:
        print('\n'.join(f'release: {line}' for line in str(error).split('\n')), file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        command = ' '.join(map(str, error.cmd))
        print(f'release: {command}: exit code {error.returncode}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
