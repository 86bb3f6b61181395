"""Candidates compared on validation, or by folds of train where validation would be too small."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from reprogram.recipes import find
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import fit
from reprogram.types import UserError


@dataclass(frozen=True)
class Candidate:
    """A recipe by name, with the numbers that differ from its defaults.

    Example:
        >>> str(Candidate("v2s", {"segments": 3}))
        'v2s segments=3'
    """

    recipe: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.recipe, *[f"{k}={v}" for k, v in self.numbers.items()]])


@dataclass(frozen=True)
class Validated:
    """What validation says of a candidate."""

    accuracy: float
    loss: float

    @property
    def order(self) -> tuple[float, float]:
        """Better is larger: accuracy first, then the smaller loss."""
        return self.accuracy, -self.loss


def validate(
    candidate: Candidate, source: Source, task: Task, *, folds: int = 5, seed: int = 0
) -> Validated:
    """Accuracy and loss of a candidate on rows it was not trained on; test is not read.

    Arguments:
        candidate: What is measured.
        source: The frozen source.
        task: Its validation split is used if it has one; else ``folds`` folds of train, each fitted
            to the last epoch, as the final fit without validation is.
        folds: How many.
        seed: Of folds and fits.
    """
    task = dataclasses.replace(task, test=None)
    parts = [task] if task.validation is not None else task.folds(folds, seed)
    results = []
    for part in parts:
        training = find(candidate.recipe)(source, part, **candidate.numbers, seed=seed)
        training.keep_best = task.validation is not None
        measured = fit(training, part).metrics["validation"]
        results.append([measured["accuracy"], measured["loss"]])
    accuracy, loss = torch.tensor(results, dtype=torch.double).mean(0).tolist()
    return Validated(accuracy, loss)


def choose(
    candidates: Sequence[Candidate],
    source: Source,
    task: Task,
    *,
    folds: int = 5,
    seed: int = 0,
    tell: Callable[[Candidate, Validated], None] = lambda *_: None,
) -> Candidate:
    """The candidate that validates best; the first of equals.

    Raises:
        UserError: if there is none.
    """
    if not candidates:
        raise UserError("argument 'candidates' is empty; give at least one")
    best: tuple[Candidate, Validated] | None = None
    for candidate in candidates:
        result = validate(candidate, source, task, folds=folds, seed=seed)
        tell(candidate, result)
        if best is None or result.order > best[1].order:
            best = candidate, result
    assert best is not None
    return best[0]
