"""What a network has learned, as arrays: read from a file without torch, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pumba_pipe.network.config import NetworkConfig, parameter_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumba_pipe.network.unet import UNet


@dataclass(frozen=True, eq=False)
class Parameters:
    """Parameters of the network of one stage.

    Copies of a model share them: engines keep what they have made of them.

    Attributes
    ----------
    config : NetworkConfig
    values : mapping of str to ndarray
        By the names they have in torch's ``state_dict``.
    """

    config: NetworkConfig
    values: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        """Refuse values that are not those of the network.

        Raises
        ------
        ValueError
        """
        expected = parameter_shapes(self.config)
        for name in expected.keys() | self.values.keys():
            if name not in self.values:
                raise ValueError(f'{name} is missing')
            if name not in expected:
                raise ValueError(f'{name} is not part of the network')
            if self.values[name].shape != expected[name]:
                raise ValueError(
                    f'{name} has the shape {self.values[name].shape}, not {expected[name]}'
                )

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameters:
        """Nobody changes them: a copy would be the same."""
        return self


def torch_network(parameters: Parameters) -> UNet:
    """Make the network of these parameters in torch, ready to predict with."""
    import torch

    from pumba_pipe.network.unet import UNet, channels_last

    network = UNet(parameters.config)
    network.load_state_dict(
        {
            name: torch.from_numpy(value.astype(np.float32))
            for name, value in parameters.values.items()
        }
    )
    return channels_last(network.eval().requires_grad_(False))
