"""Random draws from a generator that is passed in, never from global state."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pumba_pipe.common.errors import InputError


def seeded(seed: int, device: torch.device | str = 'cpu') -> torch.Generator:
    """Return a generator on `device` that starts at `seed`.

    On the CPU torch uses the lowest 32 bits alone: `seed` and ``seed + 2**32`` draw the same
    there. So a seed that a user or a counter gave goes through `derived_seed` first, which spreads
    all of its bits. They cannot be spread here: every sample of today has a seed of 63 bits, and
    would become another one.
    """
    return torch.Generator(device=device).manual_seed(seed)


def derived_seed(*parts: int) -> int:
    """Mix integers into one 63-bit seed; near-by inputs give unrelated seeds.

    Parameters
    ----------
    *parts : int
        At least zero, of any size: all of their bits count.

    Raises
    ------
    InputError
        One is negative.
    """
    if min(parts) < 0:
        raise InputError(f'seed {min(parts)}: must be zero or more')
    low, high = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 31) ^ int(low)


def new_seed(rng: torch.Generator) -> int:
    """Draw a seed for a field that a deterministic function will make later."""
    return int(torch.randint(0, 2**62, (1,), generator=rng).item())


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """Draw one number from U(low, high)."""
    return low + (high - low) * float(torch.rand(1, generator=rng).item())


def integer(rng: torch.Generator, low: int, high: int) -> int:
    """Draw one integer from low..high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng).item())


def chance(rng: torch.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return float(torch.rand(1, generator=rng).item()) < probability


def direction(rng: torch.Generator) -> Tensor:
    """Draw a unit vector, shape (3,), uniform on the sphere."""
    vector = torch.randn(3, generator=rng)
    return vector / vector.norm().clamp_min(1e-6)


def rotation(rng: torch.Generator, degrees: float) -> Tensor:
    """Draw an orthogonal matrix, shape (3, 3).

    A random signed permutation of the axes (so no axis means left or up) followed by a turn of
    at most `degrees` about a random axis.
    """
    order = torch.randperm(3, generator=rng)
    signs = torch.randint(0, 2, (3,), generator=rng) * 2 - 1
    permutation = torch.eye(3)[order] * signs[:, None]
    return turn(rng, degrees) @ permutation


def turn(rng: torch.Generator, degrees: float) -> Tensor:
    """Draw a turn of at most `degrees` about a random axis, shape (3, 3)."""
    x, y, z = direction(rng).tolist()
    angle = math.radians(uniform(rng, -degrees, degrees))
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
