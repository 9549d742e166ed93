"""The U-Net of `pumba_pipe.network.unet` in ONNX's operators, straight from its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, WITHOUT_CSF
from pumba_pipe.network.openvino_unet import EPSILON, SLOPE

if TYPE_CHECKING:
    from pumba_pipe.network.parameters import Parameters

OPSET = 17  # of ONNX; runtimes from 2022 on know it
IR_VERSION = 8  # of the file format, that of the same time
IMAGE, LOGITS, BATCH = 'image', 'logits', 'batch'  # names of the input, the output, its first axis


def unet_onnx(
    onnx: Any, parameters: Parameters, size: int, limit: float, notes: Mapping[str, str]
) -> Any:
    """Describe one network: image (batch, 1, size, size, size) -> logits (batch, borders, ...).

    Parameters
    ----------
    onnx : module
        Which is no part of an ordinary installation.
    parameters, size, limit
        See `pumba_pipe.network.openvino_unet.unet_model`.
    notes : mapping of str to str
        What the file says of itself.

    Returns
    -------
    onnx.ModelProto
    """
    config = parameters.config
    graph = _Graph(onnx, parameters)
    features = graph.to_depth(IMAGE, size, config.stem)
    skips = []
    for level in range(len(config.widths)):
        features = graph.block(features, f'encoder.{level}', 2 if level else 1)
        skips.append(features)
    skips.pop()
    for level in reversed(range(len(skips))):
        features = graph.doubled(features)
        features = graph.node('Concat', [features, skips[level]], axis=1)
        features = graph.block(features, f'decoder.{level}')
    logits = graph.node('Conv', [features, graph.value('head.weight'), graph.value('head.bias')])
    logits = graph.nested(logits, config.borders)
    logits = graph.from_depth(logits, size, config.stem, config.borders)
    graph.node('Clip', [logits, graph.number(-limit), graph.number(limit)], LOGITS)
    return graph.model(size, notes)


class _Graph:
    """Nodes and constants of a graph that grows."""

    def __init__(self, onnx: Any, parameters: Parameters) -> None:
        self.onnx, self.parameters = onnx, parameters
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def node(self, kind: str, inputs: list[str], name: str = '', **options: Any) -> str:
        """Append an operator, and return the name of its output."""
        name = name or f'{kind.lower()}_{len(self.nodes)}'
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **options))
        return name

    def constant(self, name: str, value: Any) -> str:
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(value, name)
        return name

    def number(self, value: float) -> str:
        return self.constant(f'number_{value:g}', np.array(value, np.float32))

    def shape(self, *sides: int) -> str:
        return self.constant('shape_' + '_'.join(map(str, sides)), np.array(sides, np.int64))

    def value(self, name: str) -> str:
        """One of the parameters."""
        return self.constant(name, np.asarray(self.parameters.values[name], np.float32))

    def block(self, x: str, name: str, stride: int = 1) -> str:
        """Two convolutions, each with a normalization and a leaky rectifier."""
        for convolution, normalization, step in ((0, 1, stride), (3, 4, 1)):
            weight = self.value(f'{name}.{convolution}.weight')
            x = self.node('Conv', [x, weight], strides=[step] * 3, pads=[1] * 6)
            ends = ('weight', 'bias')
            scale, bias = (self.value(f'{name}.{normalization}.{end}') for end in ends)
            x = self.node('InstanceNormalization', [x, scale, bias], epsilon=EPSILON)
            x = self.node('LeakyRelu', [x], alpha=SLOPE)
        return x

    def doubled(self, x: str) -> str:
        """Repeat every voxel along each axis."""
        scales = self.constant('twice', np.array([1, 1, 2, 2, 2], np.float32))
        return self.node(
            'Resize', [x, '', scales], mode='nearest', nearest_mode='floor',
            coordinate_transformation_mode='asymmetric',
        )  # fmt: skip

    def to_depth(self, x: str, size: int, stem: int) -> str:
        """Turn blocks of voxels into channels."""
        side = size // stem
        x = self.node('Reshape', [x, self.shape(-1, side, stem, side, stem, side, stem)])
        x = self.node('Transpose', [x], perm=[0, 2, 4, 6, 1, 3, 5])
        return self.node('Reshape', [x, self.shape(-1, stem**3, side, side, side)])

    def from_depth(self, x: str, size: int, stem: int, channels: int) -> str:
        """Undo `to_depth`."""
        side = size // stem
        x = self.node('Reshape', [x, self.shape(-1, channels, stem, stem, stem, side, side, side)])
        x = self.node('Transpose', [x], perm=[0, 1, 5, 2, 6, 3, 7, 4])
        return self.node('Reshape', [x, self.shape(-1, channels, size, size, size)])

    def nested(self, logits: str, borders: int) -> str:
        """Put each border inside the next, as `pumba_pipe.network.unet.nested` does."""
        cells = self.parameters.config.stem**3
        ends = [cells * border for border in range(borders + 1)]
        parts = [
            self.node('Slice', [logits, *map(self.shape, (start, stop, 1))])
            for start, stop in pairwise(ends)
        ]
        parts[WITHOUT_CSF] = self.node('Min', [parts[WITHOUT_CSF], parts[WITH_CSF]])
        if borders > INTRACRANIAL:
            parts[INTRACRANIAL] = self.node('Max', [parts[INTRACRANIAL], parts[WITH_CSF]])
        return self.node('Concat', parts, axis=1)

    def model(self, size: int, notes: Mapping[str, str]) -> Any:
        """All of it, checked."""
        helper, real = self.onnx.helper, self.onnx.TensorProto.FLOAT
        sides = [size] * 3
        graph = helper.make_graph(
            self.nodes,
            'pumba_pipe',
            [helper.make_tensor_value_info(IMAGE, real, [BATCH, 1, *sides])],
            [
                helper.make_tensor_value_info(
                    LOGITS, real, [BATCH, self.parameters.config.borders, *sides]
                )
            ],
            list(self.constants.values()),
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION,
            producer_name='pumba_pipe',
        )  # fmt: skip
        helper.set_model_props(made, dict(notes))
        self.onnx.checker.check_model(made, full_check=True)
        return made
