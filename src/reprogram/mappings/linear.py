"""A trained linear map from what the source tells to what the task wants."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.mappings.base import Mapping, OnePass, count_classes, count_numbers
from reprogram.mappings.discriminant import Moments, centred
from reprogram.types import SourceLike, TaskSpec, UserError


class Linear(Mapping):
    """``z W + b`` with ``W`` (source_classes, target_classes) trained beside the program.

    The source's scores are centred over its classes first: scores that are known up to a constant
    (log-probabilities) and logits then give the same prediction. An embedding is read as it is.

    References:
        | AutoVP (Tsao, Hsiung, Chen, Liu, Ho, 2024), FullyMap. https://arxiv.org/abs/2310.08381

    Arguments:
        start: Initial weights: ``"random"``, U(-1/sqrt(S), 1/sqrt(S)), or ``"discriminant"``, the
            closed form of :class:`~reprogram.mappings.Discriminant` from one initial pass: training
            then starts from what the untouched source tells.
        seed: Of the random draw.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (4,)))
        >>> mapping = Linear()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> mapping(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, *, start: Literal["random", "discriminant"] = "random", seed: int = 0
    ) -> None:
        super().__init__()
        if start not in ("random", "discriminant"):
            raise UserError(f"argument 'start' is {start!r}; give 'random' or 'discriminant'")
        self.start: Literal["random", "discriminant"] = start
        self.seed = seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Draw the weights."""
        count = count_classes if self.start == "discriminant" else count_numbers
        classes, targets = count(self, source, task)
        self.scores = source.output.kind == "classes"
        generator = torch.Generator().manual_seed(self.seed)
        bound = 1 / math.sqrt(classes)
        weight = (2 * torch.rand(targets, classes, generator=generator) - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(targets))

    def passes(self, epochs: int) -> int:
        """One, where the first map is solved for."""
        return 0 if self.start == "random" else min(epochs, 1)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Solve for the initial weights, before the first epoch alone."""
        if epoch > 0 or self.start == "random":
            return
        moments = Moments(self.weight.shape[1], self.weight.shape[0]).to(self.weight.device)
        for batch in one_pass():
            moments.add(*batch)
        weight, bias = moments.solve()
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The mapped scores."""
        output = centred(output) if self.scores else output
        return F.linear(output.to(self.weight.dtype), self.weight, self.bias)

    def table(self) -> Float[Tensor, "classes targets"]:
        """The weights."""
        return self.weight.detach().T

    def extra_repr(self) -> str:
        return f"start={self.start!r}"
