"""The gradient itself, where a source lets it pass."""

from __future__ import annotations

from torch import Tensor

from reprogram.optim.base import GradientStep, Objective


class Backprop(GradientStep):
    """The gradient itself, by backpropagation through the frozen source.

    Example:
        >>> import functools, torch
        >>> optimizer = Backprop(
        ...     functools.partial(torch.optim.SGD, lr=0.1),
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
