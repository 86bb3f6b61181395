"""Texts as tensors: a row of Unicode code points, filled up with zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PAIR = "\x1f"  # the unit separator of ASCII: between the two sentences of a pair


def encode(texts: Sequence[str], longest: int | None = None) -> Tensor:
    """Texts as (n, longest) int32; what is longer is cut.

    Arguments:
        texts: Of any length.
        longest: Characters of a row; by default those of the longest text, at least one.

    Example:
        >>> encode(["ab", "a"])
        tensor([[97, 98],
                [97,  0]], dtype=torch.int32)
    """
    longest = max([1, *map(len, texts)]) if longest is None else longest
    rows = np.zeros((len(texts), longest), dtype=np.int32)
    for row, text in zip(rows, texts, strict=True):
        points = np.frombuffer(text[:longest].encode("utf-32-le", "surrogatepass"), dtype=np.int32)
        row[: len(points)] = points
    return torch.from_numpy(rows)


def decode(rows: Tensor) -> list[str]:
    """The inverse of :func:`encode`, of whole numbers of any type.

    Example:
        >>> decode(encode(["naïve", ""]).float())
        ['naïve', '']
    """
    data = rows.detach().cpu().to(torch.int32).contiguous().numpy()
    return [row.tobytes().decode("utf-32-le", "surrogatepass").rstrip("\0") for row in data]
