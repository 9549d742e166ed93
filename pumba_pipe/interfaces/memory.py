"""Memory that each node needs: what to declare to Nipype as ``mem_gb``.

Every estimate is a base and so many bytes for each voxel, both measured as peak memory with a
fifth to spare, a third for figures. Without a shape, a large image is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pumba_pipe.registration.options import RegistrationOptions, Transform
from pumba_pipe.training.settings import SIZES, TrainingRunSettings

UNKNOWN_SHAPE = (256, 256, 256)
UNKNOWN_SERIES = (128, 128, 64, 300)
TRAINING = TrainingRunSettings()

# A process with what it imports, in GB: the networks are most of it. Stripping on a CPU, by
# `measure_memory.py IMAGE` of the scaling tests with OpenVINO: 0.35 GB for 128³ voxels, 0.43 GB
# for 256³ of uint8, 0.65 GB for 256³ of float64.
BASE_GB = {
    'bias': 0.22,
    'image': 0.12,
    'reference': 0.25,
    'register': 0.33,
    'report': 0.15,
    'strip openvino': 0.42,
    'strip torch': 0.8,
    'synthesis': 0.33,
    'training': 0.98,
}
# For each voxel of a volume.
BYTES_PER_VOXEL = {
    'bias': 33,
    'image': 20,
    'reference': 40,
    'register affine': 15,
    'register syn': 220,
    'report': 18,
    'strip openvino': 20,
    'strip torch': 16,
    'synthesis': 170,
    'training': 82,
}
# For each voxel of each further volume of a 4D image.
BYTES_PER_VOXEL_4D = 10
# For each value of a series, which is read as it is stored.
BYTES_PER_VALUE = 5
# For each voxel of a training sample: each network, and each channel of its first level.
BYTES_PER_NETWORK, BYTES_PER_CHANNEL = 61, 4.8
# Beside stripping: both masks, distances between their surfaces, slices of the worst cases.
EVALUATE_EXTRA_GB = 0.3


def bias_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for an `N4BiasFieldCorrection` node (``mem_gb``), in GB.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the image; without it, 256 voxels along each axis are assumed.

    Examples
    --------
    >>> bias_mem_gb((256, 256, 256)) > bias_mem_gb((128, 128, 128))
    True
    """
    return _estimate('bias', _voxels(shape) * BYTES_PER_VOXEL['bias'])


def evaluate_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for an `EvaluateMasks` node (``mem_gb``), in GB.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the largest image; without it, 256 voxels along each axis are assumed.

    Examples
    --------
    >>> evaluate_mem_gb((256, 256, 256)) > strip_mem_gb((256, 256, 256))
    True
    """
    return round(strip_mem_gb(shape) + EVALUATE_EXTRA_GB, 2)


def image_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for `Conform`, `ClipIntensities` or `ApplyMask` (``mem_gb``), in GB.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the image, 3D or 4D; without it, 256 voxels along each axis are assumed.

    Examples
    --------
    >>> image_mem_gb((256, 256, 256)) > image_mem_gb((128, 128, 128))
    True
    """
    return _estimate('image', _voxels(shape) * BYTES_PER_VOXEL['image'])


def reference_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for a `MakeReference` node (``mem_gb``), in GB.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the series; without it, 300 volumes of 128 x 128 x 64 voxels are assumed.

    Examples
    --------
    >>> reference_mem_gb((64, 64, 30, 200)) > reference_mem_gb((64, 64, 30, 100))
    True
    """
    shape = shape or UNKNOWN_SERIES
    size = _voxels(shape) * BYTES_PER_VALUE + _voxels(shape[:3]) * BYTES_PER_VOXEL['reference']
    return _estimate('reference', size)


def register_mem_gb(
    shape: Sequence[int] | None = None,
    template_shape: Sequence[int] | None = None,
    transform: Transform = RegistrationOptions.transform,
) -> float:
    """Memory to declare for a `RegisterToTemplate` node (``mem_gb``), in GB.

    Parameters
    ----------
    shape, template_shape : sequence of int, optional
        Of the images; without them, 256 voxels along each axis are assumed.
    transform : str
        ``'affine'`` or ``'syn'``.

    Examples
    --------
    >>> register_mem_gb(transform='syn') > register_mem_gb()
    True
    """
    voxels = sum(_voxels((sides or UNKNOWN_SHAPE)[:3]) for sides in (shape, template_shape))
    return _estimate('register', voxels * BYTES_PER_VOXEL[f'register {transform}'])


def report_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for a `QualityReport` node (``mem_gb``), in GB.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the image, 3D or 4D; without it, 256 voxels along each axis are assumed.

    Examples
    --------
    >>> report_mem_gb((256, 256, 256)) > report_mem_gb((128, 128, 128))
    True
    """
    return _estimate('report', _volumes_bytes(shape, BYTES_PER_VOXEL['report']))


def strip_mem_gb(shape: Sequence[int] | None = None) -> float:
    """Memory to declare for a `SkullStrip` node (``mem_gb``), in GB.

    It depends on what computes the networks on a CPU; a node on a GPU takes about as much of the
    main memory as PyTorch takes on a CPU.

    Parameters
    ----------
    shape : sequence of int, optional
        Of the image, 3D or 4D; without it, 256 voxels along each axis are assumed.

    Examples
    --------
    >>> strip_mem_gb((256, 256, 256))
    0.76
    """
    from pumba_pipe.network.devices import CPU
    from pumba_pipe.network.engine import library_for

    node = f'strip {library_for(CPU)}'
    return _estimate(node, _volumes_bytes(shape, BYTES_PER_VOXEL[node]))


def synthesis_mem_gb(size: int = 96) -> float:
    """Memory to declare for a `SynthesizeHeads` node (``mem_gb``), in GB.

    Parameters
    ----------
    size : int
        Side in voxels of the cube heads are made in.

    Examples
    --------
    >>> synthesis_mem_gb(128) > synthesis_mem_gb(96)
    True
    """
    return _estimate('synthesis', size**3 * BYTES_PER_VOXEL['synthesis'])


def training_mem_gb(
    size: int = SIZES['fine'],
    batch: int = TRAINING.batch,
    channels: int = TRAINING.widths[0],
) -> float:
    """Memory to declare for a `TrainSynthetic` node (``mem_gb``), in GB.

    Parameters
    ----------
    size : int
        Side in voxels of the largest cube the network sees.
    batch : int
        Samples a step.
    channels : int
        Of the first level of the network.

    Examples
    --------
    >>> training_mem_gb(size=128) > training_mem_gb(size=96)
    True
    """
    network = BYTES_PER_NETWORK + BYTES_PER_CHANNEL * channels
    return _estimate('training', batch * size**3 * (BYTES_PER_VOXEL['training'] + network))


def _estimate(node: str, size: float) -> float:
    """Base of a kind of node and so many bytes, in GB."""
    return round(BASE_GB[node] + size / 1e9, 2)


def _voxels(shape: Sequence[int] | None) -> int:
    return prod(int(side) for side in shape or UNKNOWN_SHAPE)


def _volumes_bytes(shape: Sequence[int] | None, bytes_per_voxel: float) -> float:
    """Bytes of one volume, and of the further ones that are masked or shown with it."""
    sides = tuple(shape or UNKNOWN_SHAPE)
    voxels, volumes = _voxels(sides[:3]), prod(int(side) for side in sides[3:])
    return voxels * (bytes_per_voxel + BYTES_PER_VOXEL_4D * max(0, volumes - 1))
