"""Where the figures of a report lie, and what they are called."""

from __future__ import annotations

from pathlib import Path

from pumba_pipe.common.image_names import image_stem

EXTENSIONS = {'mosaic': '.png', 'before_after': '.png', 'thumbnail': '.jpg', 'viewer': '.json'}
FIGURES = 'figures'


def figure_names(source: Path) -> dict[str, str]:
    """Names of the figures of an image, without folder.

    They go to ``sub-<label>/figures`` of the derivative data set, also when the participant has
    sessions.

    Parameters
    ----------
    source : Path
        The image that was stripped.

    Returns
    -------
    dict of str to str
        For each of ``mosaic``, ``before_after``, ``thumbnail`` and ``viewer`` (the outputs of
        `QualityReport`) the name of a file.

    Examples
    --------
    >>> figure_names(Path('sub-01_ses-a_acq-x_T1w.nii.gz'))['before_after']
    'sub-01_ses-a_acq-x_desc-beforeafter_T1w.png'
    """
    entities, _, suffix = image_stem(source).rpartition('_')
    start = f'{entities}_' if entities else ''
    return {
        figure: f'{start}desc-{figure.replace("_", "")}_{suffix}{extension}'
        for figure, extension in EXTENSIONS.items()
    }


def figure_paths(output_dir: Path, source: Path) -> dict[str, Path]:
    """Paths of the figures of an image in a derivative data set.

    Examples
    --------
    >>> figure_paths(Path('out'), Path('sub-01_ses-a_T1w.nii'))['viewer'].as_posix()
    'out/sub-01/figures/sub-01_ses-a_desc-viewer_T1w.json'
    """
    place = output_dir / source.name.split('_')[0] / FIGURES
    return {figure: place / name for figure, name in figure_names(source).items()}


def figure_record_path(output_dir: Path, source: Path) -> Path:
    """Path of the JSON file that says which files the figures of an image are.

    Examples
    --------
    >>> figure_record_path(Path('out'), Path('sub-01_ses-a_T1w.nii')).as_posix()
    'out/sub-01/figures/sub-01_ses-a_desc-figures_T1w.json'
    """
    viewer = figure_paths(output_dir, source)['viewer']
    start, _, suffix = viewer.name.rpartition('desc-viewer_')
    return viewer.with_name(f'{start}desc-figures_{suffix}')


def index_path(output_dir: Path) -> Path:
    """Path of the page that leads to all others."""
    return output_dir / 'index.html'


def group_path(output_dir: Path, suffix: str) -> Path:
    """Path of the page of all images with one suffix.

    Examples
    --------
    >>> group_path(Path('out'), 'T1w').as_posix()
    'out/group_T1w.html'
    """
    return output_dir / f'group_{suffix}.html'


def report_path(output_dir: Path, subject: str) -> Path:
    """Path of a participant's page; `subject` is the label without ``sub-``.

    Examples
    --------
    >>> report_path(Path('out'), '01').as_posix()
    'out/sub-01.html'
    """
    return output_dir / f'sub-{subject}.html'
