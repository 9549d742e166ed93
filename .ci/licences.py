"""Write docs/licences.md: every part of an installation, and its licence.

``make licences`` calls this with the Python that pumba_pipe is installed for; pip-licenses reads
the licences of the packages from their metadata.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parents[1] / 'docs' / 'licences.md'
HEAD = """# Licences of all parts

What an installation consists of, and under which licence each part is. Written by `make licences`.
`make sbom` writes the same packages, with versions and checksums of the environment at hand, as a
software bill of materials: `build/sbom.json`, in the format CycloneDX.

## Parts of this repository

| Part | Licence |
|---|---|
| code, recipes, documentation | [Apache-2.0](../LICENSE) |
| weights in `pumba_pipe/weights`, trained on synthetic images alone | [Apache-2.0](../LICENSE) |
| real images in `tests/data`, not installed | [their own](../tests/data/ATTRIBUTION.md) |
| pictures of them in `docs/images`, not installed | [the same](../tests/data/ATTRIBUTION.md) |

## Packages that are installed along

Without extras, on Linux. The licence is what the metadata of each package says; packages of binary
code, such as PyTorch and OpenVINO, hold notices of further parts in their own files.

"""


def needed(name: str) -> set[str]:
    """Name all packages that a package needs, directly or not, and that are installed."""
    found: set[str] = set()
    todo = [(name, '')]
    while todo:
        one, extra = todo.pop()
        try:
            lines = requires(one) or []
        except PackageNotFoundError:
            continue
        if not extra and one in found:
            continue
        found.add(canonicalize_name(one))
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({'extra': extra}):
                key = canonicalize_name(requirement.name)
                if key not in found:
                    todo.append((key, ''))
                todo += [(key, wanted) for wanted in requirement.extras if key not in found]
    return found - {canonicalize_name(name)}


def table(tool: str, names: Sequence[str]) -> str:
    """Make the table of packages, in Markdown."""
    words = ['--from=mixed', '--format=json', f'--python={sys.executable}', '--packages', *names]
    done = subprocess.run([tool, *words], check=True, capture_output=True, text=True)
    rows = sorted(json.loads(done.stdout), key=lambda row: row['Name'].lower())
    lines = ['| Package | Licence |', '|---|---|']
    lines += [f'| {row["Name"]} | {" ".join(row["License"].split())} |' for row in rows]
    return '\n'.join(lines) + '\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog='licences.py', description=__doc__.split('\n')[0])
    parser.add_argument('tool', help='the program pip-licenses')
    given = parser.parse_args(argv)
    PAGE.write_text(HEAD + table(given.tool, sorted(needed('pumba_pipe'))), encoding='utf-8')
    print(PAGE.relative_to(PAGE.parents[1]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
