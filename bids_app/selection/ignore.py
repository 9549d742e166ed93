"""``.bidsignore``: files of a data set that its owner does not count as BIDS.

Patterns are those of ``.gitignore``, as the validator reads them: one on a line; ``#`` begins a
comment, ``!`` takes files back in, a slash at the end means folders alone, a slash elsewhere ties
the pattern to the folder of the data set; ``*`` and ``?`` stop at slashes, ``**`` does not.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FILE = '.bidsignore'
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Ignored:
    """Patterns of a data set, in their order.

    Examples
    --------
    >>> ignored = Ignored.of(['*_acq-loc_*', '/extra/', '!sub-02*'])
    >>> ignored('sub-01/anat/sub-01_acq-loc_T1w.nii.gz'), ignored('sub-01/anat/sub-01_T1w.nii')
    (True, False)
    >>> ignored('sub-02/anat/sub-02_acq-loc_T1w.nii.gz')
    False
    """

    rules: tuple[tuple[re.Pattern[str], bool, bool], ...] = ()  # pattern, folders only, taken back

    @classmethod
    def of(cls, lines: list[str]) -> Ignored:
        """Understand lines; those that cannot be understood are left out."""
        rules = []
        for line in lines:
            text = line.rstrip()
            if not text or text.startswith('#'):
                continue
            back = text.startswith('!')
            text = text[1:] if back else text.removeprefix('\\')
            folders = text.endswith('/')
            text = text.rstrip('/')
            if not text:
                continue
            anchored = '/' in text
            try:
                pattern = re.compile(_regex(text.lstrip('/'), anchored), re.DOTALL)
            except re.error:
                continue
            rules.append((pattern, folders, back))
        return cls(tuple(rules))

    def __call__(self, path: str) -> bool:
        """Whether a file is left out; `path` is relative to the data set, with slashes."""
        if not self.rules:
            return False
        parts = PurePosixPath(path).parts
        for end in range(1, len(parts) + 1):
            if self._matches('/'.join(parts[:end]), is_folder=end < len(parts)):
                return True  # what lies in a folder that is left out cannot be taken back
        return False

    def _matches(self, path: str, is_folder: bool) -> bool:
        found = False
        for pattern, folders, back in self.rules:
            if (is_folder or not folders) and pattern.fullmatch(path):
                found = not back
        return found


def read_ignored(bids_dir: Path) -> Ignored:
    """Read the patterns of a data set; without a file that can be read, there are none."""
    try:
        with (bids_dir / FILE).open('rb') as file:
            content = os.fsdecode(file.read(MAX_BYTES))
    except OSError:
        return Ignored()
    return Ignored.of(content.removeprefix('\ufeff').splitlines())


def _regex(pattern: str, anchored: bool) -> str:
    """Translate a pattern; one that is not anchored may begin in any folder."""
    found = '' if anchored else '(?:.*/)?'
    index = 0
    while index < len(pattern):
        rest = pattern[index:]
        if rest.startswith('**/'):
            found, index = found + '(?:.*/)?', index + 3
        elif rest.startswith('**'):
            found, index = found + '.*', index + 2
        elif rest[0] == '*':
            found, index = found + '[^/]*', index + 1
        elif rest[0] == '?':
            found, index = found + '[^/]', index + 1
        elif group := re.match(r'\[(!|\^)?(\]?[^\]]*)\]', rest):
            inner = group[2].replace('\\', '\\\\').replace('[', '\\[')
            found += f'[{"^" if group[1] else ""}{inner}]'
            index += len(group[0])
        else:
            escaped = rest[0] == '\\' and len(rest) > 1
            found += re.escape(rest[1] if escaped else rest[0])
            index += 2 if escaped else 1
    return found
