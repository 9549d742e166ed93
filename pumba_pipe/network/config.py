"""The shape of the network, without torch: what a weights file says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from pumba_pipe.common.documents import brief

# What a network predicts, see `pumba_pipe.synthesis.regions.labels`. Each lies within the next
# one: brain without CSF, with CSF, intracranial space.
WITH_CSF, WITHOUT_CSF, INTRACRANIAL = 0, 1, 2
BORDERS = 3
FORMER_BORDERS = 2  # of networks before they predicted the intracranial space
# Far beyond any network that is trained: what a file says is checked before memory is taken.
MAX_WIDTH, MAX_LEVELS, MAX_STEM = 4096, 8, 8


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network.

    Attributes
    ----------
    widths : tuple of int
        Channels at each level; the first level works at half the image's resolution.
    stem : int
        Side of the blocks of voxels that become channels.
    borders : int
        3: brain with CSF, brain without, intracranial space; 2: the first two.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    stem: int = 2
    borders: int = BORDERS

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for checkpoints and model cards."""
        return {**asdict(self), 'widths': list(self.widths)}

    @classmethod
    def from_dict(cls, values: Any) -> NetworkConfig:
        """Read what `to_dict` wrote.

        Raises
        ------
        ValueError
            The network predicts another number of borders, or is none that could be.
        """
        if not isinstance(values, dict):
            raise ValueError('what describes the network is no object')
        borders = values.get('borders', 1)
        if borders not in (FORMER_BORDERS, BORDERS):
            raise ValueError(
                'their network predicts one border of the brain, as before version 0.1; '
                'networks of today predict more: train it anew'
            )
        widths = _widths(values.get('widths'))
        if values.get('others') or values.get('members', 1) != 1:
            raise ValueError('they hold several networks of one stage, as in version 0.1')
        stem = whole(values.get('stem'), MAX_STEM, 'stem')
        return cls(widths, stem, borders)

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return self.stem * 2 ** (len(self.widths) - 1)


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


def parameter_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of the network."""
    widths, cells = config.widths, config.stem**3
    shapes = _block_shapes('encoder.0', cells, widths[0])
    for level, (narrow, wide) in enumerate(pairwise(widths)):
        shapes |= _block_shapes(f'encoder.{level + 1}', narrow, wide)
        shapes |= _block_shapes(f'decoder.{level}', narrow + wide, narrow)
    head = cells * config.borders
    return shapes | {'head.weight': (head, widths[0], 1, 1, 1), 'head.bias': (head,)}


def _block_shapes(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Of two convolutions (0, 3), each with a normalization (1, 4)."""
    return {
        f'{name}.0.weight': (outputs, inputs, 3, 3, 3),
        f'{name}.1.weight': (outputs,),
        f'{name}.1.bias': (outputs,),
        f'{name}.3.weight': (outputs, outputs, 3, 3, 3),
        f'{name}.4.weight': (outputs,),
        f'{name}.4.bias': (outputs,),
    }
