"""Names of image files."""

from __future__ import annotations

from pathlib import PurePath

from pumba_pipe.common.files import image_suffix


def image_stem(path: PurePath) -> str:
    """Return the name of an image file without its suffix, ``.nii.gz`` counted as one.

    Examples
    --------
    >>> from pathlib import Path
    >>> image_stem(Path('data/sub-01_T1w.nii.gz')), image_stem(Path('a.b.nii'))
    ('sub-01_T1w', 'a.b')
    """
    return path.name[: len(path.name) - len(image_suffix(path))]
