"""What a model told, read as finite log-scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprogram.types import Scores, UserError


def log_scores(
    raw: Any, scores: Scores, classes: int, *, device: torch.device | None = None,
    epsilon: float = 1e-6,
) -> Tensor:  # fmt: skip
    """What a model told, as finite log-scores (batch, classes).

    Logits pass unchanged. Probabilities are floored at ``epsilon``. ``TOP_K`` spreads the mass that
    was not told evenly over the other classes; ``LABEL`` is one-hot with ``epsilon`` elsewhere.

    Raises:
        UserError: if the answer's shape does not fit or a value is not finite.

    Example:
        >>> told = (torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.3]]))
        >>> log_scores(told, Scores.TOP_K, 4).exp()
        tensor([[0.3000, 0.1000, 0.5000, 0.1000]])
    """
    if scores == Scores.TOP_K:
        indices, told = _as_tensor(raw[0], device).long(), _as_tensor(raw[1], device).float()
        if indices.shape != told.shape or indices.ndim != 2:
            raise UserError(f"the source returned shapes {tuple(indices.shape)} and "
                            f"{tuple(told.shape)}; (batch, k) twice was promised")  # fmt: skip
        _check_classes(indices, classes)
        k = indices.shape[1]
        rest = (1 - told.sum(1, keepdim=True)).clamp_min(0) / max(classes - k, 1)
        value = rest.expand(-1, classes).scatter(1, indices, told)
    elif scores == Scores.LABEL:
        labels = _as_tensor(raw, device).long()
        if labels.ndim != 1:
            raise UserError(f"the source returned shape {tuple(labels.shape)}; labels of shape "
                            "(batch,) were promised")  # fmt: skip
        _check_classes(labels, classes)
        value = nn.functional.one_hot(labels, classes).float()
    else:
        raw = _as_tensor(raw, device)
        value = raw.float() if raw.dtype != torch.float64 else raw
    if value.ndim != 2 or value.shape[1] != classes:
        raise UserError(
            f"the source returned shape {tuple(value.shape)}; (batch, {classes}) was promised"
        )
    if not torch.isfinite(value).all():
        raise UserError("the source returned a score that is not finite; check its input range")
    return value if scores == Scores.LOGITS else value.clamp_min(epsilon).log()


def _as_tensor(raw: Any, device: torch.device | None) -> Tensor:
    return (raw if isinstance(raw, Tensor) else torch.as_tensor(np.asarray(raw))).to(device)


def _check_classes(indices: Tensor, classes: int) -> None:
    outside = indices[(indices < 0) | (indices >= classes)]
    if len(outside):
        raise UserError(f"the source returned class {int(outside[0])}; classes 0 to {classes - 1} "
                        "were promised")  # fmt: skip
