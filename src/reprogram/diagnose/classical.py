"""Controls without any source: scikit-learn's classifiers on the raw target, same splits."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from reprogram.tasks.base import Split, Task
from reprogram.tasks.metrics import metrics
from reprogram.types import UserError

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # inverse strengths C of the penalty
DEPTHS, RATES = (2, 4, 8), (0.03, 0.1, 0.3)


def logistic(task: Task, *, seed: int = 0) -> dict[str, float]:
    """Metrics on test of a logistic regression on the raw target, every value standardised.

    The strength of its penalty is the one of the lowest loss on validation, or by folds of train
    where there is none.

    Arguments:
        task: With a test split; samples are flattened.
        seed: Of the folds.

    Raises:
        UserError: if there is no test split.

    Example:
        >>> import reprogram
        >>> logistic(reprogram.load_task("digits?limit=200"))["accuracy"] > 0.85
        True
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def make(c: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500))

    return _measured(make, [(c,) for c in STRENGTHS], (1.0,), task, seed)


def boosting(task: Task, *, seed: int = 0) -> dict[str, float]:
    """Metrics on test of gradient-boosted trees on the raw target: 200 of them.

    Depth and learning rate are those of the lowest loss on validation, or by folds of train where
    there is none.

    Arguments:
        task: With a test split; samples are flattened.
        seed: Of the trees and the folds.

    Raises:
        UserError: if there is no test split.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    def make(depth: int, rate: float) -> Any:
        return HistGradientBoostingClassifier(
            max_depth=depth, learning_rate=rate, max_iter=200, random_state=seed,
            early_stopping=False,  # pyright: ignore[reportArgumentType], for its stub knows "auto"
        )  # fmt: skip

    return _measured(make, list(itertools.product(DEPTHS, RATES)), (4, 0.1), task, seed)


def _measured(
    make: Callable[..., Any], grid: Sequence[tuple], default: tuple, task: Task, seed: int
) -> dict[str, float]:
    """Metrics on test of the classifier whose numbers were chosen on validation."""
    test = reported_split(task)
    if task.spec.input.kind == "text" or task.spec.target != "classes":
        raise UserError(f"task {task.spec.name!r} holds {task.spec.input.kind} samples and asks "
                        f"for {task.spec.target}; this control reads numbers and tells classes: "
                        "for texts use ngrams")  # fmt: skip
    classes = len(task.spec.classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weak penalty that does not converge loses the choice
        model = make(*_chosen(make, grid, default, task, seed)).fit(*_rows(task.train))
        x, _ = _rows(test)
        scores = chances(model, x, classes)
    labelled = test.weights > 0
    return metrics(scores, test.targets[labelled], torch.ones(len(scores)))


def _chosen(
    make: Callable[..., Any], grid: Sequence[tuple], default: tuple, task: Task, seed: int
) -> tuple:
    """The numbers of the lowest loss; ``default`` where a class has one sample to choose by."""
    if task.validation is not None:
        trials = [task]
    elif (least := min(count for count in task.spec.counts if count)) < 2:
        return default
    else:
        trials = task.folds(max(2, min(5, least)), seed)
    losses = []
    for numbers in grid:
        loss = 0.0
        for trial in trials:
            assert trial.validation is not None  # of folds, always
            x, y = _rows(trial.validation)
            found = chances(make(*numbers).fit(*_rows(trial.train)), x, len(task.spec.classes))
            loss -= float(found[torch.arange(len(y)), torch.from_numpy(y)].log().mean())
        losses.append(loss)
    return grid[int(np.argmin(losses))]


def chances(model: Any, x: Any, classes: int) -> torch.Tensor:
    """(rows, classes): a classifier's probabilities, next to nothing for classes it never met."""
    found = torch.full((x.shape[0], classes), 1e-12, dtype=torch.float64)
    found[:, torch.as_tensor(model.classes_).long()] = torch.from_numpy(
        np.clip(model.predict_proba(x).astype(np.float64), 1e-12, 1.0)
    )
    return found


def reported_split(task: Task) -> Split:
    """The split that every control reports on.

    Raises:
        UserError: if there is none.
    """
    if task.test is None:
        raise UserError(f"task {task.spec.name} has no test split: controls have nothing to tell")
    return task.test


def _rows(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Labelled samples (rows, values), flattened, and their classes (rows,)."""
    index = (split.weights > 0).nonzero()[:, 0]
    inputs, targets, _ = split.batch(index)
    return inputs.flatten(1).numpy(), targets.numpy()
