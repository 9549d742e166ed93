"""The 3D U-Net: half resolution inside, full resolution in and out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumba_pipe.common.documents import brief

WITH_CSF, WITHOUT_CSF = 0, 1  # borders, see `pumba_pipe.synthesis.regions.labels`
BORDERS = 2
# Far beyond any network that is trained: what a file says is checked before memory is taken.
MAX_WIDTH, MAX_LEVELS, MAX_STEM, MAX_NETWORKS = 4096, 8, 8, 16


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network.

    Attributes
    ----------
    widths : tuple of int
        Channels at each level; the first level works at half the image's resolution.
    stem : int
        Side of the blocks of voxels that become channels.
    others : tuple of tuple of int
        Widths of further networks, whose predictions are averaged with those of the first.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    stem: int = 2
    others: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for checkpoints and model cards."""
        widths, others = list(self.widths), [list(widths) for widths in self.others]
        return {**asdict(self), 'widths': widths, 'others': others, 'borders': BORDERS}

    @classmethod
    def from_dict(cls, values: Any) -> NetworkConfig:
        """Read what `to_dict` wrote, or its predecessor, which counted networks of one shape.

        Raises
        ------
        ValueError
            The network predicts another number of borders, or is none that could be.
        """
        if not isinstance(values, dict):
            raise ValueError('what describes the network is no object')
        if values.get('borders', 1) != BORDERS:
            raise ValueError(
                'their network predicts one border of the brain, as before version 0.1; '
                'networks of today predict two: train it anew'
            )
        widths = _widths(values.get('widths'))
        count = whole(values.get('members', 1), MAX_NETWORKS, 'members')
        others = values.get('others', (widths,) * (count - 1))
        if not isinstance(others, list | tuple) or len(others) >= MAX_NETWORKS:
            raise ValueError('others is no list of networks')
        stem = whole(values.get('stem'), MAX_STEM, 'stem')
        return cls(widths, stem, tuple(map(_widths, others)))

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self.stem * 2 ** (max(map(len, (self.widths, *self.others))) - 1)

    @property
    def alone(self) -> tuple[NetworkConfig, ...]:
        """Shape of each network."""
        every = (self.widths, *self.others)
        return tuple(replace(self, widths=widths, others=()) for widths in every)


def whole(value: Any, most: int, name: str) -> int:
    """Return a whole number from 1 to `most` as it is.

    Raises
    ------
    ValueError
        It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f'{name} {brief(value)} is no whole number from 1 to {most}')
    return value


def _widths(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= MAX_LEVELS:
        raise ValueError(f'widths {brief(values)} is no list of 1 to {MAX_LEVELS} numbers')
    return tuple(whole(width, MAX_WIDTH, 'width') for width in values)


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
    """Predict, for every voxel, the logit of being brain, with the CSF rim and without.

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
        self.head = nn.Conv3d(widths[0], cells * BORDERS, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 1, x, y, z) to logits (batch, 2, x, y, z)."""
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
        return depth_to_space(self.head(features), self.config.stem)


class Committee(nn.Module):
    """Networks whose logits are averaged: each errs in its own way."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(map(UNet, config.alone))

    def unets(self) -> list[UNet]:
        """Return the networks."""
        return [member for member in self.members if isinstance(member, UNet)]

    def forward(self, image: Tensor) -> Tensor:
        """Map images (batch, 1, x, y, z) to logits (batch, 2, x, y, z)."""
        return torch.stack([member(image) for member in self.members]).mean(0)


Network = UNet | Committee


def members(network: Network) -> list[UNet]:
    """Return the networks of a committee, or the one network."""
    return network.unets() if isinstance(network, Committee) else [network]


def build(config: NetworkConfig) -> Network:
    """Make the network, or the networks, of a configuration."""
    return Committee(config) if config.others else UNet(config)


@torch.no_grad()
def move_borders(network: Network, move: tuple[float, float]) -> None:
    """Add to the logits of the wide and the tight border of a network that has both, in place."""
    for member in members(network):
        cells = member.config.stem**3
        member.state_dict()['head.bias'] += torch.tensor(move).repeat_interleave(cells)


def channels_last(network: Network) -> Network:
    """Store the weights as the CPU's bfloat16 convolutions want them; the network is the same."""
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def parameter_count(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
