"""Which source class answers for which target class: counted, and assigned greedily."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Average = Literal["probabilities", "logits"]


def count(
    counts: Float[Tensor, "classes targets"],
    predicted: Int[Tensor, " batch"],
    target: Int[Tensor, " batch"],
    weight: Float[Tensor, " batch"],
) -> None:
    """Add ``N[s, t] = sum of the weights of samples of target t predicted as s``, in place.

    Example:
        >>> counts = torch.zeros(3, 2)
        >>> count(counts, torch.tensor([2, 2, 0]), torch.tensor([1, 1, 0]), torch.ones(3))
        >>> counts
        tensor([[1., 0.],
                [0., 0.],
                [0., 2.]])
    """
    place = predicted * counts.shape[1] + target  # (batch,)
    counts.view(-1).index_add_(0, place, weight.to(counts.dtype))


def assign(counts: Float[Tensor, "classes targets"], size: int = 1) -> Int[Tensor, "targets size"]:
    """``size`` source classes for each target class, none shared: the largest counts first.

    The greedy rule of the papers: take the largest entry of ``N``, give that source class to that
    target class, strike its row, and strike the column once it has ``size``; of equal entries the
    one of the lowest source class goes first, then of the lowest target class. Here the entries
    are sorted once.

    Arguments:
        counts: Not negative, with at least ``size * targets`` rows.
        size: Source classes for each target class.

    References:
        | Understanding and Improving Visual Prompting (Chen, Yao, Chen, Zhang, Liu, 2023).
          https://arxiv.org/abs/2211.11635

    Example:
        >>> assign(torch.tensor([[5.0, 4.0], [1.0, 0.0], [0.0, 0.0]]))
        tensor([[0],
                [1]])
    """
    classes, targets = counts.shape
    flat = counts.reshape(-1).cpu()
    met = flat.nonzero()[:, 0]
    order = met[flat[met].argsort(descending=True, stable=True)]  # ties: lowest entry first
    groups: list[list[int]] = [[] for _ in range(targets)]
    free = [True] * classes
    left = targets * size
    for s, t in zip((order // targets).tolist(), (order % targets).tolist(), strict=True):
        if free[s] and len(groups[t]) < size:
            groups[t].append(s)
            free[s] = False
            left -= 1
            if not left:
                break
    # What was never met ties at zero: rows from the lowest, each to the lowest open column.
    rest = (s for s in range(classes) if free[s])
    for group in groups:
        group.extend(next(rest) for _ in range(size - len(group)))
    return torch.tensor(groups, device=counts.device)


def read_groups(
    output: Float[Tensor, "batch classes"], index: Int[Tensor, "targets size"], average: Average
) -> Float[Tensor, "batch targets"]:
    """Each group's mean logit, or the logarithm of its mean probability."""
    if average == "logits":
        return output[:, index].mean(-1)
    log_p = output.log_softmax(1)[:, index]  # (batch, targets, size)
    return log_p.logsumexp(-1) - math.log(index.shape[1])


def table_of(index: Int[Tensor, "targets size"], classes: int) -> Float[Tensor, "classes targets"]:
    """The groups as weights: 1 / size where a source class belongs to a target class."""
    targets, size = index.shape
    table = torch.zeros(classes, targets, device=index.device)
    table[index.T, torch.arange(targets, device=index.device)] = 1 / size
    return table
