"""What a report is made of: the run's files, and what its program says of its task."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reprogram.program import Program
from reprogram.record import Record, read_record
from reprogram.tasks.base import Split, Task

METRICS, HISTORY = "metrics.json", "history.csv"
SHOWN = 10  # samples with their pictures
BATCH = 64  # samples read and predicted at once


@dataclass(frozen=True)
class Files:
    """What a run's directory tells, and what it does not.

    Arguments:
        record: Its ``program.json``.
        metrics: Its ``metrics.json``, or what the program itself remembers.
        history: Rows of its ``history.csv``, numbers by column.
        missing: What could not be read, a sentence each.
    """

    record: Record
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predicted:
    """The labelled rows of a split with the program's answers.

    Arguments:
        name: Of the split.
        rows: The labelled ones.
        scores: Probabilities (rows, classes).
    """

    name: str
    rows: Split
    scores: Float[Tensor, "n classes"]

    @property
    def best(self) -> Int[Tensor, " n"]:
        """The likeliest class of each row."""
        return self.scores.argmax(1)

    @property
    def right(self) -> Bool[Tensor, " n"]:
        """Whether it is the true one."""
        return self.best == self.rows.targets

    def confusion(self) -> Float[Tensor, "true predicted"]:
        """How often each class was taken for each."""
        classes = self.scores.shape[1]
        place = self.rows.targets * classes + self.best
        return torch.bincount(place, minlength=classes**2).reshape(classes, classes).float()


def read_files(run: Path) -> Files:
    """The files of a run.

    Raises:
        UserError: if the folder holds no program, or a damaged one.
    """
    record = read_record(run)
    missing: list[str] = []
    metrics = _read_metrics(run / METRICS)
    if metrics is None:
        missing.append(f"{METRICS} is absent or damaged: the numbers are the program's own.")
        metrics = record.metrics
    history = _read_history(run / HISTORY)
    if not history:
        missing.append(f"{HISTORY} is absent or damaged: there are no curves.")
    return Files(record, metrics, history, tuple(missing))


def predict(program: Program, task: Task) -> Predicted | None:
    """The program's answers on test, or on what stands for it; one query a sample.

    A task without a test split is read on validation, and without that on train; ``None`` where
    no row has a label.
    """
    splits = {"test": task.test, "validation": task.validation, "train": task.train}
    name, split = next((n, s) for n, s in splits.items() if s is not None)
    rows = split.subset((split.weights > 0).nonzero()[:, 0])
    if not len(rows):
        return None
    batches = torch.arange(len(rows)).split(BATCH)
    told = [program.predict(rows.batch(index)[0]).probabilities for index in batches]
    return Predicted(name, rows, torch.cat(told))


def choose(
    targets: Int[Tensor, " n"], right: Bool[Tensor, " n"], *, count: int = SHOWN, seed: int = 0
) -> list[int]:
    """Samples to show: right and wrong ones as they occur, over as many classes as possible.

    Of ``count`` samples as many are wrong as their share says, but at least two of either kind
    where there are two. Each is drawn from the classes that are shown least so far.

    Arguments:
        targets: True classes.
        right: Whether the prediction is the true class.
        count: How many.
        seed: Of the draw.

    Example:
        >>> targets = torch.tensor([0, 0, 1, 1, 2, 2])
        >>> chosen = choose(targets, torch.tensor([1, 1, 1, 1, 1, 0]).bool(), count=3)
        >>> targets[chosen].tolist(), 5 in chosen
        ([0, 1, 2], True)
    """
    count = min(count, len(targets))
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed)).tolist()
    of_kind = {kind: [i for i in order if bool(right[i]) == kind] for kind in (False, True)}
    wrong = round(count * len(of_kind[False]) / max(len(order), 1))
    wrong = min(max(wrong, 2), count - 2) if count >= 4 else max(wrong, 1)
    wrong = min(max(wrong, count - len(of_kind[True])), len(of_kind[False]))
    shown = [0] * (int(targets.max()) + 1 if len(targets) else 0)
    chosen: list[int] = []
    for kind in [False] * wrong + [True] * (count - wrong):
        pool = of_kind[kind]
        pick = min(pool, key=lambda i: shown[int(targets[i])])  # the first drawn among equals
        pool.remove(pick)
        shown[int(targets[pick])] += 1
        chosen.append(pick)
    return sorted(chosen, key=lambda i: (int(targets[i]), i))


def _read_metrics(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _read_history(file: Path) -> list[dict[str, float]]:
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        return [{k: float(v) for k, v in row.items() if k and v} for row in rows]
    except (OSError, ValueError, TypeError):
        return []
