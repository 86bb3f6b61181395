"""Every source class speaks for every target class, by how often it was right."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reprogram.mappings.base import Mapping, OnePass, count_classes
from reprogram.mappings.counts import count
from reprogram.types import SourceLike, TaskSpec, UserError


class Bayesian(Mapping):
    """``z w`` with ``w[s, t]`` the share of target class ``t`` among what is predicted as ``s``.

    ``w[s, t] = N[s, t] / (sum_t N[s, t] + smoothing)``, then each column is divided by its sum.
    A target class that no source class was ever met for gets them all alike, so no value is ever
    NaN. The counts come from the training steps' own outputs, the first map from one initial pass.

    References:
        | Bayesian-guided Label Mapping for Visual Reprogramming (Cai, Ye, Feng, Qi, Liu, 2024),
          BLM and BLM+. https://arxiv.org/abs/2410.24018

    Arguments:
        smoothing: lambda of the paper, > 0.
        top: ``None`` counts the predicted class (BLM); a share in (0, 1) of the number of target
            classes counts the probabilities of that many top source classes, at least one (BLM+,
            there 0.15); a whole number >= 1 is that many.
        fresh_pass: Count in a pass of its own before each epoch, as the paper does.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (3,)))
        >>> mapping = Bayesian()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> output, target = torch.eye(3)[[2, 2, 0]], torch.tensor([0, 1, 1])
        >>> mapping.begin_epoch(0, lambda: [(output, target, torch.ones(3))])
        >>> mapping.omega
        tensor([[0.0000, 0.6000],
                [0.0000, 0.0000],
                [1.0000, 0.4000]])
    """

    omega: Float[Tensor, "classes targets"]
    counts: Float[Tensor, "classes targets"]

    def __init__(
        self, *, smoothing: float = 1.0, top: float | None = None, fresh_pass: bool = False
    ) -> None:
        super().__init__()
        if not smoothing > 0:
            raise UserError(f"argument 'smoothing' is {smoothing}; give a positive number")
        if top is not None and not (0 < top < 1 or (top >= 1 and top == int(top))):
            raise UserError(f"argument 'top' is {top}; give a share in (0, 1), a whole number of "
                            "source classes, or None")  # fmt: skip
        self.smoothing, self.top, self.fresh_pass = smoothing, top, fresh_pass

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the counts out; until they are met, every source class says the same."""
        classes, targets = count_classes(self, source, task)
        share = self.top is not None and self.top < 1
        wanted = None if self.top is None else int(self.top * targets if share else self.top)
        self.k = None if wanted is None else min(max(wanted, 1), classes)
        self.register_buffer("omega", torch.full((classes, targets), 1 / classes))
        self.register_buffer("counts", torch.zeros(classes, targets), persistent=False)

    def observe(
        self,
        output: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Count a training batch: its predictions, or its top probabilities."""
        if self.k is None:
            count(self.counts, output.argmax(1), target, weight)
            return
        mass, place = output.float().softmax(1).topk(self.k, dim=1)  # (batch, k)
        count(
            self.counts,
            place.reshape(-1),
            target.repeat_interleave(self.k),
            (mass * weight[:, None]).reshape(-1),
        )

    def passes(self, epochs: int) -> int:
        """One for the first map, or one before each epoch."""
        return epochs if self.fresh_pass else min(epochs, 1)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Weigh by what the last epoch's steps showed, or by a pass."""
        if epoch == 0 or self.fresh_pass:
            self.counts.zero_()
            for batch in one_pass():
                self.observe(*batch)
        self.omega = weigh(self.counts, self.smoothing)
        self.counts.zero_()

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The scores' means under each target class's weights."""
        return output.to(self.omega.dtype) @ self.omega

    def table(self) -> Float[Tensor, "classes targets"]:
        """The weights; each column sums to one."""
        return self.omega

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}, top={self.top}, fresh_pass={self.fresh_pass}"


def weigh(
    counts: Float[Tensor, "classes targets"], smoothing: float
) -> Float[Tensor, "classes targets"]:
    """Rows to shares of what was predicted, columns to sum one; an empty column is uniform."""
    omega = counts / (counts.sum(1, keepdim=True) + smoothing)
    total = omega.sum(0, keepdim=True)
    met = total > 0
    return torch.where(met, omega / total.where(met, 1.0), 1 / len(counts))
