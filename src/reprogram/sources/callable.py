"""Any callable as a source: a black box in Python."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reprogram.sources.base import Source, specs
from reprogram.sources.scores import log_scores
from reprogram.types import InputSpec, OutputSpec, Scores, UserError


class CallableSource(Source):
    """Any callable that maps a batch to scores: a black box.

    Arguments:
        function: Takes a tensor (batch, *input.shape); returns an array or tensor: (batch, classes)
            of logits or probabilities, (batch,) of labels, or for ``TOP_K`` a pair of
            (batch, k) class indices and (batch, k) probabilities.
        input: What it takes.
        output: What it returns once read as log-scores.
        scores: What it tells.
        uri: Under which name a saved program finds it again.

    Example:
        >>> source = CallableSource(
        ...     lambda x: x.argmax(1), InputSpec("table", (3,)), OutputSpec("classes", (3,)),
        ...     scores=Scores.LABEL)
        >>> source(torch.eye(3)).argmax(1)
        tensor([0, 1, 2])
    """

    gradient = False

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        input: InputSpec,
        output: OutputSpec,
        *,
        scores: Scores = Scores.LOGITS,
        uri: str | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.input, self.output, self.scores, self.uri = input, output, scores, uri

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape)."""
        raw = self.function(x.detach())
        if self.output.kind != "classes":
            return torch.as_tensor(raw, device=x.device)
        scores = log_scores(raw, self.scores, self.output.shape[0], device=x.device)
        if len(scores) != len(x):
            raise UserError(f"the source answered {len(scores)} of {len(x)} samples; its function "
                            "takes a batch and returns a row for each sample")  # fmt: skip
        return scores

    def fingerprint(self) -> str:
        """SHA-256 over the specifications: the weights cannot be seen."""
        return hashlib.sha256(specs(self).encode()).hexdigest()
