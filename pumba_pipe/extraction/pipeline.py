"""Volume -> BrainExtraction: a coarse pass over everything, a fine pass around the brain."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe.common.arguments import optional_path, path_of
from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.common.file_records import check_stamps, stamps_of
from pumba_pipe.common.files import all_or_none, write_json
from pumba_pipe.common.resources import available_cpus, check_memory, one_blas_thread
from pumba_pipe.extraction.already_stripped import detect_stripped_brain
from pumba_pipe.extraction.border import Csf, csf_exclusion
from pumba_pipe.extraction.evidence import AgreementMetrics, Evidence, shape_metrics
from pumba_pipe.extraction.expected_dice import expected_dice
from pumba_pipe.extraction.native import ImageSpace, NativeLogits, overlap
from pumba_pipe.extraction.options import ExtractionOptions, check_options
from pumba_pipe.extraction.passes import COARSE_VIEWS, Pass, run_fine_pass, run_pass
from pumba_pipe.extraction.plausibility import SECOND, doubts, inner_contrast, second_object
from pumba_pipe.extraction.quality import (
    Quality,
    boundary_certainty,
    check_quality_file,
    quality_record,
)
from pumba_pipe.extraction.signal_support import kept_within_signal
from pumba_pipe.extraction.species_volume import with_species
from pumba_pipe.images.conversion import as_volume
from pumba_pipe.images.grids import Cube, whole_cube
from pumba_pipe.images.intensity import for_network, has_bright_background, inverted, quantiles
from pumba_pipe.images.masks import moved_border, signed_distance
from pumba_pipe.images.orientation import oriented_view, restored
from pumba_pipe.images.saving import (
    check_images,
    grid_image,
    masked_image,
    save_map,
    save_mask,
    save_masked,
)
from pumba_pipe.images.volume import Volume, b_value_files
from pumba_pipe.network.devices import CPU, choose_device, with_fallback
from pumba_pipe.network.engine import compiled_meanwhile, engine_for
from pumba_pipe.network.weights import Model, default_weights, load_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_BRAIN_VOXELS = 20
CONSTANT_SHARE = 0.9
# Address space, by `measure_memory.py IMAGE [THREADS]` of the scaling tests: it asked for 1.28 GB
# for 256³ voxels and one thread, 1.33 GB for two, when a tenth less crashed. Today it prints 0.90
# and 1.00 GB, with the image: these leave a margin. Only half of it is ever used.
PASSES_BYTES, THREAD_BYTES, VOXEL_BYTES = 1_200_000_000, 80_000_000, 3
LIKELY = 0.9  # least probability in an image that was
INVERTED = 'bright background: the network was shown the image with inverted grey values'
SPIKES = 'values far beyond all others, in {} voxels, were clipped for the network'
NO_INTRACRANIAL = (
    'the intracranial space is not known: the image was stripped before, or these weights do not '
    'predict it'
)
NOT_PREDICTED = (
    'these weights do not predict the intracranial space; leave it out (move a file of an earlier '
    'run away), or use weights of pumba-train --only-intracranial'
)
ALL_TAKEN = 'stripped before and the network unsure: everything that is not blank was taken'


@dataclass(frozen=True)
class BrainExtraction:
    """The result of skull stripping one image.

    What the network said is kept in attributes; what follows from it is computed by methods. The
    methods that end in ``_image`` return a `nibabel.Nifti1Image` (`nibabel.Nifti2Image` where the
    input is one) on the input's grid, with its affine, codes and units.

    Attributes
    ----------
    volume : Volume
        The image that was stripped, of a 4D input the mean that was looked at.
    mask : ndarray of uint8, shape (x, y, z)
    probability : ndarray of float32, shape (x, y, z)
        Of belonging to the mask, 0..1, before the largest component was chosen and holes were
        filled; the mask is cut at 0.5. Computed when it is first asked for.
    quality : Quality
    seconds : dict
        Where the time went.
    evidence : Evidence or None
        What the expected Dice is computed from.
    intracranial : ndarray of uint8, shape (x, y, z), or None
        Intracranial space: the brain and all CSF around it, up to the dura. Computed when it is
        first asked for; None where the weights do not predict it, or after an earlier stripping.

    Examples
    --------
    >>> import numpy as np
    >>> import pumba_pipe
    >>> ball = np.linalg.norm(np.indices((8, 8, 8)) - 3.5, axis=0) < 3
    >>> scan = pumba_pipe.Volume(ball * np.float32(700), np.diag([3.0, 3.0, 3.0, 1.0]))
    >>> result = pumba_pipe.BrainExtraction(scan, ball.astype('u1'), ball * 0.9, None, {})
    >>> bool(result.distance().max() > 0 > result.distance().min())
    True
    >>> result.mask_image().get_data_dtype().name, result.brain_image().shape
    ('uint8', (8, 8, 8))
    """

    volume: Volume
    mask: NDArray[np.uint8]
    _probability: NDArray[np.float32] | Callable[[], NDArray[np.float32]] = field(repr=False)
    quality: Quality
    seconds: dict[str, float]
    evidence: Evidence | None = field(default=None, repr=False)
    _intracranial: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """Probability of belonging to the mask, see above."""
        return self._probability() if callable(self._probability) else self._probability

    @cached_property
    def intracranial(self) -> NDArray[np.uint8] | None:
        """Intracranial space, see above."""
        return None if self._intracranial is None else self._intracranial()

    def distance(self) -> NDArray[np.float32]:
        """Distance in millimetres to the mask's surface, negative inside, (x, y, z)."""
        return signed_distance(self.mask > 0, self.volume.voxel_size)

    def brain(self) -> NDArray[Any]:
        """Values of the input, blank outside the mask, in the input's shape.

        Blank is zero, or the least value of the input where that is below zero.

        All volumes of a 4D input are masked. Integers keep their type, and so do floating-point
        arrays; complex values become their magnitude, scaled data of a file float32. An input
        file is read again.

        Raises
        ------
        InputError
            The input file is not there any more.
        """
        return np.asarray(self.brain_image().dataobj)

    def mask_image(self) -> Any:
        """Return the mask as a nibabel image of uint8."""
        return grid_image(self.volume, self.mask.astype(np.uint8))

    def probability_image(self) -> Any:
        """Return the probability as a nibabel image of float32."""
        return grid_image(self.volume, self.probability.astype(np.float32))

    def distance_image(self) -> Any:
        """Return the distance to the mask's surface, see `distance`, as a nibabel image."""
        return grid_image(self.volume, self.distance().astype(np.float32))

    def intracranial_image(self) -> Any:
        """Return the intracranial space as a nibabel image of uint8.

        Raises
        ------
        InputError
            It is not known.
        """
        return grid_image(self.volume, known_intracranial(self))

    def brain_image(self) -> Any:
        """Return the values inside the mask, see `brain`, as a nibabel image."""
        return masked_image(self.volume, self.mask)


class Stopwatch:
    """Seconds spent on each part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last call to `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def extract(
    image: Any,
    model: Model | None = None,
    device: str = ExtractionOptions.device,
    threads: int | None = ExtractionOptions.threads,
    border_mm: float = ExtractionOptions.border_mm,
    csf: Csf = ExtractionOptions.csf,
    *,
    affine: Any = None,
) -> BrainExtraction:
    """Find the brain in an MRI scan of any contrast, species, orientation and voxel size.

    A coarse pass looks at the whole field of view, a fine pass at a box around what it found;
    the box grows or moves until the brain lies well inside it. The method is that of Park et
    al. 2025 (arXiv 2505.07159) with another synthesis and a second pass.

    Parameters
    ----------
    image : str, Path, nibabel image, array or Volume
        The scan, 3D, or a 4D series. Of a series whose file has a ``.bval`` file beside it the
        mean of the unweighted volumes is looked at, of any other the mean of all volumes (at most
        200, evenly spaced). Arrays, (x, y, z[, t]), are those of numpy, of any real or complex
        type and byte order, or what numpy makes one of, such as torch tensors on the CPU. Complex
        values count by their magnitude; masked values are zero, and those that are not finite
        are background. The input is not changed. Where the background is bright, the network
        is shown inverted grey values, and a note says so. For SimpleITK images see
        `pumba_pipe.sitk.extract`.
    model : Model, optional
        Default: the shipped weights.
    device : str
        ``'auto'``, ``'cpu'``, ``'cuda'``, ``'cuda:N'`` or ``'mps'``. Where a GPU fails or has
        too little memory, the CPU stands in, and the quality record has a note that says so.
    threads : int, optional
        CPU threads; default: as many as there are, or ``OMP_NUM_THREADS``.
    border_mm : float
        Grow the mask by this many millimetres; negative shrinks it.
    csf : str
        ``'include'`` takes in a rim of the CSF around the brain, ``'exclude'`` leaves it out,
        ``'auto'`` leaves it out of large brains: see `pumba_pipe.extraction.border.csf_exclusion`.
        CSF in sulci is always part of the mask.
    affine : array-like, shape (4, 4)
        Of an array, and only of an array: voxel indices to millimetres (right, anterior,
        superior). Where only voxel sizes are known: ``numpy.diag([x_mm, y_mm, z_mm, 1])``.

    Returns
    -------
    BrainExtraction

    Raises
    ------
    InputError
        The image cannot be used.
    NothingFoundError
        No brain was found.

    Examples
    --------
    >>> import nibabel as nib
    >>> import numpy as np
    >>> import pumba_pipe
    >>> image = nib.load('head.nii.gz')
    >>> result = pumba_pipe.extract(image)
    >>> result.mask.shape == image.shape, result.mask.dtype.name, result.probability.dtype.name
    (True, 'uint8', 'float32')
    >>> np.array_equal(result.mask_image().affine, image.affine)
    True
    >>> bool(result.brain()[result.mask == 0].any())
    False

    An array comes with its affine:

    >>> pumba_pipe.extract(np.asarray(image.dataobj))
    Traceback (most recent call last):
    pumba_pipe.common.errors.InputError: an array needs affine=, the 4x4 matrix from ...
    """
    stopwatch = Stopwatch()
    if model is not None and not isinstance(model, Model):
        raise InputError(
            f'model= is what pumba_pipe.load_weights returns, not a {type(model).__name__} '
            '(the affine of an array is given by name, affine=)'
        )
    check_options(border_mm, threads, csf)
    model = load_weights() if model is None else model
    chosen = choose_device(device)
    stages = []
    if chosen == CPU:
        used = min(threads or available_cpus(), os.cpu_count() or 1)
        check_memory(memory_needed(0, used))
        stages = [model.coarse, model.fine]
    stopwatch.lap('weights')
    with one_blas_thread():
        with compiled_meanwhile(stages, threads):
            volume = as_volume(image, affine)
            stopwatch.lap('read')
            frame = ImageSpace.of(volume)
            measured = frame.view(volume.data)
            visible, spikes = for_network(measured)
            bright = has_bright_background(visible)
            if bright:
                visible = inverted(visible)
            if chosen == CPU:
                check_memory(visible.size * VOXEL_BYTES)
            passes, failure = with_fallback(
                lambda place: _run_passes(
                    model, visible, frame.voxel_size, place, threads, stopwatch
                ),
                chosen,
            )
        exclusion = csf_exclusion(passes.fine.volume, frame.voxel_size, csf)
        logits, rough = (
            NativeLogits(one.mixed(exclusion), one.cube, frame)
            for one in (passes.fine, passes.coarse)
        )
        found, components = logits.mask().cleaned()
        if found.voxels < MIN_BRAIN_VOXELS or is_blank(measured[found.block][found.part]):
            raise NothingFoundError(f'{volume.name}: no brain was found in this image')
        agreement = AgreementMetrics(
            overlap(rough.mask(count_doubtful=False), found),
            passes.fine.tta_dice,
            passes.fine.gamma_dice,
            boundary_certainty(found.doubtful, found.voxels),
        )
        mask = found.on(frame)
        contrast = inner_contrast(visible, frame.view(mask))
    evidence = Evidence(
        agreement,
        shape_metrics(passes.fine.likely, passes.coarse.volume, passes.fine.volume, contrast),
    )
    expected = expected_dice(model.calibration, evidence) if model.calibration else None
    probability: Any = logits.probability
    whole = None
    if expected is None or expected.reasons:
        whole = detect_stripped_brain(*(oriented_view(a, frame.axes) for a in (volume.data, mask)))
    if whole is not None:
        mask = restored(whole, frame.axes)
        probability = np.where(mask, np.maximum(logits.probability(), LIKELY), 0)
        probability = probability.astype(np.float32)
    mask = moved_border(mask, volume.voxel_size, border_mm)
    if not mask.any():
        raise NothingFoundError(
            f'{volume.name}: a border of {border_mm:g} mm leaves nothing of the brain'
        )
    doubtful = (*doubts(visible, contrast), *((SECOND,) if passes.second else ()))
    quality = quality_record(volume, frame.seen, mask, components, agreement, expected, doubtful)
    space = None if quality.already_stripped else passes.fine.intracranial
    if space is not None:
        quality = replace(quality, intracranial_ml=passes.fine.intracranial_ml)
    remarks = (
        bright and INVERTED,
        spikes and SPIKES.format(spikes),
        whole is not None and ALL_TAKEN,
        failure,
    )
    notes = (*quality.notes, *(remark for remark in remarks if remark))
    quality = replace(quality, notes=notes)
    stopwatch.lap('resample')
    return BrainExtraction(
        volume, mask.view(np.uint8), probability, quality, stopwatch.seconds, evidence,
        None if space is None else partial(_intracranial, space, passes.fine.cube, frame),
    )  # fmt: skip


def _intracranial(logits: NDArray[np.float32], cube: Cube, frame: ImageSpace) -> NDArray[np.uint8]:
    return NativeLogits(logits, cube, frame).mask(False).cleaned()[0].on(frame).view(np.uint8)


def known_intracranial(result: BrainExtraction) -> NDArray[np.uint8]:
    """The intracranial space of an image.

    Raises
    ------
    InputError
        It is not known.
    """
    if result.intracranial is None:
        raise InputError(f'{result.volume.name}: {NO_INTRACRANIAL}')
    return result.intracranial


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


def memory_needed(voxels: int, threads: int) -> int:
    """Bytes of address space that both passes take on the CPU, measured with the shipped weights.

    Examples
    --------
    >>> memory_needed(256**3, threads=1) > memory_needed(64**3, threads=1) > 1.2e9
    True
    """
    return PASSES_BYTES + threads * THREAD_BYTES + voxels * VOXEL_BYTES


class PassResults(NamedTuple):
    """Both passes, and whether there is a second object."""

    fine: Pass
    coarse: Pass
    second: bool


def _run_passes(
    model: Model,
    values: NDArray[np.float32],
    voxel_size: NDArray[np.float64],
    device: str,
    threads: int | None,
    stopwatch: Stopwatch,
) -> PassResults:
    """Both passes, the networks on a device; nothing of the results lies there."""
    engine = engine_for(model.coarse, device, threads)
    whole = whole_cube(values.shape, voxel_size, model.coarse.size)
    coarse = run_pass(engine, values, voxel_size, whole, COARSE_VIEWS)
    engine = engine_for(model.fine, device, threads)
    fine = run_fine_pass(engine, values, voxel_size, coarse)
    stopwatch.lap('network')
    second = second_object(coarse.within, coarse.scaled)
    return PassResults(fine, coarse, second)


def is_blank(values: NDArray[np.float32]) -> bool:
    """Whether nearly all values are one and the same: a mask over nothing."""
    return float((values == quantiles(values, [0.5])[0]).mean()) > CONSTANT_SHARE


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
