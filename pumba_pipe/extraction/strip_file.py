"""File -> files: an image is stripped, and what is asked for is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pumba_pipe.common.arguments import optional_path, path_of
from pumba_pipe.common.errors import InputError
from pumba_pipe.common.file_records import check_stamps, stamps_of
from pumba_pipe.common.files import all_or_none, write_json
from pumba_pipe.extraction.border import Csf
from pumba_pipe.extraction.options import ExtractionOptions
from pumba_pipe.extraction.pipeline import Stopwatch, extract
from pumba_pipe.extraction.quality import check_quality_file
from pumba_pipe.extraction.result import BrainExtraction, known_intracranial
from pumba_pipe.extraction.signal_support import kept_within_signal
from pumba_pipe.extraction.species_volume import with_species
from pumba_pipe.images.saving import check_images, save_map, save_mask, save_masked
from pumba_pipe.images.volume import b_value_files
from pumba_pipe.network.weights import Model, default_weights, load_weights

NOT_PREDICTED = (
    'these weights do not predict the intracranial space; leave it out (move a file of an earlier '
    'run away), or use weights of pumba-train --only-intracranial'
)


def strip_file(
    in_file: str | Path,
    out_file: str | Path | None = None,
    out_mask: str | Path | None = None,
    out_prob: str | Path | None = None,
    out_sdt: str | Path | None = None,
    out_quality: str | Path | None = None,
    *,
    out_tiv: str | Path | None = None,
    border_mm: float = ExtractionOptions.border_mm,
    csf: Csf = ExtractionOptions.csf,
    device: str = ExtractionOptions.device,
    threads: int | None = ExtractionOptions.threads,
    within_signal: bool = False,
    species: str = '',
    weights: str | Path | None = None,
    model: Model | None = None,
) -> BrainExtraction:
    """Skull-strip a file and write what is asked for, each file complete or not at all.

    Parameters
    ----------
    in_file : path
    out_file, out_mask, out_prob, out_sdt : path, optional
        Masked image, mask (uint8), probability (0..1), distance to the border in mm (negative
        inside); on the input's own grid, with its affine and codes.
    out_quality : path, optional
        JSON file with the quality record.
    out_tiv : path, optional
        Intracranial space, uint8; an error where it is not known.
    border_mm, csf, device, threads
        See `extract`.
    within_signal : bool
        Leave voxels without signal at the edge of the mask out, as of diffusion images.
    species : str
        Of the head, such as ``'rat'`` or ``'macaca mulatta'``: a volume that a brain of it cannot
        have is flagged. It changes no mask.
    weights : path, optional
        Used when no `model` is given; default: the shipped weights.
    model : Model, optional

    Returns
    -------
    BrainExtraction

    Raises
    ------
    InputError, NothingFoundError, OutputError, WeightsError

    Examples
    --------
    >>> import nibabel as nib
    >>> import pumba_pipe
    >>> result = pumba_pipe.strip_file('head.nii.gz', out_mask='head_mask.nii.gz', threads=1)
    >>> bool((nib.load('head_mask.nii.gz').get_fdata() == result.mask).all())
    True
    """
    source = path_of(in_file, 'in_file')
    images = {'out_file': out_file, 'out_mask': out_mask, 'out_prob': out_prob, 'out_sdt': out_sdt,
              'out_tiv': out_tiv}  # fmt: skip
    check_images(
        [path_of(path, name) for name, path in images.items() if path is not None],
        [source, *b_value_files(source), optional_path(weights, 'weights') or default_weights()],
        [path_of(out_quality, 'out_quality')] if out_quality is not None else [],
    )
    if out_quality is not None:
        check_quality_file(Path(out_quality))
    if model is None:
        model = load_weights(weights)
    check_intracranial(model, [] if out_tiv is None else [Path(out_tiv)])
    before = stamps_of(source)
    result = extract(source, model, device, threads, border_mm, csf)
    if within_signal:
        result = kept_within_signal(result)
    if species:
        result = replace(result, quality=with_species(result.quality, species))
    stopwatch = Stopwatch()
    with all_or_none() as together:
        scan = result.volume
        together.write(out_mask, lambda path: save_mask(scan, result.mask, path))
        together.write(out_file, lambda path: save_masked(scan, result.mask, path))
        together.write(out_prob, lambda path: save_map(scan, result.probability, path))
        together.write(out_sdt, lambda path: save_map(scan, result.distance(), path))
        together.write(out_tiv, lambda path: save_mask(scan, known_intracranial(result), path))
        together.write(out_quality, lambda path: write_json(path, result.quality.to_dict()))
        # the masked image is read anew, and a mask of what was there before is of no use
        check_stamps(source, before)
    stopwatch.lap('write')
    result.seconds.update(stopwatch.seconds)
    return result


def check_intracranial(model: Model, paths: Iterable[Path]) -> None:
    """Refuse to begin where the intracranial space is to be written and cannot be predicted.

    Parameters
    ----------
    model : Model
    paths : iterable of Path
        Files of the intracranial space that are to be written.

    Raises
    ------
    InputError
    """
    if not model.predicts_intracranial and (path := next(iter(paths), None)) is not None:
        raise InputError(f'{path}: {NOT_PREDICTED}')
