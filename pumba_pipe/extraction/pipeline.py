"""Volume -> BrainExtraction: a coarse pass over everything, a fine pass around the brain."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pumba_pipe.common.errors import InputError, NothingFoundError
from pumba_pipe.common.resources import (
    available_cpus,
    check_memory,
    one_blas_thread,
    usable_threads,
)
from pumba_pipe.extraction.already_stripped import detect_stripped_brain
from pumba_pipe.extraction.border import Csf, csf_exclusion
from pumba_pipe.extraction.evidence import AgreementMetrics, Evidence, shape_metrics
from pumba_pipe.extraction.expected_dice import expected_dice
from pumba_pipe.extraction.native import ImageSpace, NativeLogits, overlap
from pumba_pipe.extraction.options import ExtractionOptions, check_options
from pumba_pipe.extraction.passes import COARSE_VIEWS, Pass, run_fine_pass, run_pass
from pumba_pipe.extraction.plausibility import (
    SECOND,
    InnerContrast,
    doubts,
    inner_contrast,
    second_object,
)
from pumba_pipe.extraction.quality import (
    boundary_certainty,
    quality_record,
)
from pumba_pipe.extraction.result import BrainExtraction
from pumba_pipe.images.conversion import as_volume
from pumba_pipe.images.grids import Cube, whole_cube
from pumba_pipe.images.intensity import for_network, has_bright_background, inverted, quantiles
from pumba_pipe.images.masks import moved_border
from pumba_pipe.images.orientation import oriented_view, restored
from pumba_pipe.images.volume import Volume
from pumba_pipe.network.devices import CPU, choose_device, with_fallback
from pumba_pipe.network.engine import compiled_meanwhile, engine_for
from pumba_pipe.network.weights import Model, load_weights

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
ALL_TAKEN = 'stripped before and the network unsure: everything that is not blank was taken'


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
        check_memory(memory_needed(threads))
        stages = [model.coarse, model.fine]
    stopwatch.lap('weights')
    with one_blas_thread():
        with compiled_meanwhile(stages, threads):
            volume = as_volume(image, affine)
            stopwatch.lap('read')
            shown = _shown_to_network(volume)
            if chosen == CPU:
                check_memory(shown.values.size * VOXEL_BYTES)
            passes, failure = with_fallback(
                lambda place: _run_passes(model, shown, place, threads, stopwatch), chosen
            )
        found = _find_brain(passes, shown, csf)
    second, fine_cube, inner = passes.second, passes.fine.cube, passes.fine.intracranial
    inner_ml = passes.fine.intracranial_ml
    del passes  # what was predicted takes memory, of which nothing more is needed
    expected = expected_dice(model.calibration, found.evidence) if model.calibration else None
    whole = _stripped_brain(found, shown) if expected is None or expected.reasons else None
    mask = found.mask if whole is None else whole
    mask = _with_moved_border(mask, volume, border_mm)
    doubtful = (*doubts(shown.values, found.contrast), *((SECOND,) if second else ()))
    notes = (*shown.notes, *((ALL_TAKEN,) if whole is not None else ()))
    quality = quality_record(
        volume,
        shown.space.seen,
        mask,
        found.components,
        found.evidence.agreement,
        expected,
        doubtful,
        inner_ml,
        (*notes, failure) if failure else notes,
    )
    stopwatch.lap('resample')
    intracranial = None
    if inner is not None and not quality.already_stripped:
        intracranial = partial(_intracranial, inner, fine_cube, shown.space)
    return BrainExtraction(
        volume,
        mask.view(np.uint8),
        partial(_probability, found.logits, whole),
        quality,
        stopwatch.seconds,
        found.evidence,
        intracranial,
    )


class ShownImage(NamedTuple):
    """An image as the network is shown it.

    Attributes
    ----------
    space : ImageSpace
        Of the image.
    measured, values : ndarray of float32, shape (x, y, z)
        The field of view in canonical order: its grey values, and those for the network.
    notes : tuple of str
        What was changed.
    """

    space: ImageSpace
    measured: NDArray[np.float32]
    values: NDArray[np.float32]
    notes: tuple[str, ...]


def _shown_to_network(volume: Volume) -> ShownImage:
    space = ImageSpace.of(volume)
    measured = space.view(volume.data)
    values, spikes = for_network(measured)
    notes = []
    if has_bright_background(values):
        values = inverted(values)
        notes.append(INVERTED)
    if spikes:
        notes.append(SPIKES.format(spikes))
    return ShownImage(space, measured, values, tuple(notes))


class FoundBrain(NamedTuple):
    """What the passes say of an image, at its own voxels.

    Attributes
    ----------
    mask : ndarray of bool, shape (x, y, z)
        In the image's own axes.
    components : int
        Of which the mask is the largest.
    logits : NativeLogits
    evidence : Evidence
    contrast : InnerContrast or None
    """

    mask: NDArray[np.bool_]
    components: int
    logits: NativeLogits
    evidence: Evidence
    contrast: InnerContrast | None


def _find_brain(passes: PassResults, shown: ShownImage, csf: Csf) -> FoundBrain:
    """Choose the border, and make the mask.

    Raises
    ------
    NothingFoundError
        There is no brain.
    """
    space, fine, coarse = shown.space, passes.fine, passes.coarse
    exclusion = csf_exclusion(fine.volume, space.voxel_size, csf)
    logits, rough = (NativeLogits(one.mixed(exclusion), one.cube, space) for one in (fine, coarse))
    found, components = logits.mask().cleaned()
    if found.voxels < MIN_BRAIN_VOXELS or is_blank(shown.measured[found.block][found.part]):
        raise NothingFoundError(f'{space.volume.name}: no brain was found in this image')
    agreement = AgreementMetrics(
        overlap(rough.mask(count_doubtful=False), found),
        fine.tta_dice,
        fine.gamma_dice,
        boundary_certainty(found.doubtful, found.voxels),
    )
    mask = found.on(space)
    contrast = inner_contrast(shown.values, space.view(mask))
    shape = shape_metrics(fine.likely, coarse.volume, fine.volume, contrast)
    return FoundBrain(mask, components, logits, Evidence(agreement, shape), contrast)


def _stripped_brain(found: FoundBrain, shown: ShownImage) -> NDArray[np.bool_] | None:
    """All that is not blank, in an image that was stripped before; None in any other."""
    axes = shown.space.axes
    arrays = (shown.space.volume.data, found.mask)
    whole = detect_stripped_brain(*(oriented_view(array, axes) for array in arrays))
    return None if whole is None else restored(whole, axes)


def _with_moved_border(
    mask: NDArray[np.bool_], volume: Volume, border_mm: float
) -> NDArray[np.bool_]:
    """Grow or shrink the mask.

    Raises
    ------
    NothingFoundError
        Nothing is left of it.
    """
    moved = moved_border(mask, volume.voxel_size, border_mm)
    if not moved.any():
        raise NothingFoundError(
            f'{volume.name}: a border of {border_mm:g} mm leaves nothing of the brain'
        )
    return moved


def _probability(logits: NativeLogits, whole: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Probability at the image's voxels; `whole` is the brain of an image stripped before."""
    probability = logits.probability()
    if whole is None:
        return probability
    return np.where(whole, np.maximum(probability, LIKELY), 0).astype(np.float32)


def _intracranial(logits: NDArray[np.float32], cube: Cube, space: ImageSpace) -> NDArray[np.uint8]:
    return NativeLogits(logits, cube, space).mask(False).cleaned()[0].on(space).view(np.uint8)


def memory_needed(threads: int | None) -> int:
    """Bytes of address space that both passes take on the CPU, measured with the shipped weights.

    Those of the image come on top.

    Examples
    --------
    >>> memory_needed(2) > memory_needed(1) > 1.2e9
    True
    """
    used = usable_threads(threads or available_cpus())
    return PASSES_BYTES + used * THREAD_BYTES


class PassResults(NamedTuple):
    """Both passes, and whether there is a second object."""

    fine: Pass
    coarse: Pass
    second: bool


def _run_passes(
    model: Model,
    shown: ShownImage,
    device: str,
    threads: int | None,
    stopwatch: Stopwatch,
) -> PassResults:
    """Both passes, the networks on a device; nothing of the results lies there."""
    values, voxel_size = shown.values, shown.space.voxel_size
    engine = engine_for(model.coarse, device, threads)
    whole = whole_cube(values.shape, voxel_size, model.coarse.size)
    coarse = run_pass(engine, values, voxel_size, whole, COARSE_VIEWS)
    engine = engine_for(model.fine, device, threads)
    fine = run_fine_pass(engine, values, voxel_size, coarse)
    stopwatch.lap('network')
    second = second_object(coarse.within, coarse.scaled)
    return PassResults(fine.without_image(), coarse.without_image(), second)


def is_blank(values: NDArray[np.float32]) -> bool:
    """Whether nearly all values are one and the same: a mask over nothing."""
    return float((values == quantiles(values, [0.5])[0]).mean()) > CONSTANT_SHARE
