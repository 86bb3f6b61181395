"""Random directions at the price of one number a parameter: the count-sketch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sketch(count: int, size: int, seed: int) -> Int[Tensor, " count"]:
    """Where each of ``count`` parameters stands among ``size`` coefficients and their negatives.

    Every parameter belongs to one coefficient, with a random sign, and every coefficient to as many
    parameters as any other, or to one more: the columns are orthogonal.

    Example:
        >>> place = sketch(7, 3, seed=0)
        >>> (place % 3).bincount().tolist()
        [3, 2, 2]
    """
    generator = torch.Generator().manual_seed(seed)
    coefficient = (torch.arange(count) % size)[torch.randperm(count, generator=generator)]
    return coefficient + size * torch.randint(2, (count,), generator=generator)


def synthesis(z: Float[Tensor, " size"], place: Int[Tensor, " count"]) -> Float[Tensor, " count"]:
    """The parameters that coefficients make: each a coefficient or its negative."""
    return torch.cat([z, -z]).index_select(0, place)
