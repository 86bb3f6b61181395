"""Estimates of the gradient: exact where the source lets it pass, from losses alone elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reprogram.optim.base import (
    GradientStep,
    MakeOptimizer,
    MakeScheduler,
    Objective,
    flatten,
    unflatten,
)
from reprogram.types import UserError


class Backprop(GradientStep):
    """The gradient itself, by backpropagation through the frozen source.

    Example:
        >>> from functools import partial
        >>> optimizer = Backprop(
        ...     partial(torch.optim.SGD, lr=0.1),
        ...     scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        ... )
        >>> optimizer.evaluations
        1
    """

    def estimate(self, objective: Objective) -> Tensor:
        """One forward and one backward pass."""
        loss = objective().mean()
        loss.backward()
        return loss


class SPSA(GradientStep):
    """Simultaneous perturbation: a directional difference along random signs.

    ``g = (f(w + c D) - f(w - c D)) / (2 c) * D``, ``D ~ Rademacher``, averaged over directions.
    With ``partial(torch.optim.SGD, momentum=b, nesterov=True)`` this is SPSA with gradient
    correction (BlackVIP). Differences are taken in float32 or better whatever the source computes
    in.

    References:
        | Multivariate Stochastic Approximation Using a Simultaneous Perturbation Gradient
          Approximation (Spall, 1992), eq. 2.
        | BlackVIP (Oh et al., 2023). https://arxiv.org/abs/2303.14773

    Arguments:
        optimizer: See :class:`GradientStep`.
        c: Size of the perturbation, in units of the parameters, > 0.
        gamma: Its decay, ``c_k = c / (k + 1)^gamma``; 0 for none.
        directions: Pairs of evaluations averaged in a step.
        scheduler: See :class:`GradientStep`.
        mapping_lr: See :class:`GradientStep`.
        seed: Of the directions.

    Example:
        >>> SPSA(directions=4).evaluations
        8
    """

    gradient = False

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        c: float = 0.01,
        gamma: float = 0.101,
        directions: int = 1,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, scheduler=scheduler, mapping_lr=mapping_lr)
        if c <= 0:
            raise UserError(f"argument 'c' is {c}; give a positive size of the perturbation")
        if directions < 1:
            raise UserError(f"argument 'directions' is {directions}; give 1 or more")
        self.c, self.gamma, self.directions, self.seed = c, gamma, directions, seed
        self.evaluations = 2 * directions

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Start counting steps at 0."""
        super().bind(transformation, mapping, steps)
        if not self.parameters:
            raise UserError("SPSA perturbs the transformation, and this one has no parameters")
        self.count = 0

    def estimate(self, objective: Objective) -> Tensor:
        """All 2 * directions evaluations in one source call."""
        w = flatten(self.parameters)
        generator = torch.Generator().manual_seed(hash((self.seed, self.count)) % 2**63)
        signs = torch.randint(0, 2, (self.directions, len(w)), generator=generator)
        delta = (2 * signs - 1).to(w)  # D ~ Rademacher, (directions, D)
        c_k = self.c / (self.count + 1) ** self.gamma
        self.count += 1
        losses = objective(torch.cat([w + c_k * delta, w - c_k * delta]))  # (2 directions, batch)
        if losses.requires_grad:  # the mapping's exact gradient, on the outputs seen
            losses.mean().backward()
        plus, minus = losses.detach().mean(1).chunk(2)
        slope = (plus - minus) / (2 * c_k)  # eq. (2)
        g = (slope[:, None] * delta).mean(0)
        for parameter, part in zip(self.parameters, unflatten(g, self.parameters), strict=True):
            parameter.grad = part.to(parameter.dtype)
        return losses.detach().mean()

    def state_dict(self) -> dict[str, Any]:
        """The torch optimiser's state and the number of steps."""
        return {**super().state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        super().load_state_dict(state)
        self.count = state["count"]
