"""Labelled real images -> views of them, for training and for choosing weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pumba_pipe.extraction.passes import BOX_FILL, BOX_RATIO, BOX_SHIFT, intensity_ceiling
from pumba_pipe.images.grids import Cube, sampling_matrices, whole_cube
from pumba_pipe.images.intensity import rescale
from pumba_pipe.images.masks import bounding_block
from pumba_pipe.images.resampling import apply_shrinking_first
from pumba_pipe.network.config import BORDERS, INTRACRANIAL
from pumba_pipe.synthesis import artefacts, draw
from pumba_pipe.synthesis.draw import derived_seed
from pumba_pipe.synthesis.recipe import Recipe
from pumba_pipe.training.samples import OVERSAMPLING, SHIFT, ZOOM, Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

P_ROTATION, DEGREES = 0.5, 15.0  # share of views that are turned, and by how much at most
P_ARTEFACTS = 0.7  # share of views that get a bias field, noise and the like


@dataclass(frozen=True, eq=False)
class LabelledHead:
    """A real image with its brain, in memory.

    Attributes
    ----------
    subject : str
        Cases of one subject are never on both sides of a split.
    digest : str
        Of the image file: tells later whether weights have seen an image.
    image : Tensor of float32, shape (x, y, z)
        Axes in the order in which extraction reads every image.
    mask : Tensor of bool, shape (x, y, z)
        Not empty.
    voxel_size : ndarray, shape (3,)
        In millimetres.
    """

    subject: str
    digest: str
    image: Tensor
    mask: Tensor
    voxel_size: NDArray[np.float64]

    def whole(self, size: int) -> Cube:
        """The cube that the coarse pass sees."""
        return whole_cube(tuple(self.image.shape), self.voxel_size, size)

    def box(self, size: int) -> Cube:
        """The cube that the fine pass sees where the coarse one was right."""
        low, high = self._corners
        return Cube((low + high) / 2, float((high - low).max()) / BOX_FILL, size)

    @cached_property
    def ceiling(self) -> float:
        """What is white to the fine pass where the coarse one was right."""
        return intensity_ceiling(self.image, self.mask)

    @cached_property
    def _corners(self) -> NDArray[np.float64]:
        """Of the brain, in millimetres, shape (2, 3)."""
        block = bounding_block(self.mask.numpy())
        return np.array([(span.start, span.stop) for span in block]).T * self.voxel_size


def inference_view(head: LabelledHead, cube: Cube, box: bool) -> Batch:
    """Bring an image and its brain into a cube, exactly as extraction does; a batch of one."""
    image, target, inside = _sampled(head, cube, box)
    return _batch(rescale(image, inside), target, inside)


def _sampled(head: LabelledHead, cube: Cube, box: bool) -> tuple[Tensor, Tensor, Tensor]:
    image, inside = to_cube(head.image, head.voxel_size, cube)
    if box:
        image = image.clamp(max=head.ceiling)
    target, _ = to_cube(head.mask.float(), head.voxel_size, cube)
    return image, target, inside


def to_cube(data: Tensor, voxel_size: NDArray[np.float64], cube: Cube) -> tuple[Tensor, Tensor]:
    """Sample an image into a cube, in torch; otherwise as `pumba_pipe.images.grids.to_cube`.

    Returns
    -------
    values : Tensor, shape (size, size, size)
        Zero outside the image.
    inside : Tensor of bool, shape (size, size, size)
        Where the image is.
    """
    matrices, block = sampling_matrices(data.shape, voxel_size, cube)
    inside = torch.zeros([cube.size] * 3, dtype=torch.bool)
    inside[block] = True
    weights = [torch.from_numpy(matrix.astype(np.float32)) for matrix in matrices]
    return apply_shrinking_first(data, weights), inside


def _batch(image: Tensor, target: Tensor, inside: Tensor) -> Batch:
    shown = inside.float()
    # Sums of weights in single precision may end a little above one. Both borders of the brain
    # come to lie where a person has drawn the one; nothing is known of the intracranial space.
    target = target.clamp(0, 1).expand(BORDERS, *target.shape).clone()
    target[INTRACRANIAL] = torch.nan
    return Batch((image * shown)[None, None], target[None], shown[None, None])


def augmented_view(head: LabelledHead, size: int, box: bool, recipe: Recipe, seed: int) -> Batch:
    """Draw a training view of an image: where and how large the cube is, turns, flips, artefacts.

    A box lies as far off as the fine pass lets one lie. Half of the views are turned, which costs
    a second resampling; the others are sampled once, as in extraction.
    """
    rng = draw.seeded(derived_seed(seed, 31))
    cube = moved(head.box(size) if box else head.whole(size), rng, box)
    if draw.chance(rng, P_ROTATION):
        image, target, inside = _rotated(head, cube, box, rng)
    else:
        image, target, inside = _sampled(head, cube, box)
    flips = [axis for axis in range(3) if draw.chance(rng, 0.5)]
    image, target, inside = (part.flip(flips) for part in (image, target, inside))
    if draw.chance(rng, P_ARTEFACTS):
        image, inside = add_artefacts(rescale(image, inside), inside, recipe, rng)
    return _batch(rescale(image, inside), target, inside)


def moved(cube: Cube, rng: torch.Generator, box: bool) -> Cube:
    """Draw another size and place of a cube: of a box as far as it still fits the brain."""
    ratio, shift = (BOX_RATIO, BOX_SHIFT) if box else (ZOOM, SHIFT)
    side = cube.side / draw.uniform(rng, *ratio)
    offset = np.array([draw.uniform(rng, -shift, shift) for _ in range(3)]) * cube.side
    return Cube(cube.centre + offset, side, cube.size)


def _rotated(
    head: LabelledHead, cube: Cube, box: bool, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample a somewhat larger cube and turn it; what comes from beyond it is not inside."""
    size = 2 * round(cube.size * OVERSAMPLING / 2)
    wide = Cube(cube.centre, cube.voxel * size, size)
    stack = torch.stack([part.float() for part in _sampled(head, wide, box)])[None]
    matrix = torch.cat([draw.turn(rng, DEGREES) * (cube.size / size), torch.zeros(3, 1)], 1)
    grid = F.affine_grid(matrix[None], [1, 3, *[cube.size] * 3], align_corners=False)
    image, target, inside = F.grid_sample(stack, grid, align_corners=False)[0]
    return image, target, inside > 0.99


def add_artefacts(
    image: Tensor, inside: Tensor, recipe: Recipe, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add a recipe's artefacts to an image in 0..1 and cut its field of view."""
    drawn = artefacts.draw_artefacts(recipe, rng)
    image = artefacts.apply_coil(image, drawn.coil)
    image = artefacts.acquire(image, drawn.sampling, drawn.k_space, drawn.receiver)
    view = artefacts.fov_mask(image.shape, drawn.low, drawn.high, image.device)
    return image, inside & view
