"""The 3D U-Net: half resolution inside, full resolution in and out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumba_pipe.network.config import INTRACRANIAL, WITH_CSF, WITHOUT_CSF, NetworkConfig


def space_to_depth(volume: Tensor, factor: int) -> Tensor:
    """Turn blocks of voxels into channels: (b, c, x, y, z) -> (b, c f^3, x/f, y/f, z/f)."""
    b, c, x, y, z = volume.shape
    f = factor
    blocks = volume.reshape(b, c, x // f, f, y // f, f, z // f, f)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * f**3, x // f, y // f, z // f)


def depth_to_space(volume: Tensor, factor: int) -> Tensor:
    """Undo `space_to_depth`."""
    b, c, x, y, z = volume.shape
    f = factor
    blocks = volume.reshape(b, c // f**3, f, f, f, x, y, z)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // f**3, x * f, y * f, z * f)


def nested(logits: Tensor, borders: int) -> Tensor:
    """Put each border inside the next, shape (batch, borders * cells, x, y, z) as before.

    What is brain without CSF is brain with CSF, and that lies in the intracranial space: no
    prediction says otherwise, whatever was learned.
    """
    parts = list(logits.chunk(borders, 1))
    parts[WITHOUT_CSF] = torch.minimum(parts[WITHOUT_CSF], parts[WITH_CSF])
    if borders > INTRACRANIAL:
        parts[INTRACRANIAL] = torch.maximum(parts[INTRACRANIAL], parts[WITH_CSF])
    return torch.cat(parts, 1)


class Block(nn.Sequential):
    """Two 3x3x3 convolutions, each with instance normalization and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, eps=1e-4, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs, eps=1e-4, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )


class UNet(nn.Module):
    """Predict, for every voxel, logits of being brain and of lying in the intracranial space.

    A U-Net (Ronneberger et al. 2015; Park et al. 2025, section 2.2) behind a stem that moves
    2x2x2 voxels into channels, which makes it about four times cheaper on a CPU.
    """

    def __init__(self, config: NetworkConfig = NetworkConfig()) -> None:
        super().__init__()
        self.config = config
        widths, cells = config.widths, config.stem**3
        self.encoder = nn.ModuleList([Block(cells, widths[0])])
        self.decoder = nn.ModuleList()
        for narrow, wide in pairwise(widths):
            self.encoder.append(Block(narrow, wide, stride=2))
            self.decoder.append(Block(narrow + wide, narrow))
        self.head = nn.Conv3d(widths[0], cells * config.borders, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 1, x, y, z) to logits (batch, borders, x, y, z)."""
        features = space_to_depth(image, self.config.stem)
        features = features.contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
        skips.pop()
        for block, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            features = F.interpolate(features, scale_factor=2, mode='nearest')
            features = block(torch.cat([features, skip], 1))
        return depth_to_space(nested(self.head(features), self.config.borders), self.config.stem)


@torch.no_grad()
def with_intracranial_space(network: UNet) -> UNet:
    """Let a network that predicts two borders predict the third, at first where the widest is."""
    if network.config.borders > INTRACRANIAL:
        return network
    wider = UNet(replace(network.config, borders=INTRACRANIAL + 1))
    cells = network.config.stem**3
    state = network.state_dict()
    for name in ('head.weight', 'head.bias'):
        widest = state[name][WITH_CSF * cells : (WITH_CSF + 1) * cells]
        state[name] = torch.cat([state[name], widest])
    wider.load_state_dict(state)
    return wider


@torch.no_grad()
def with_borders_of(other: UNet, network: UNet) -> UNet:
    """Let a network predict no more borders than another; what it says of these is the same."""
    borders = other.config.borders
    if network.config.borders <= borders:
        return network
    narrower = UNet(replace(network.config, borders=borders))
    state = network.state_dict()
    for name in ('head.weight', 'head.bias'):
        state[name] = state[name][: borders * network.config.stem**3]
    narrower.load_state_dict(state)
    return narrower


def channels_last(network: UNet) -> UNet:
    """Store the weights as the CPU's bfloat16 convolutions want them; the network is the same."""
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
