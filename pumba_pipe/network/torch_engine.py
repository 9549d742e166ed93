"""Networks by torch: on a GPU, and on a CPU without OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pumba_pipe.network.devices import half_precision, limited_threads
from pumba_pipe.network.unet import UNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TorchEngine:
    """The network of a stage on a device.

    Parameters
    ----------
    network : UNet
        Moved to the device.
    size : int
        Side of the cube, in voxels.
    limit : float
        Logits are cut to minus and plus this.
    device : str
    threads : int, optional
        CPU threads; default: what torch chooses.
    """

    def __init__(
        self, network: UNet, size: int, limit: float, device: str, threads: int | None
    ) -> None:
        self._device = torch.device(device)
        self._network = network.to(self._device)
        self.size, self.borders = size, network.config.borders
        self._limit, self._threads = limit, threads

    def predict(self, cube: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits, (borders, size, size, size), of a cube."""
        with torch.inference_mode(), limited_threads(self._threads):
            image = torch.from_numpy(cube).to(self._device)
            with half_precision(self._device):
                logits = self._network(image[None, None])[0]
            return logits.float().clamp(-self._limit, self._limit).cpu().numpy()
