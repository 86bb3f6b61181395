"""Estimates by differences along random signs, directions of the sphere, and normal vectors."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.optim.base import MakeOptimizer, MakeScheduler
from reprogram.optim.zeroth import Directions, Vector, ZerothOrder
from reprogram.types import UserError, nearest


class SPSA(ZerothOrder):
    """Simultaneous perturbation: a directional difference along random signs.

    ``g = (f(w + c D) - f(w - c D)) / (2 c) / D``, averaged over directions. With
    ``partial(torch.optim.SGD, momentum=b, nesterov=True)`` and :func:`~reprogram.optim.decay` this
    is SPSA with gradient correction.

    References:
        | Multivariate Stochastic Approximation Using a Simultaneous Perturbation Gradient
          Approximation (Spall, 1992), eq. 2.
        | BlackVIP (Oh et al., 2023). https://arxiv.org/abs/2303.14773

    Arguments:
        optimizer: See :class:`~reprogram.optim.zeroth.ZerothOrder`, as all that is not here.
        law: Of D: ``"signs"`` of Rademacher, or ``"segmented"`` as BlackVIP has it, uniform on
            [-1, -0.5] and [0.5, 1].

    Raises:
        UserError: if a number is out of its range, or segmented directions are to be orthogonal.

    Example:
        >>> SPSA(directions=4).evaluations, SPSA().calibration, SPSA(c=0.01).calibration
        (8, 24, 0)
    """

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        c: float | None = None,
        gamma: float = 0.101,
        directions: int = 1,
        law: Literal["signs", "segmented"] = "signs",
        orthogonal: bool = False,
        calibrate: bool = True,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        if law not in ("signs", "segmented"):
            raise nearest("law", law, ("signs", "segmented"))
        if orthogonal and law == "segmented":
            raise UserError("orthogonal directions have no law of their own; leave 'law' out")
        super().__init__(
            optimizer, c=c, gamma=gamma, directions=directions, orthogonal=orthogonal,
            calibrate=calibrate, scheduler=scheduler, mapping_lr=mapping_lr, seed=seed,
        )  # fmt: skip
        self.law = law

    def draw(self, n: int, d: int, generator: torch.Generator) -> Directions:
        """(n, d) signs, or signed magnitudes."""
        signs = 2.0 * torch.randint(0, 2, (n, d), generator=generator) - 1
        if self.law == "signs":
            return signs
        return signs * (1 + torch.rand(n, d, generator=generator)) / 2

    def weigh(self, directions: Directions) -> Directions:
        """Signs are their own inverse; segmented ones are divided by."""
        return directions if self.law == "signs" else 1 / directions


class RandomDirections(ZerothOrder):
    """Averaged one-sided differences along directions of the unit sphere.

    ``g = 1/q sum_i D (f(w + c U_i) - f(w)) / c * U_i``: one evaluation more than directions.

    References:
        | Transfer Learning without Knowing: Reprogramming Black-box Machine Learning Models with
          Scarce Data and Limited Resources (Tsai, Chen, Ho, 2020), eq. 4 and 5.
          https://arxiv.org/abs/2007.08714

    Arguments:
        optimizer: See :class:`~reprogram.optim.zeroth.ZerothOrder`, as all that is not here.
        c: Length of the perturbation, > 0 (the paper's beta); calibrated if absent.

    Example:
        >>> RandomDirections(directions=25).evaluations
        26
    """

    def draw(self, n: int, d: int, generator: torch.Generator) -> Directions:
        """(n, d) of length ``sqrt(d)``: the factor D of the estimate is in them."""
        normal = torch.randn(n, d, generator=generator)
        return math.sqrt(d) * normal / normal.norm(dim=1, keepdim=True)

    def _cost(self, n: int) -> int:
        return n + 1

    def _around(self, w: Vector, steps: Directions) -> Float[Tensor, "evaluations parameters"]:
        return torch.cat([w[None], w + steps])

    def _differences(self, losses: Tensor) -> Tensor:
        return losses[1:] - losses[:1]

    def _in_coordinates(self, c: float, d: int) -> float:
        return c / math.sqrt(d)


class NES(ZerothOrder):
    """Natural evolution strategies with antithetic normal directions.

    ``g = 1/q sum_i (u(w + c E_i) - u(w - c E_i)) / (2 c) * E_i``, ``E ~ N(0, 1)``, where u is the
    loss or its rank.

    References:
        | Natural Evolution Strategies (Wierstra et al., 2014). https://arxiv.org/abs/1106.4487
        | Evolution Strategies as a Scalable Alternative to Reinforcement Learning (Salimans et al.,
          2017). https://arxiv.org/abs/1703.03864

    Arguments:
        optimizer: See :class:`~reprogram.optim.zeroth.ZerothOrder`, as all that is not here.
        ranks: Whether u is the loss's centred rank in the step, from -1/2 to 1/2, ties shared:
            nothing that keeps the order of losses then changes the estimate.

    Example:
        >>> NES(directions=8, orthogonal=True).evaluations
        16
    """

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        c: float | None = None,
        gamma: float = 0.0,
        directions: int = 1,
        ranks: bool = True,
        orthogonal: bool = False,
        calibrate: bool = True,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            optimizer, c=c, gamma=gamma, directions=directions, orthogonal=orthogonal,
            calibrate=calibrate, scheduler=scheduler, mapping_lr=mapping_lr, seed=seed,
        )  # fmt: skip
        self.ranks = ranks

    def draw(self, n: int, d: int, generator: torch.Generator) -> Directions:
        """(n, d) standard normal."""
        return torch.randn(n, d, generator=generator)

    def utilities(self, losses: Float[Tensor, " evaluations"]) -> Float[Tensor, " evaluations"]:
        """The losses or their centred ranks."""
        return centred_ranks(losses) if self.ranks else losses


def centred_ranks(losses: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Ranks from -1/2 to 1/2, the same for equal losses; n >= 2.

    Example:
        >>> centred_ranks(torch.tensor([5.0, 1.0, 5.0, 90.0, 0.0]))
        tensor([ 0.1250, -0.2500,  0.1250,  0.5000, -0.5000])
    """
    above = torch.sign(losses[:, None] - losses).sum(
        1
    )  # how many are smaller, less how many larger
    return above / (2 * (len(losses) - 1))
