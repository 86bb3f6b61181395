"""Yes or no to each of several labels, with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reprogram.types import UserError

_VALUES = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}
_GAPS = ("", "nan", "none")


def yes_or_no(
    labels: Sequence[Sequence[Any]], names: Sequence[str], rows: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Targets (n, labels) of 0 and 1, and weights of the same shape, 0 where a label is missing.

    Arguments:
        labels: For each row a value of each label: 0 or 1, true or false, yes or no; blank, NaN or
            ``None`` is a gap.
        names: Of the labels.
        rows: Names of the rows.

    Raises:
        UserError: if a row has another number of values, or a value is something else.

    Example:
        >>> yes_or_no([["1", ""], [0, 1.0]], ["toxic", "active"], ["a", "b"])
        (tensor([[1, 0],
                [0, 1]]), tensor([[1., 0.],
                [1., 1.]]))
    """
    targets = torch.zeros(len(rows), len(names), dtype=torch.long)
    weights = torch.zeros(len(rows), len(names))
    for i, (row, values) in enumerate(zip(rows, labels, strict=True)):
        if isinstance(values, str) or len(values) != len(names):
            raise UserError(f"row {row} has labels {values!r:.60}, expected {len(names)} values: "
                            f"one for each of {', '.join(names)}")  # fmt: skip
        for j, value in enumerate(values):
            text = str(value).strip().casefold().removesuffix(".0")
            if text in _GAPS:
                continue
            if text not in _VALUES:
                raise UserError(f"row {row}, label {names[j]!r} is {value!r}; of several labels "
                                "each is 0, 1, or blank where it is not known")  # fmt: skip
            targets[i, j], weights[i, j] = _VALUES[text], 1
    return targets, weights


def check_labels(targets: Tensor, weights: Tensor, names: Sequence[str], task: str) -> None:
    """Refuse a label that is always yes, always no, or never known in training.

    Raises:
        UserError: naming the first.
    """
    for name, target, weight in zip(names, targets.T, weights.T, strict=True):
        met = target[weight > 0].unique().tolist()
        if len(met) < 2:
            told = f"always {met[0]}" if met else "never known"
            raise UserError(f"task {task!r}: label {name!r} is {told} in the training rows; "
                            "leave it out")  # fmt: skip
