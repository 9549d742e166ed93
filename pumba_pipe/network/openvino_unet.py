"""The U-Net of `pumba_pipe.network.unet` in OpenVINO's operators, straight from its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, WITHOUT_CSF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.parameters import Parameters

EPSILON, SLOPE = 1e-4, 0.01  # of the normalization and of the rectifier


def unet_model(openvino: Any, parameters: Parameters, size: int, limit: float) -> Any:
    """Describe one network: image (1, 1, size, size, size) -> logits (1, borders, ...).

    Parameters
    ----------
    openvino : module
        With what may take its time to import.
    parameters : Parameters
        Of one network.
    size : int
        Side of the cube, in voxels.
    limit : float
        Logits are cut to minus and plus this.

    Returns
    -------
    openvino.Model
    """
    op = openvino.opset13
    stem = parameters.config.stem
    layers = _Layers(op, parameters)
    image = op.parameter([1, 1, size, size, size], np.float32)
    features = op.space_to_depth(image, 'depth_first', stem)
    skips = []
    for level in range(len(parameters.config.widths)):
        features = layers.convolution(features, f'encoder.{level}.0', 2 if level else 1)
        features = layers.rest_of_block(features, f'encoder.{level}')
        skips.append(features)
    skips.pop()
    for level in reversed(range(len(skips))):
        features = layers.doubled_and_joined(features, skips[level], f'decoder.{level}.0')
        features = layers.rest_of_block(features, f'decoder.{level}')
    logits = layers.convolution(features, 'head', pad=0)
    logits = op.add(logits, layers.channels('head.bias'))
    logits = nested(op, logits, parameters.config.borders)
    logits = op.clamp(op.depth_to_space(logits, 'depth_first', stem), -limit, limit)
    return openvino.Model([logits], [image])


def nested(op: Any, logits: Any, borders: int) -> Any:
    """Put each border inside the next, as `pumba_pipe.network.unet.nested` does."""
    parts = op.split(logits, op.constant(np.int64(1)), borders).outputs()
    parts[WITHOUT_CSF] = op.minimum(parts[WITHOUT_CSF], parts[WITH_CSF]).output(0)
    if borders > INTRACRANIAL:
        parts[INTRACRANIAL] = op.maximum(parts[INTRACRANIAL], parts[WITH_CSF]).output(0)
    return op.concat(parts, 1)


class _Layers:
    """Layers with the parameters of one network."""

    def __init__(self, op: Any, parameters: Parameters) -> None:
        self.op, self.values = op, parameters.values

    def value(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self.values[name], np.float32)

    def channels(self, name: str) -> Any:
        """One value for each channel."""
        return self.op.constant(self.value(name).reshape(1, -1, 1, 1, 1))

    def convolution(self, x: Any, name: str, stride: int = 1, pad: int = 1) -> Any:
        return self._convolved(x, self.value(f'{name}.weight'), stride, pad)

    def rest_of_block(self, x: Any, name: str) -> Any:
        """All of a `Block` but its first convolution."""
        x = self._normalized(x, f'{name}.1')
        return self._normalized(self.convolution(x, f'{name}.3'), f'{name}.4')

    def doubled_and_joined(self, x: Any, skip: Any, name: str) -> Any:
        """The convolution of what is doubled in size and the skip, side by side.

        Each of the two has a kernel of its own, and the results are added.
        """
        kernel = self.value(f'{name}.weight')
        inputs = x.get_output_shape(0)[1]
        doubled = self.op.convolution_backprop_data(
            x,
            self.op.constant(doubling_kernel(kernel[:, :inputs])),
            [2] * 3,
            pads_begin=[1] * 3,
            pads_end=[1] * 3,
            dilations=[1] * 3,
        )
        return self.op.add(doubled, self._convolved(skip, kernel[:, inputs:], 1, 1))

    def _convolved(self, x: Any, kernel: NDArray[np.float32], stride: int, pad: int) -> Any:
        weights = self.op.constant(np.ascontiguousarray(kernel))
        return self.op.convolution(x, weights, [stride] * 3, [pad] * 3, [pad] * 3, [1] * 3)

    def _normalized(self, x: Any, name: str) -> Any:
        """Instance normalization and leaky rectifier."""
        axes = self.op.constant(np.array([2, 3, 4]))
        x = self.op.mvn(x, axes, True, EPSILON, 'inside_sqrt')
        x = self.op.multiply(x, self.channels(f'{name}.weight'))
        x = self.op.add(x, self.channels(f'{name}.bias'))
        return self.op.prelu(x, self.op.constant(np.array([SLOPE], np.float32)))


def doubling_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The kernel of a convolution of an image that was doubled in size by repeating voxels.

    Of the 3 taps along an axis always two fall on the same voxel of the image before. A
    transposed convolution of stride 2 with 4 taps gives the same, with 8 products for each output
    instead of 27, and without the doubled image.

    Parameters
    ----------
    kernel : ndarray, shape (outputs, inputs, 3, 3, 3)

    Returns
    -------
    ndarray, shape (inputs, outputs, 4, 4, 4)
    """
    for axis in (2, 3, 4):
        first, middle, last = np.moveaxis(kernel, axis, 0)
        kernel = np.stack([last, middle + last, first + middle, first], axis)
    return np.ascontiguousarray(kernel.swapaxes(0, 1))
