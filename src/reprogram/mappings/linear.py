"""A trained linear map from source to target classes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.mappings.base import Mapping, count_classes
from reprogram.types import SourceLike, TaskSpec


class Linear(Mapping):
    """``z W + b`` with ``W`` (source_classes, target_classes) trained beside the program.

    The source's scores are centred over its classes first: scores that are known up to a constant
    (log-probabilities) and logits then give the same prediction.

    References:
        | AutoVP (Tsao, Hsiung, Chen, Liu, Ho, 2024), FullyMap. https://arxiv.org/abs/2310.08381

    Arguments:
        seed: Of the initial weights, U(-1/sqrt(S), 1/sqrt(S)).

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (4,)))
        >>> mapping = Linear()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> mapping(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Draw the weights."""
        classes, targets = count_classes(self, source, task)
        generator = torch.Generator().manual_seed(self.seed)
        bound = 1 / math.sqrt(classes)
        weight = (2 * torch.rand(targets, classes, generator=generator) - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(targets))

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The mapped scores."""
        centred = output - output.mean(1, keepdim=True)
        return F.linear(centred.to(self.weight.dtype), self.weight, self.bias)

    def table(self) -> Float[Tensor, "classes targets"]:
        """The weights."""
        return self.weight.detach().T
