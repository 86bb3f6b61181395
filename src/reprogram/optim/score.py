"""The score function of programs that draw from a finite set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reprogram.optim.base import GradientStep, MakeOptimizer, MakeScheduler, Objective
from reprogram.types import UserError


class ScoreFunction(GradientStep):
    """REINFORCE with a leave-one-out baseline, for a transformation that has a ``sample``.

    ``g = 1/n sum_i (f(z_i) - mean_{j != i} f(z_j)) grad log p(z_i)`` for each sample of the batch.

    References:
        | Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning
          (Williams, 1992).
        | Buy 4 REINFORCE Samples, Get a Baseline for Free! (Kool, van Hoof, Welling, 2019).
          https://openreview.net/forum?id=r1lgTGL5DE

    Arguments:
        optimizer: See :class:`~reprogram.optim.GradientStep`.
        samples: Draws in a step, >= 2.
        scheduler: See :class:`~reprogram.optim.GradientStep`.
        mapping_lr: See :class:`~reprogram.optim.GradientStep`.

    Raises:
        UserError: if there is no other draw to leave one out of.

    Example:
        >>> ScoreFunction(samples=4).evaluations
        4
    """

    gradient = False

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        samples: int = 4,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler=scheduler, mapping_lr=mapping_lr)
        if samples < 2:
            raise UserError(f"argument 'samples' is {samples}; give 2 or more: each draw's "
                            "baseline is the mean of the others")  # fmt: skip
        self.samples = self.evaluations = samples

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Create the torch optimiser.

        Raises:
            UserError: if the transformation has no parameters.
        """
        super().bind(transformation, mapping, steps)
        if not self.parameters:
            raise UserError("ScoreFunction trains what is drawn, and this transformation has no "
                            "parameters")  # fmt: skip

    def estimate(self, objective: Objective) -> Tensor:
        """All draws in one source call; the mapping's gradient is exact on the outputs seen."""
        losses, log_probability = objective.sample(self.samples)  # (samples, batch) each
        f = losses.detach()
        advantage = f - (f.sum(0) - f) / (self.samples - 1)
        (losses + advantage * log_probability).mean().backward()
        return f.mean()
