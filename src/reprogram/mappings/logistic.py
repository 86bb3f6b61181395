"""Logistic regression on the source's outputs, learned along the way."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from reprogram.mappings.base import Mapping, OnePass, count_classes
from reprogram.mappings.discriminant import Moments, centred
from reprogram.types import SourceLike, TaskSpec, UserError


class Logistic(Mapping):
    """``log P(t | z)`` as a linear map: from the discriminant on, along the log-likelihood.

    The outputs of a thousand source classes are strongly correlated, and a linear map trained on
    them by an ordinary optimiser is slow where they vary little and wild where they vary much. Here
    every training step's outputs give one step of natural gradient,
    ``W <- W - rate * mean((p - y) z') C^-1``, with ``C`` the shrunk covariance of the outputs: all
    directions are then learned at one rate, which falls along a half cosine. The steps use outputs
    that the program's own training has asked for, so they cost no query, and no gradient has to
    pass the source.

    References:
        | Multinomial logistic regression algorithm (Boehning, 1992): the bound on its Hessian.
        | Natural gradient works efficiently in learning (Amari, 1998).

    Arguments:
        rate: Of the first step, in (0, 1]; a full step is 1.
        memory: Of how many samples the covariance is, as a share of the training split: what lies
            further back counts less than 1/e.
        every: Steps between two inversions of the covariance, >= 1.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (3,)))
        >>> mapping = Logistic()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> target = torch.tensor([0, 1]).repeat(50)
        >>> output = torch.eye(3)[target] + 0.1 * torch.randn(100, 3)
        >>> mapping.begin_epoch(0, lambda: [(output, target, torch.ones(100))])
        >>> bool((mapping(output).argmax(1) == target).all())
        True
    """

    weight: Float[Tensor, "targets classes"]
    bias: Float[Tensor, " targets"]
    mean: Float[Tensor, " classes"]
    inverse: Float[Tensor, "classes classes"]

    def __init__(self, *, rate: float = 0.1, memory: float = 1.0, every: int = 20) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise UserError(f"argument 'rate' is {rate}; give a rate in (0, 1]")
        if not memory > 0:
            raise UserError(f"argument 'memory' is {memory}; give a positive share")
        if every < 1:
            raise UserError(f"argument 'every' is {every}; give 1 or more steps")
        self.rate, self.memory, self.every = rate, memory, every

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the map out; until outputs are met, every target class is as likely."""
        classes, targets = count_classes(self, source, task)
        self.register_buffer("weight", torch.zeros(targets, classes))
        self.register_buffer("bias", torch.zeros(targets))
        self.register_buffer("mean", torch.zeros(classes), persistent=False)
        self.register_buffer("inverse", torch.eye(classes), persistent=False)
        self.moments = Moments(classes, targets)
        self.samples = self.memory * sum(task.counts) or math.inf  # a task that tells no counts
        self.pending: tuple[Tensor, Tensor] | None = None

    def passes(self, epochs: int) -> int:
        """One, for the first map."""
        return min(epochs, 1)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Start at the discriminant of one pass, before the first epoch alone."""
        if epoch > 0:
            return
        for batch in one_pass():
            self.moments.add(*batch)
        weight, bias = self.moments.solve()
        self.weight, self.bias = weight.to(self.weight.dtype), bias.to(self.bias.dtype)
        self._invert()

    def observe(
        self,
        output: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Add a training batch to the moments; its step is taken in :meth:`advance`, so that the
        program's own loss does not see a map that has seen the batch."""
        self.moments.fade(math.exp(-float(weight.sum()) / self.samples))
        self.moments.add(output, target, weight)
        z = centred(output).to(self.weight.dtype)
        error = F.linear(z, self.weight, self.bias).softmax(1)
        error = error - F.one_hot(target, len(self.bias)).to(error.dtype)  # p - y
        error = error * weight[:, None] / weight.sum().clamp_min(1e-12)
        change = error.T @ (z - self.mean) @ self.inverse  # (targets, classes)
        self.pending = change, error.sum(0) - change @ self.mean

    def advance(self, step: int, steps: int) -> None:
        """Take the step, at a rate that falls along a half cosine over the run."""
        if self.pending is not None:
            rate = self.rate * (1 + math.cos(math.pi * step / max(steps, 1))) / 2
            self.weight = self.weight - rate * self.pending[0]
            self.bias = self.bias - rate * self.pending[1]
            self.pending = None
        if (step + 1) % self.every == 0:
            self._invert()

    def _invert(self) -> None:
        """Mean and inverse covariance of what is remembered."""
        mean, covariance = self.moments.covariance()
        self.mean = mean.to(self.mean.dtype)
        self.inverse = torch.linalg.inv(covariance).to(self.inverse.dtype)

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The log posterior, up to a constant."""
        return F.linear(centred(output).to(self.weight.dtype), self.weight, self.bias)

    def table(self) -> Float[Tensor, "classes targets"]:
        """The weights."""
        return self.weight.T

    def extra_repr(self) -> str:
        return f"rate={self.rate}, memory={self.memory}, every={self.every}"
