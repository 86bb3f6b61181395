"""Gradients of unit length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

EPSILON = 1e-8

Rule = Callable[..., torch.optim.Optimizer]


def normalised(rule: Rule) -> Rule:
    """The same torch optimiser that sees ``g / (|g| + 1e-8)`` of each tensor's gradient.

    A run of many steps has gradients that vanish or explode; of each tensor only the direction is
    followed.

    Arguments:
        rule: Makes a torch optimiser from its parameters, such as ``torch.optim.Adam``.

    References:
        | Growing neural cellular automata (Mordvintsev, Randazzo, Niklasson, Levin, 2020), Distill,
          doi:10.23915/distill.00023

    Example:
        >>> w = torch.zeros(2, requires_grad=True)
        >>> optimizer = normalised(torch.optim.SGD)([w], lr=1.0)
        >>> (w * torch.tensor([30.0, 40.0])).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([-0.6000, -0.8000])
    """

    def made(parameters: Iterable[Any], **numbers: Any) -> torch.optim.Optimizer:
        optimizer = rule(parameters, **numbers)
        optimizer.register_step_pre_hook(_normalise)
        return optimizer

    return made


@torch.no_grad()
def _normalise(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
    """Every gradient in place."""
    del arguments
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.div_(parameter.grad.norm() + EPSILON)
