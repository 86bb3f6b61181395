"""One step of the trainable parts: by gradient, by an estimate of it, or by a population."""

from __future__ import annotations

import math
from functools import partial

import torch

from reprogram.optim.base import (
    GradientStep,
    MakeScheduler,
    Objective,
    Optimizer,
    flatten,
    unflatten,
)
from reprogram.optim.cmaes import CMAES
from reprogram.optim.directions import NES, SPSA, RandomDirections
from reprogram.optim.estimators import Backprop
from reprogram.optim.score import ScoreFunction
from reprogram.optim.unit import normalised
from reprogram.types import UserError

__all__ = [
    "CMAES",
    "NES",
    "SPSA",
    "Backprop",
    "GradientStep",
    "MakeScheduler",
    "Objective",
    "Optimizer",
    "RandomDirections",
    "ScoreFunction",
    "cosine",
    "decay",
    "default",
    "drops",
    "flatten",
    "linear",
    "milestones",
    "normalised",
    "slanted",
    "unflatten",
]


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler from full learning rate to zero along a half cosine over the whole run."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def linear(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler from full learning rate to zero along a line over the whole run.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = linear(optimizer, 4)
        >>> optimizer.step()
        >>> schedule.step()
        >>> optimizer.param_groups[0]["lr"]
        0.75
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: max(0.0, 1 - t / steps))


def decay(power: float, offset: float = 1.0) -> MakeScheduler:
    """Makes a scheduler of Spall's gains: ``a_k = a / (k + offset)^power``, k = 0 at first.

    Arguments:
        power: 0.602 as Spall advises, 0.4 in BlackVIP; >= 0.
        offset: Steps by which the decay is delayed, > 0.

    Raises:
        UserError: if a number is out of its range.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = decay(0.5, offset=4)(optimizer, 100)
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """
    if not 0 <= power < math.inf:
        raise UserError(f"argument 'power' is {power}; give 0 or more")
    if not 0 < offset < math.inf:
        raise UserError(f"argument 'offset' is {offset}; give a positive number of steps")
    return lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: (k + offset) ** -power
    )


def milestones(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler that divides the learning rate by 10 at 0.5 and again at 0.72 of the run.

    References:
        | Understanding and Improving Visual Prompting (Chen, Yao, Chen, Zhang, Liu, 2023), and
          those after it. https://arxiv.org/abs/2211.11635
    """
    at = [int(0.5 * steps), int(0.72 * steps)]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, at, gamma=0.1)


def drops(*shares: float) -> MakeScheduler:
    """Makes a scheduler that divides the learning rate by 10 at each of these shares of the run.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = drops(0.3, 0.7)(optimizer, 100)
        >>> sorted(schedule.milestones)
        [30, 70]
    """
    return lambda optimizer, steps: torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [int(share * steps) for share in shares], gamma=0.1
    )


def slanted(
    optimizer: torch.optim.Optimizer, steps: int, *, rise: float = 0.06, ratio: float = 32.0
) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler that rises along a line to the full learning rate, and falls along a longer one.

    Arguments:
        optimizer: Whose rate it is.
        steps: Of the whole run.
        rise: Share of the steps on the way up, in [0, 1).
        ratio: The full rate divided by the one at both ends.

    References:
        | Universal Language Model Fine-tuning for Text Classification (Howard, Ruder, 2018), eq. 3.
          https://arxiv.org/abs/1801.06146

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3.2)
        >>> schedule = slanted(optimizer, 100)
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.1
    """
    top = int(rise * steps)

    def share(t: int) -> float:
        p = t / top if t < top else 1 - (t - top) / max(steps - top, 1)
        return (1 + p * (ratio - 1)) / ratio  # eq. (3)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def default(
    gradient: bool,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    scheduler: MakeScheduler | None = cosine,
    mapping_lr: float | None = None,
    seed: int = 0,
) -> Optimizer:
    """What a recipe uses when it is given no optimiser: Adam with a cosine schedule.

    Arguments:
        gradient: Whether the source lets one pass (``source.gradient``): Backprop, else NES with
            four orthogonal directions a step.
        learning_rate: Of Adam.
        scheduler: Makes the schedule; ``None`` for a constant rate.
        mapping_lr: Learning rate of the mapping where it is another one.
        weight_decay: L2 coefficient as Adam has it: the penalty is ``weight_decay / 2 * |w|^2``.
        seed: Of the directions.

    Raises:
        UserError: if a number is out of its range.

    Example:
        >>> type(default(False, learning_rate=0.01)).__name__
        'NES'
    """
    if not 0 < learning_rate < math.inf:
        raise UserError(f"argument 'learning_rate' is {learning_rate}; give a positive number")
    if not 0 <= weight_decay < math.inf:
        raise UserError(f"argument 'weight_decay' is {weight_decay}; give 0 or more")
    if mapping_lr is not None and not 0 < mapping_lr < math.inf:
        raise UserError(f"argument 'mapping_lr' is {mapping_lr}; give a positive number")
    adam = partial(torch.optim.Adam, lr=learning_rate, weight_decay=weight_decay)
    if gradient:
        return Backprop(adam, scheduler=scheduler, mapping_lr=mapping_lr)
    # A penalty is weighed against the loss, whose size ranks do not know.
    return NES(
        adam, directions=4, ranks=weight_decay == 0, orthogonal=True, calibrate=False,
        scheduler=scheduler, mapping_lr=mapping_lr, seed=seed,
    )  # fmt: skip
