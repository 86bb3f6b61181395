"""Frozen neural cellular automata that a program leads elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch

from reprogram import optim
from reprogram.criteria import SquaredError
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Inject, StateMatrix, Transformation


@recipe(
    without=("class_weights", "label_smoothing"),
    optimizer="Backprop",
    epochs=8,
    batch_size=16,
    learning_rate=1e-3,
    mapping="CellScores",
    quick={"epochs": 30, "limit": 160, "validation": 32, "test": 256},
)
def nca_inject(
    source: Source,
    task: Task,
    *,
    share: float = 0.1,
    steps: int | list[int] = 20,
    evaluation: int | None = None,
    pool: int = 160,
    fresh: float = 0.25,
    mutated: float = 1.0,
    damaged: float = 0.0,
    keep_best: bool = False,
    **shared: Unpack[Shared],
) -> Training:
    """A few adversarial cells among the frozen ones, until all say what is wanted.

    By default as the paper attacks digits. A growing automaton takes ``mapping=Pixels``,
    ``batch_size=8``, ``learning_rate=2e-3``, ``steps=[64,96]``, ``pool=64`` and ``damaged=0.5``.
    The gradient of each tensor is brought to length 1, and the rate falls to a tenth at 0.3 and
    again at 0.7 of the run.

    References:
        | Adversarial reprogramming of neural cellular automata (Randazzo, Mordvintsev, Niklasson,
          Levin, 2021), Distill, doi:10.23915/distill.00027.004

    Arguments:
        source: An automaton.
        task: A class that the cells should say, or a picture that should grow.
        share: Of the cells that are adversaries.
        steps: Of a run while training, or ``[low, high]``.
        evaluation: Steps of a run in evaluation; by default the source's own.
        pool: States that are kept, from which runs go on; 0 for none.
        fresh: Share of samples that begin anew.
        mutated: Share of the others that go on from any sample's state, not their own.
        damaged: Share of those that go on that lose a circle.
        keep_best: Whether validation chooses the epoch; else the last is kept.
    """
    del task
    part = Inject(
        share=share, steps=steps, evaluation=evaluation, pool=pool, fresh=fresh, mutated=mutated,
        damaged=damaged, seed=shared["seed"],
    )  # fmt: skip
    return _led(source, part, optim.drops(0.3, 0.7), keep_best, shared)


@recipe(
    without=("class_weights", "label_smoothing"),
    optimizer="Backprop",
    batch_size=8,
    learning_rate=5e-4,
    mapping="Pixels",
    quick={
        "epochs": 10,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "steps": [48, 64],
        "pool": 16,
        "fresh": 0.5,
        "damaged": 0.0,
    },
)
def nca_global(
    source: Source,
    task: Task,
    *,
    steps: int | list[int] = [64, 96],  # noqa: B006
    evaluation: int | None = None,
    pool: int = 64,
    fresh: float = 0.25,
    damaged: float = 0.5,
    keep_best: bool = False,
    **shared: Unpack[Shared],
) -> Training:
    """One symmetric matrix on every cell's state, at every step, until another picture grows.

    The gradient is brought to length 1, and the rate falls to a tenth at a quarter of the run. The
    article's rate is 2e-3, for 8,000 steps.

    References:
        | Adversarial reprogramming of neural cellular automata (Randazzo, Mordvintsev, Niklasson,
          Levin, 2021), Distill, doi:10.23915/distill.00027.004

    Arguments:
        source: A growing automaton.
        task: A picture that should grow.
        steps: Of a run while training, or ``[low, high]``.
        evaluation: Steps of a run in evaluation; by default the source's own.
        pool: States that are kept, from which runs go on; 0 for none.
        fresh: Share of samples that begin anew.
        damaged: Share of those that go on that lose a circle.
        keep_best: Whether validation chooses the epoch; else the last is kept.
    """
    del task
    part = StateMatrix(steps=steps, evaluation=evaluation, pool=pool, fresh=fresh, damaged=damaged)
    return _led(source, part, optim.drops(0.25), keep_best, shared)


def _led(
    source: Source,
    part: Transformation,
    scheduler: optim.MakeScheduler,
    keep_best: bool,
    shared: Shared,
) -> Training:
    """What both have in common: the squared error, and gradients of unit length."""
    training = assemble(
        source, part, criterion=SquaredError(), scheduler=scheduler,
        rule=optim.normalised(torch.optim.Adam), **shared,
    )  # fmt: skip
    return replace(training, keep_best=keep_best)
